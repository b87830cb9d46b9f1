"""What the hub needs from the log when it starts: facts to fold, and where each device was.

`fold` reads a whole list and is the definition; `DuckLog.recover` gets the same from SQL without
reading everything (`tests/contracts/log_contract.py` compares them).

Rule 1: every fact of registry and session is in `facts`, in order.
Rule 2: a tail holds the last `WINDOW_STEPS` observations of the device's latest boot and their
    actions, which is all that recognising a repeat needs.
Rule 3: an episode is running when an observation opened it that no EPISODE event reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from hub.words import WINDOW_STEPS, Event, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tail(Struct, frozen=True):
    """Where one device was when the log ended."""

    device: str
    events: list[Event]
    """Of its latest boot: the last `WINDOW_STEPS` OBSERVATION events and all ACTION events since
    the oldest of them, by seq."""
    episode: Event | None
    """Its newest EPISODE event."""
    started: int | None = None
    """Hub time of the running episode's first observation, us; None when none is running."""
    actions: int = 0
    """Of the running episode, those whose outcome was observed: its observations but the first."""
    reward_sum: float = 0.0
    """Of the running episode, as sent; the first observation's belongs to the one before."""
    rewards_missing: int = 0
    """Observations of the running episode, after its first, that brought no reward."""


class Recovered(Struct, frozen=True):
    """All that the hub folds at start."""

    facts: list[Event]
    """ADMIN events, HELLO events with a secret, the newest POLICY event of each agent, and REWARD
    events that no observation of their device has followed yet; by seq."""
    tails: list[Tail]
    """One for each device that ever sent an observation, by device."""
    session_last: int
    """Highest session id in the log, 0 when there is none."""


def fold(events: Sequence[Event]) -> Recovered:
    """The same from a whole log, in order."""
    policies = {event.agent: event for event in events if event.kind is Kind.POLICY}
    observed = {event.device: event.seq for event in events if event.kind is Kind.OBSERVATION}
    facts = [
        event
        for event in events
        if event.kind is Kind.ADMIN
        or (event.kind is Kind.HELLO and event.secret is not None)
        or policies.get(event.agent) is event
        or (event.kind is Kind.REWARD and event.seq > observed.get(event.device, 0))
    ]
    devices: dict[str, list[Event]] = {}
    for event in events:
        if event.kind in (Kind.OBSERVATION, Kind.ACTION, Kind.EPISODE):
            devices.setdefault(event.device, []).append(event)
    return Recovered(
        facts=facts,
        tails=[
            _tail(device, of_device)
            for device, of_device in sorted(devices.items())
            if any(event.kind is Kind.OBSERVATION for event in of_device)
        ],
        session_last=max((event.session for event in events), default=0),
    )


def running_since(opened: Event, ended: Event | None) -> int:
    """Seq from which on a device's observations belong to its running episode.

    Args:
        opened: the newest observation that follows none (`first`), else the device's oldest.
        ended: the device's newest EPISODE event.
    """
    if ended is None or ended.seq < opened.seq:
        return opened.seq
    # A gap or reboot is found out by the observation after it, so the EPISODE event that ends the
    # old episode may stand behind the observation that opens the new one.
    reaches = ended.boot == opened.boot and (ended.step or 0) >= (opened.step or 0)
    return ended.seq if reaches else opened.seq


def _tail(device: str, events: list[Event]) -> Tail:
    observations = [event for event in events if event.kind is Kind.OBSERVATION]
    actions = [event for event in events if event.kind is Kind.ACTION]
    ended = next((event for event in reversed(events) if event.kind is Kind.EPISODE), None)
    boot = observations[-1].boot
    newest = [event for event in observations if event.boot == boot][-WINDOW_STEPS:]
    theirs = [event for event in actions if event.boot == boot and event.seq > newest[0].seq]
    opened = next((event for event in reversed(observations) if event.first), observations[0])
    since = running_since(opened, ended)
    running = [event for event in observations if event.seq >= since]
    return Tail(
        device=device,
        events=sorted(newest + theirs, key=lambda event: event.seq),
        episode=ended,
        started=running[0].ts if running else None,
        actions=max(0, len(running) - 1),
        reward_sum=sum(event.reward or 0.0 for event in running[1:]),
        rewards_missing=sum(1 for event in running[1:] if event.reward is None),
    )
