"""A device that falls silent in mid-episode: its episode ends in the log, nothing is made up."""

from __future__ import annotations

import pytest

from hub.intake.silence import Silence
from hub.learner.experience.transitions import Follow
from hub.settings import StepSettings
from hub.words import Kind
from tests.intake.fakes import EagerLog, agent_spec
from tests.intake.test_restore import Life

SILENT_S = 5.0
DEADLINE_S = 1.0


def life(silent_s: float | None = SILENT_S) -> tuple[Life, Silence]:
    spec = agent_spec(silent_s=silent_s, deadline_ms=int(1000 * DEADLINE_S))
    hub = Life(EagerLog(), spec)
    silence = Silence(hub.registry, hub.sessions, hub.log, hub.clock, StepSettings())
    return hub, silence


def joined(hub: Life) -> list[tuple[int, int]]:
    """Steps of the transitions in the log."""
    follow = Follow()
    steps = {event.seq: event.step or 0 for event in hub.log.events}
    found = [one for event in hub.log.events if (one := follow.fold(event))]
    return [(steps[one.seq_first], steps[one.seq_last]) for one in found]


def test_a_silent_devices_episode_ends_at_its_last_observation() -> None:
    hub, silence = life()
    for step in range(3):
        hub.send(s=step, r=1.0)
    hub.clock.seconds += SILENT_S + DEADLINE_S
    silence.look()
    assert hub.log.of_kind(Kind.EPISODE) == []
    hub.clock.seconds += 0.1
    silence.look()
    silence.look()
    (ended,) = hub.log.of_kind(Kind.EPISODE)
    assert (ended.step, ended.truncated, ended.terminated, ended.reason) == (
        2,
        True,
        False,
        "silent",
    )
    assert len(hub.log.of_kind(Kind.OBSERVATION)) == 3
    assert joined(hub) == [(0, 1), (1, 2)]


@pytest.mark.parametrize("looked", [False, True])
def test_a_device_that_comes_back_joins_nothing_whether_or_not_the_hub_had_looked(
    looked: bool,
) -> None:
    hub, silence = life()
    hub.send(s=0)
    hub.send(s=1, r=1.0)
    hub.clock.seconds += SILENT_S + DEADLINE_S + 0.1
    if looked:
        silence.look()
    hub.send(s=1, r=1.0)  # what it had not heard about
    hub.send(s=2, r=1.0)
    hub.send(s=3, r=1.0)
    assert joined(hub) == [(0, 1), (2, 3)]
    assert [event.reason for event in hub.log.of_kind(Kind.EPISODE)] == ["silent"]


def test_a_device_that_repeats_itself_is_not_silent() -> None:
    hub, silence = life()
    hub.send(s=0)
    for _ in range(4):
        hub.clock.seconds += SILENT_S
        hub.send(s=0)
        silence.look()
    hub.send(s=1, r=1.0)
    assert joined(hub) == [(0, 1)]


def test_without_a_limit_a_device_may_be_silent_for_ever() -> None:
    hub, silence = life(None)
    hub.send(s=0)
    hub.clock.seconds += 1e6
    silence.look()
    hub.send(s=1, r=1.0)
    assert joined(hub) == [(0, 1)]


def test_between_two_episodes_nothing_ends() -> None:
    hub, silence = life()
    hub.send(s=0)
    hub.send(s=1, r=1.0, d=True)
    hub.clock.seconds += 1e6
    silence.look()
    assert [event.reason for event in hub.log.of_kind(Kind.EPISODE)] == ["terminated"]


def test_a_device_that_waits_for_a_remote_learner_without_a_deadline_is_not_silent() -> None:
    spec = agent_spec(silent_s=SILENT_S, deadline_ms=None, algorithm="external")
    hub = Life(EagerLog(), spec)
    silence = Silence(hub.registry, hub.sessions, hub.log, hub.clock, StepSettings())
    hub.send(s=0, answered=False)
    hub.clock.seconds += 1e6
    silence.look()
    assert hub.log.of_kind(Kind.EPISODE) == []
    hub.answer()
    hub.clock.seconds += SILENT_S
    silence.look()
    assert hub.log.of_kind(Kind.EPISODE) == []
    hub.clock.seconds += 0.1
    silence.look()
    assert [event.reason for event in hub.log.of_kind(Kind.EPISODE)] == ["silent"]
