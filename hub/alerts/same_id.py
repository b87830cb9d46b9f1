"""Two devices under one id: each throws the other out, for ever, and neither learns anything by it.

    causes += same_id(hub, open_now)

Of an agent some devices are an alert each and the others one together, as those that are silent:
whoever starts a whole fleet a second time has one mistake to be told of.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hub.alerts.cause import Cause, Rule, Subject, span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.alerts.standing import Open
    from hub.intake.mqtt.takeovers import Often
    from hub.processes import Hub
    from hub.settings.alerts import AlertSettings
    from hub.words import AgentName


def same_id(hub: Hub, open_now: Mapping[Subject, Open]) -> Iterator[Cause]:
    """What the gate has seen of it.

    Args:
        hub: where devices are connected.
        open_now: its open alerts.
    """
    settings = hub.settings.alerts
    if not settings.same_id_times:
        return
    theirs: dict[AgentName, list[Often]] = {}
    for often in hub.gate.takeovers.often(settings.same_id_times, settings.same_id_s):
        # Else it was forgotten since, or is another agent's: not its owner's business.
        if hub.registry.devices.get(often.device) == often.agent:
            theirs.setdefault(often.agent, []).append(often)
    named = {one for one in open_now if one.rule == Rule.SAME_ID and one.device}
    count = Counter(one.agent for one in named)
    for name, found in theirs.items():
        known = [one for one in found if _subject(one) in named]
        others = [one for one in found if _subject(one) not in named]
        room = max(0, settings.silent_named_max - count[name])
        for one in (*known, *others[:room]):
            yield _each(one, settings)
        if len(others) > room:
            yield _together(others[room:], settings)


def _subject(often: Often) -> Subject:
    return Subject(Rule.SAME_ID, often.agent, often.device)


def _each(often: Often, settings: AlertSettings) -> Cause:
    times = settings.same_id_times
    return Cause(
        _subject(often),
        f"the connection of device {often.device!r} of agent {often.agent!r} was taken over by "
        f"another {times} times within {span(often.within_s)}, {_whence(often)}",
        {"times": float(times), "within_s": round(often.within_s, 1)},
        clear_s=settings.hold_s,
    )


def _together(others: list[Often], settings: AlertSettings) -> Cause:
    times, one = settings.same_id_times, others[0]
    return Cause(
        Subject(Rule.SAME_ID, one.agent),
        f"the connections of {len(others)} more devices of agent {one.agent!r} were taken over by "
        f"others {times} times each, as that of {one.device!r}, {_whence(one)}",
        {"devices": float(len(others)), "times": float(times)},
        clear_s=settings.hold_s,
    )


def _whence(often: Often) -> str:
    """From where the connections came."""
    first, *others = often.addresses
    if not others:
        return f"all from {first}"
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return f"from {first} and {others[0]}{more}"
