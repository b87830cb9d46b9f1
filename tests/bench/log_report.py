"""The log's figures as tables: ratios first, they hold on other machines too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.bench.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.commit_bench import HubLoad
    from tests.bench.log_bench import LogFigures
    from tests.bench.log_commit import DurableCommit
    from tests.bench.log_load import Steady
    from tests.bench.log_long import Long
    from tests.bench.log_read import Reading


def sections(figures: LogFigures) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of each part that was measured."""
    if figures.commits is not None and figures.bulk_rows_per_s is not None:
        yield "## Durable commits", _commits(figures.commits, figures.bulk_rows_per_s)
    if figures.stall is not None:
        yield "## A steady stream through the log process", _stall(figures.stall)
    if figures.hub_loads is not None:
        yield "## Commits of 64 rows beside the hub's loop", _hub_loads(figures.hub_loads)
    if figures.reading is not None:
        yield "## Readers", _reading(figures.reading)
    if figures.long is not None:
        yield f"## A log of {figures.long.events:,} events", _long(figures.long)


def _commits(commits: Sequence[DurableCommit], bulk_rows_per_s: float) -> list[str]:
    heads = ["rows", "× plain write", "of bulk", "p50 ms", "p99 ms", "plain p50 ms", "bytes"]
    return [
        f"Plain write: write + fdatasync of as many bytes. Bulk: one insert of an Arrow table with "
        f"the same columns into DuckDB, {bulk_rows_per_s:,.0f} rows/s.",
        "",
        *table(
            [*heads, "rows/s"],
            (
                [
                    f"{row.rows:,}",
                    f"{row.ratio:.1f}",
                    f"{row.bulk_share:.3f}",
                    f"{row.p50_ms:.2f}",
                    f"{row.p99_ms:.2f}",
                    f"{row.plain_p50_ms:.2f}",
                    f"{row.journal_bytes:,}",
                    f"{row.rows_per_s:,.0f}",
                ]
                for row in commits
            ),
        ),
    ]


def _stall(run: Steady) -> list[str]:
    return [
        f"{run.rows_per_s:,.0f} rows/s for {run.seconds:.0f} s, {run.commits:,} commits; "
        f"{run.stalls} times nothing was acknowledged for more than 20 ms.",
        "",
        *table(
            ["ms", "p50", "p99", "longest"],
            [
                [
                    "append to callback",
                    *_numbers(run.wait_p50_ms, run.wait_p99_ms, run.wait_max_ms),
                ],
                [
                    "commit in the log process",
                    *_numbers(run.commit_p50_ms, run.commit_p99_ms, run.commit_max_ms),
                ],
                ["lateness of the hub's loop", "", *_numbers(run.late_p99_ms, run.late_max_ms)],
            ],
        ),
    ]


def _hub_loads(rows: Sequence[HubLoad]) -> list[str]:
    return table(
        ["loop", "commits", "commits/s", "p50 ms", "p99 ms"],
        (
            [
                row.loop,
                f"{row.commits:,}",
                f"{row.commits_per_s:,.0f}",
                *_numbers(row.p50_ms, row.p99_ms),
            ]
            for row in rows
        ),
    )


def _reading(run: Reading) -> list[str]:
    return table(
        ["", "figure"],
        [
            ["fetched rows to DuckDB's own scan", f"{run.fetch_share:.2f}"],
            ["DuckDB's own scan to Arrow, rows/s", f"{run.scan_rows_per_s:,.0f}"],
            ["old events fetched as Arrow, rows/s", f"{run.fetch_rows_per_s:,.0f}"],
            ["old events read as Events, events/s", f"{run.read_events_per_s:,.0f}"],
            ["new events pushed as Events, events/s", f"{run.push_events_per_s:,.0f}"],
            ["callback to another process, p50 ms", f"{run.latency_p50_ms:.2f}"],
            ["callback to another process, p99 ms", f"{run.latency_p99_ms:.2f}"],
        ],
    )


def _long(run: Long) -> list[str]:
    beside = run.beside
    return table(
        ["", "figure"],
        [
            ["commit p99 beside a heavy query to alone", f"{beside.ratio_p99:.2f}"],
            ["commit p99 beside a heavy query, ms", f"{beside.p99_ms:.2f}"],
            ["commit p99 alone, ms", f"{beside.p99_ms_alone:.2f}"],
            [f"heavy query, p50 of {beside.queries}, ms", f"{beside.query_ms:.0f}"],
            ["hot file, bytes an event", f"{run.hot_bytes_per_event:.1f}"],
            ["segments, bytes an event", f"{run.segment_bytes_per_event:.1f}"],
            ["made, committed and checkpointed, rows/s", f"{run.fill_rows_per_s:,.0f}"],
            ["sealed, rows/s", f"{run.seal_rows_per_s:,.0f}"],
            ["log process open, s", f"{run.open_s:.2f}"],
            ["then recovered, s", f"{run.recover_s:.2f}"],
            *(
                line
                for question in run.questions
                for line in (
                    [f"{question.name}, asked first, ms", f"{question.first_ms:.0f}"],
                    [f"{question.name}, asked again, ms", f"{question.p50_ms:.0f}"],
                )
            ),
        ],
    )


def _numbers(*values: float) -> list[str]:
    return [f"{value:.2f}" for value in values]
