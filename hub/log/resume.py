"""What the hub needs when it starts, from a log of any length: `hub.log.recover` in SQL.

First narrow columns over the whole file, to learn at which seqs the wanted events stand; then those
events alone. 10 M events take about half a second.

When a new file begins after a seq (rotation), `carried` says what it must hold of the events before
it, so that the answer stays the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
from msgspec import Struct

from hub.log.recover import Recovered, Tail, running_since
from hub.words import WINDOW_STEPS, Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.log.store import DuckLog

RECENT_ROWS: Final = 1 << 18
"""Where most devices' tails are; only for the others the whole log is looked through."""
END: Final = (1 << 63) - 1


class Marks(Struct, frozen=True):
    """Where in the log the wanted events stand."""

    facts: list[int]
    devices: dict[str, Any]
    """Rows of `devices.sql`."""
    events: dict[int, Event]
    """Those that `devices` and `facts` name."""
    tails: dict[str, list[int]]
    session: dict[str, Any]
    """Row of `session.sql`."""


def recover(log: DuckLog) -> Recovered:
    """What the hub must know to go on; equal to `hub.log.recover.fold` of the whole log."""
    log.settle()
    marks = _marks(log)
    running = _running(log, marks, upto=END)
    of_tails = _at(log, [seq for seqs in marks.tails.values() for seq in seqs])
    return Recovered(
        facts=[marks.events[seq] for seq in sorted(marks.facts)],
        tails=[
            Tail(
                device=device,
                events=[of_tails[seq] for seq in sorted(marks.tails[device])],
                episode=marks.events.get(row["ended"]),
                started=running[device]["started"] if device in running else None,
                steps=running[device]["steps"] if device in running else 0,
                reward_sum=running[device]["reward_sum"] if device in running else 0.0,
                rewards_missing=running[device]["rewards_missing"] if device in running else 0,
            )
            for device, row in marks.devices.items()
        ],
        session_last=marks.session["session"],
    )


def carried(log: DuckLog, upto: int) -> tuple[pa.Table, pa.Table]:
    """What a file that begins after `upto` must hold of the events up to there.

    Returns:
        Rows of the log, by seq, and rows of the table `carried`.
    """
    marks = _marks(log)
    running = _running(log, marks, upto=upto)
    seqs = {*marks.events, *(row["opened"] for row in running.values())}
    seqs.update(seq for tail in marks.tails.values() for seq in tail)
    seqs.add(marks.session["seq"])
    rows = _rows(log, [seq for seq in seqs if seq is not None and seq <= upto])
    return rows, pa.table(
        {
            "device": pa.array(list(running), pa.string()),
            "opened": pa.array([row["opened"] for row in running.values()], pa.int64()),
            "steps": pa.array([row["steps"] for row in running.values()], pa.int64()),
            "reward_sum": pa.array([row["reward_sum"] for row in running.values()], pa.float64()),
            "rewards_missing": pa.array(
                [row["rewards_missing"] for row in running.values()], pa.int64()
            ),
        }
    )


def _marks(log: DuckLog) -> Marks:
    facts = [row["seq"] for row in log.table("facts").to_pylist()]
    devices = {row["device"]: row for row in log.table("devices").to_pylist()}
    named = {row[key] for row in devices.values() for key in ("observed", "opened", "ended")}
    oldest = {row["oldest"] for row in devices.values() if row["opened"] is None}
    events = _at(log, [*facts, *named, *oldest])
    (session,) = log.table("session").to_pylist()
    return Marks(facts, devices, events, _tails(log, devices, events), session)


def _at(log: DuckLog, seqs: Iterable[int | None]) -> dict[int, Event]:
    return {event.seq: event for event in log.events(_rows(log, seqs))}


def _rows(log: DuckLog, seqs: Iterable[int | None]) -> pa.Table:
    """Rows of the file as they are stored, by seq."""
    wanted = sorted({seq for seq in seqs if seq is not None})
    first, last = (wanted[0], wanted[-1]) if wanted else (0, -1)
    return log.table("at", seqs=wanted, first=first, last=last)


def _tails(log: DuckLog, devices: dict[str, Any], events: dict[int, Event]) -> dict[str, list[int]]:
    """Seqs of each device's tail: from the recent part of the log where they are all there."""
    tails: dict[str, list[int]] = {}
    missing = dict(devices)
    for since in (max(1, log.last_seq - RECENT_ROWS), 1):
        if not missing:
            break
        rows = log.table(
            "tails",
            devices=list(missing),
            boots=[events[row["observed"]].boot for row in missing.values()],
            since=since,
            steps=WINDOW_STEPS,
        ).to_pylist()
        for row in rows:
            whole = row["observations"] == WINDOW_STEPS
            if whole or devices[row["device"]]["oldest"] >= since:
                tails[row["device"]] = row["seqs"]
                del missing[row["device"]]
    return tails


def _running(log: DuckLog, marks: Marks, *, upto: int) -> dict[str, dict[str, Any]]:
    """What each device's running episode has come to up to a seq, for each device that has one."""
    if not marks.devices:
        return {}
    since = {
        device: running_since(
            marks.events[row["oldest"] if row["opened"] is None else row["opened"]],
            marks.events.get(row["ended"]),
        )
        for device, row in marks.devices.items()
    }
    rows = log.table(
        "running",
        devices=list(since),
        since=list(since.values()),
        since_min=min(since.values()),
        begins=log.begins,
        upto=upto,
    ).to_pylist()
    return {row.pop("device"): row for row in rows}
