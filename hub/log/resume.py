"""What the hub needs when it starts, from a log of any length: `hub.log.recover` in SQL.

First narrow columns over the whole log, to learn at which seqs the wanted events stand; then those
events alone. 10 M events take about half a second.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from hub.log import columns
from hub.log.recover import Recovered, Tail, running_since
from hub.words import WINDOW_STEPS, Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.log.duck import DuckLog

RECENT_ROWS: Final = 1 << 18
"""Where most devices' tails are; only for the others the whole log is looked through."""


def recover(log: DuckLog) -> Recovered:
    """What the hub must know to go on; equal to `hub.log.recover.fold` of the whole log."""
    facts = [row["seq"] for row in log.table("facts").to_pylist()]
    devices = {row["device"]: row for row in log.table("devices").to_pylist()}
    marks = {row[key] for row in devices.values() for key in ("observed", "opened", "ended")}
    oldest = {row["oldest"] for row in devices.values() if row["opened"] is None}
    events = _at(log, [*facts, *marks, *oldest])
    tails = _tails(log, devices, events)
    running = _running(log, devices, events)
    of_tails = _at(log, [seq for seqs in tails.values() for seq in seqs])
    return Recovered(
        facts=[events[seq] for seq in sorted(facts)],
        tails=[
            Tail(
                device=device,
                events=[of_tails[seq] for seq in sorted(tails[device])],
                episode=events.get(row["ended"]),
                **running.get(device, {}),
            )
            for device, row in devices.items()
        ],
        session_last=log.table("session").to_pylist()[0]["session"],
    )


def _at(log: DuckLog, seqs: Iterable[int | None]) -> dict[int, Event]:
    wanted = sorted({seq for seq in seqs if seq is not None})
    if not wanted:
        return {}
    table = log.table("at", seqs=wanted, first=wanted[0], last=wanted[-1])
    return {event.seq: event for event in columns.to_events(table)}


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


def _running(
    log: DuckLog, devices: dict[str, Any], events: dict[int, Event]
) -> dict[str, dict[str, Any]]:
    """The fields of Tail about the running episode, for each device that has one."""
    if not devices:
        return {}
    since = {
        device: running_since(
            events[row["oldest"] if row["opened"] is None else row["opened"]],
            events.get(row["ended"]),
        )
        for device, row in devices.items()
    }
    rows = log.table(
        "running",
        devices=list(since),
        since=list(since.values()),
        since_min=min(since.values()),
    ).to_pylist()
    return {row.pop("device"): row for row in rows}
