"""Results as JSON for machines and as one table for people, which `bench/results.md` keeps."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from tests.bench import learner_report, log_report
from tests.bench.agents_bench import AgentsFigures, summary
from tests.bench.hub_bench import Cell
from tests.bench.learner_bench import LearnerFigures
from tests.bench.log_bench import LogFigures
from tests.bench.table import table
from tests.bench.yardsticks import Commit, Echo

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hub.clock import Clock

PACKAGES: Final = (
    "duckdb", "pyarrow", "litestar", "uvicorn", "uvloop", "amqtt", "msgspec", "torch",
    "stable_baselines3", "numpy",
)  # fmt: skip


class Machine(Struct, frozen=True):
    """Where it ran."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    python: str
    load_average: float
    """Over the minute before the run: near 0, or the figures are those of a busy machine."""
    packages: dict[str, str]


class Results(Struct, frozen=True):
    """`bench/results.json`."""

    date: str
    machine: Machine
    quick: bool
    """Too short for figures: only shows that the harness works."""
    commits: list[Commit]
    insert_rows_per_s: float
    echoes: list[Echo]
    """Without mosquitto where that is not installed."""
    cells: list[Cell]
    agents: AgentsFigures
    log: LogFigures
    learner: LearnerFigures


class LearnerResults(Struct, frozen=True):
    """`learner.json`, where only actors and trainers were measured."""

    date: str
    machine: Machine
    quick: bool
    learner: LearnerFigures


class AgentsResults(Struct, frozen=True):
    """`agents.json`, where only many agents were measured."""

    date: str
    machine: Machine
    quick: bool
    agents: AgentsFigures


class LogResults(Struct, frozen=True):
    """`log.json`, where only the log was measured."""

    date: str
    machine: Machine
    quick: bool
    log: LogFigures


def this_machine() -> Machine:
    """As the system describes itself."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        processor=names[0] if names else platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(pages / 2**30, 1),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        load_average=round(os.getloadavg()[0], 1),
        packages={name: version(name) for name in PACKAGES},
    )


def today(clock: Clock) -> str:
    """UTC, to the second."""
    return datetime.fromtimestamp(clock.now_us() // 1_000_000, UTC).isoformat()


def write(results: Results | AgentsResults | LogResults | LearnerResults, folder: Path) -> str:
    """Into `results.json` and `results.md`, or those of the part; returns the text."""
    if isinstance(results, Results):
        name, text = "results", as_text(results)
    elif isinstance(results, AgentsResults):
        name, text = "agents", agents_text(results)
    elif isinstance(results, LearnerResults):
        name, text = "learner", learner_text(results)
    else:
        name, text = "log", log_text(results)
    document = msgspec.json.format(msgspec.json.encode(results), indent=2)
    (folder / f"{name}.json").write_bytes(document + b"\n")
    (folder / f"{name}.md").write_text(text)
    return text


def as_text(results: Results) -> str:
    """The whole report in Markdown."""
    lines = _head("# Bench", results.date, results.machine, quick=results.quick)
    sections = [
        ("## The hub, learning on", _cells(results.cells)),
        ("## Memory, PSS in MiB", _memory(results.cells)),
        *_agents(results.agents),
        ("## The machine beside it", _machine(results)),
        *log_report.sections(results.log),
        *learner_report.sections(results.learner),
    ]
    return _page([*lines, *_laid_out(sections)])


def agents_text(results: AgentsResults) -> str:
    """The part of the report that is about many agents alone."""
    lines = _head("# Bench of many agents", results.date, results.machine, quick=results.quick)
    return _page([*lines, *_laid_out(_agents(results.agents))])


def log_text(results: LogResults) -> str:
    """The part of the report that is about the log alone."""
    lines = _head("# Bench of the log", results.date, results.machine, quick=results.quick)
    return _page([*lines, *_laid_out(log_report.sections(results.log))])


def learner_text(results: LearnerResults) -> str:
    """The part of the report that is about actors and trainers."""
    lines = _head("# Bench of learners", results.date, results.machine, quick=results.quick)
    return _page([*lines, *_laid_out(learner_report.sections(results.learner))])


def _head(title: str, date: str, machine: Machine, *, quick: bool) -> list[str]:
    lines = [
        title,
        "",
        f"{date}, {machine.processor}, {machine.cores} cores, {machine.memory_gib} GiB, "
        f"{machine.system}, Python {machine.python}. The load generator runs on the same cores; "
        f"the load average was {machine.load_average} when the run began.",
    ]
    if quick:
        lines += ["", "**A quick run: it shows that the harness works and nothing else.**"]
    return lines


def _laid_out(sections: Iterable[tuple[str, list[str]]]) -> list[str]:
    return [line for title, rows in sections for line in ("", title, "", *rows)]


def _page(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"


def _cells(cells: Sequence[Cell]) -> list[str]:
    heads = ["protocol", "devices", "connection", "actions/s", "p50 ms", "p99 ms"]
    roles = list(cells[0].cpu_us)
    return table(
        [*heads, "refused", "fallbacks", *(f"{role} µs/step" for role in roles)],
        (
            [
                cell.protocol,
                str(cell.devices),
                cell.connection,
                f"{cell.actions_per_s:,.0f}",
                f"{cell.p50_ms:.2f}",
                f"{cell.p99_ms:.2f}",
                str(cell.refused),
                str(cell.fallbacks),
                *(f"{cell.cpu_us[role]:.0f}" for role in roles),
            ]
            for cell in cells
        ),
    )


def _memory(cells: Sequence[Cell]) -> list[str]:
    roles = list(cells[0].pss_mib)
    return table(
        ["protocol", "devices", *roles],
        (
            [cell.protocol, str(cell.devices), *(f"{cell.pss_mib[role]:.0f}" for role in roles)]
            for cell in cells
            if cell.connection == "kept"
        ),
    )


def _agents(figures: AgentsFigures) -> list[tuple[str, list[str]]]:
    awake = ", ".join(figures.awake)
    rows = [
        [
            role,
            str(figures.processes[role]),
            f"{figures.pss_mib[role]:.0f}",
            f"{figures.asleep_mib[role]:.0f}",
        ]
        for role in figures.pss_mib
    ]
    return [
        (
            f"## {figures.defined} agents, awake: {awake}",
            table(["process", "number", "PSS MiB, learning", "PSS MiB, all asleep"], rows),
        ),
        ("### In all", table(["", "measured"], summary(figures))),
    ]


def _machine(results: Results) -> list[str]:
    commits = [
        [
            f"write + fdatasync of {commit.steps} steps, {commit.size_bytes} bytes",
            "",
            f"{commit.p50_ms:.2f}",
            f"{commit.p99_ms:.2f}",
            "",
        ]
        for commit in results.commits
    ]
    echoes = [
        [
            f"{echo.name}, {echo.devices} devices",
            f"{echo.answers_per_s:,.0f}",
            f"{echo.p50_ms:.2f}",
            f"{echo.p99_ms:.2f}",
            f"{echo.cpu_us:.0f}",
        ]
        for echo in results.echoes
    ]
    if not any("mosquitto" in echo.name for echo in results.echoes):
        echoes.append(["mosquitto + paho echo: mosquitto is not installed", "", "", "", ""])
    insert = ["DuckDB bulk insert, rows", f"{results.insert_rows_per_s:,.0f}", "", "", ""]
    return table(["", "per s", "p50 ms", "p99 ms", "server µs"], [*commits, insert, *echoes])
