"""What holds for every log: the list, the DuckDB file, and the process behind its link."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import pytest

from hub.facts import PolicyMade
from hub.log import recover
from hub.log.append import Log
from hub.words import EndedBy, Event, Kind, Source
from tests.log.events import (
    NOW_US,
    action,
    agent_made,
    episode,
    floats,
    observation,
    steps,
    text,
    unnumbered,
)

if TYPE_CHECKING:
    from collections.abc import Callable


class RecoveringLog(Log, Protocol):
    """A log that can also say what a hub needs at start."""

    def recover(self) -> recover.Recovered:
        """As `hub.log.recover.fold` of the whole log."""
        ...


EVERY_COLUMN = Event(
    Kind.ACTION,
    NOW_US,
    agent="walker",
    device="boiler-2",
    session=2**40,
    boot=2**32 - 1,
    step=2**40,
    obs=floats(1.5, -0.0, 3e38),
    action=floats(),
    executed=floats(0.1),
    reward=0.1,
    terminated=True,
    truncated=False,
    first=True,
    policy=12,
    logprob=-0.1,
    value=1e-300,
    source=Source.FALLBACK,
    reason="deadline, 'quoted' \x00 ünd",
    latency_us=250_000,
    device_ts=1,
    payload='{"a":1}',
    secret=bytes(range(32)),
)


class LogContract:
    """Inherit, and give a fixture `new_log` that makes an empty log."""

    @pytest.fixture
    def log(self, new_log: Callable[[], RecoveringLog]) -> RecoveringLog:
        return new_log()

    def test_an_empty_log_has_nothing(self, log: RecoveringLog) -> None:
        assert log.last_seq == 0
        assert log.read() == []
        assert log.recover() == recover.Recovered([], [], 0)

    def test_seqs_count_from_one_without_a_gap(self, log: RecoveringLog) -> None:
        assert log.append([observation(0)]) == 1
        assert log.append([observation(1), action(1)]) == 2
        assert log.append([observation(2)]) == 4
        assert log.last_seq == 4
        assert [event.seq for event in log.read()] == [1, 2, 3, 4]

    def test_what_is_read_is_what_was_appended(self, log: RecoveringLog) -> None:
        events = [EVERY_COLUMN, Event(Kind.HELLO, 0), *steps(1, 3)]
        log.append(events)
        assert unnumbered(log.read()) == events

    def test_numbers_are_not_rounded(self, log: RecoveringLog) -> None:
        log.append([EVERY_COLUMN])
        (event,) = log.read()
        assert (event.reward, event.logprob, event.value) == (0.1, -0.1, 1e-300)

    def test_a_batch_larger_than_a_commit_stays_whole(self, log: RecoveringLog) -> None:
        events = steps(1, 3000)
        assert log.append(events) == 1
        assert unnumbered(log.read()) == events

    def test_reading_goes_on_after_a_seq_and_stops_at_a_limit(self, log: RecoveringLog) -> None:
        log.append(steps(1, 10))
        assert [event.seq for event in log.read(5, limit=3)] == [6, 7, 8]
        assert log.read(20) == []

    def test_one_agent_reads_only_its_own(self, log: RecoveringLog) -> None:
        other = observation(1, agent="heater")
        log.append([*steps(1, 2), other, *steps(3, 4)])
        assert unnumbered(log.read(agent="heater")) == [other]
        assert len(log.read(agent="walker")) == 8

    def test_recovery_equals_the_fold_of_the_whole_log(self, log: RecoveringLog) -> None:
        log.append([agent_made(), *steps(0, 100, "long"), *steps(0, 3, "short")])
        log.append([_policy(1), _policy(2), _policy(1, "heater"), Event(Kind.HELLO, 1)])
        log.append([Event(Kind.HELLO, 1, device="s", session=9, secret=b"k")])
        log.append([*steps(1, 5, "ended", reward=None), episode(5, "ended")])
        log.append([*steps(1, 5, "again"), episode(5, "again"), *steps(6, 9, "again")])
        log.append([Event(Kind.REFUSED, 1, device="never")])
        recovered = log.recover()
        assert recovered == recover.fold(log.read())
        assert recovered.session_last == 9
        assert [tail.device for tail in recovered.tails] == ["again", "ended", "long", "short"]
        assert [len(tail.events) for tail in recovered.tails] == [18, 10, 128, 8]
        assert [tail.actions for tail in recovered.tails] == [3, 0, 100, 3]

    def test_rewards_that_no_observation_has_followed_are_recovered(
        self, log: RecoveringLog
    ) -> None:
        given = [Event(Kind.REWARD, 1, device=device, reward=1.0) for device in ("a", "a", "new")]
        log.append([*steps(1, 3), given[0], *steps(4, 5), *given[1:]])
        recovered = log.recover()
        assert recovered == recover.fold(log.read())
        assert unnumbered(recovered.facts) == given[1:]

    def test_a_tail_is_of_the_latest_boot_alone(self, log: RecoveringLog) -> None:
        log.append([*steps(1, 9), observation(1, boot=2, first=True)])
        (tail,) = log.recover().tails
        assert [(event.boot, event.step) for event in tail.events] == [(2, 1)]

    def test_an_episode_found_broken_late_does_not_end_the_new_one(
        self, log: RecoveringLog
    ) -> None:
        # The observation after a gap shows that there was one: its own event comes first.
        log.append([*steps(1, 3), observation(7, first=True), episode(3, by=EndedBy.GAP)])
        log.append([action(7), observation(8, reward=None), action(8)])
        recovered = log.recover()
        assert recovered == recover.fold(log.read())
        (tail,) = recovered.tails
        assert (tail.started, tail.actions, tail.rewards_missing) == (NOW_US + 7, 1, 1)


def _policy(version: int, agent: str = "walker") -> Event:
    fact = PolicyMade(sha256="ab", parent=None, position=4, metrics={"loss": 0.5})
    return Event(Kind.POLICY, NOW_US, agent=agent, policy=version, payload=text(fact))
