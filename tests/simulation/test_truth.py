"""No false transition: what is learnt from really happened, whatever went wrong on the way.

Goal: of a thousand faulty sessions – messages lost, repeated, late and garbled, reboots, half-open
connections, a hub that dies – every transition that is folded from the log is one that a device
went through, with that action, that reward and that end; and every gap is a truncation. Method:
simulated devices that know the truth, over the hub's own intake, action room and recovery. A
failure prints its seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.learner.experience.transitions import Follow
from hub.words import Kind
from tests.log.analyst.asking import Asked
from tests.simulation import world
from tests.simulation.session import false_ones, found, lived, open_gaps

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hub.learner.experience.transitions import Transition
    from hub.words import Event
    from tests.simulation.session import Session

HUNDRED: Final = range(100)
THOUSAND: Final = range(1000, 2000)


def any_session(seed: int) -> Session:
    """Every second one is worse than any machine hall; agents differ."""
    return lived(
        seed,
        world.MANY if seed % 2 else world.SOME,
        missing_reward=-1.0 if seed % 4 < 2 else None,
        max_episode_steps=[None, 20, 5][seed % 3],
        silent_s=[None, 2.5, None, 0.5, 1.0][seed % 5],
    )


def prove(seeds: Iterable[int]) -> None:
    joined = happened = 0
    for seed in seeds:
        session = any_session(seed)
        transitions = found(session)
        assert not false_ones(session, transitions)
        assert not open_gaps(session)
        joined += len(transitions)
        happened += session.happened
    assert joined > 0.6 * happened, f"only {joined} of {happened} are left to learn from"


def test_no_transition_of_a_hundred_faulty_sessions_is_false() -> None:
    prove(HUNDRED)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_no_transition_of_a_thousand_faulty_sessions_is_false() -> None:
    prove(THOUSAND)


def test_where_nothing_goes_wrong_every_transition_is_found() -> None:
    for seed in range(10):
        session = lived(seed, world.NONE)
        transitions = found(session)
        assert not false_ones(session, transitions)
        # The last of each device may still be on its way.
        assert 0 <= session.happened - len(transitions) <= len(session.machines)


class JoinsWhatArrives(Follow):
    """Numbers a device's observations as they come, whatever it says itself."""

    def __init__(self) -> None:
        super().__init__()
        self._arrived = 0

    def fold(self, event: Event) -> Transition | None:
        if event.kind is Kind.OBSERVATION:
            self._arrived += 1
            before = self._devices.get(event.device)
            if before is not None:
                before.step = self._arrived - 1
                event = replace(event, boot=before.boot, step=self._arrived, first=False)
        return super().fold(event)


class BelievesTheLast(Follow):
    """Takes the policy's action where the fallback had been sent."""

    def fold(self, event: Event) -> Transition | None:
        if event.kind is Kind.REFUSED and event.reason == "late":
            event = replace(event, kind=Kind.ACTION)
            seen = self._devices.get(event.device)
            if seen is not None:
                seen.source = None
        return super().fold(event)


@pytest.mark.parametrize("wrong", [JoinsWhatArrives, BelievesTheLast])
def test_a_wrong_fold_is_found_out(wrong: type[Follow]) -> None:
    sessions = [lived(seed, world.MANY) for seed in range(1, 40, 2)]
    assert any(false_ones(session, found(session, wrong())) for session in sessions)


def shown(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The view's rows as `folded` gives its own."""
    return [
        (
            row["device"],
            row["obs"],
            row["action"],
            pytest.approx(row["reward"]),
            row["next_obs"],
            row["terminated"],
            row["truncated"],
            row["seq"],
        )
        for row in rows
    ]


def folded(transitions: list[Transition]) -> list[tuple[Any, ...]]:
    """Those with a known action, which the view shows."""

    def numbers(values: bytes) -> list[float]:
        return [float(value) for value in np.frombuffer(values, dtype="<f4")]

    return [
        (
            one.device,
            numbers(one.observation),
            numbers(one.executed or one.action or b""),
            one.reward,
            numbers(one.next_observation),
            one.terminated,
            one.truncated,
            one.seq_last,
        )
        for one in transitions
        if one.executed or one.action
    ]


@pytest.mark.parametrize("seed", range(6))
def test_analysts_see_the_transitions_that_are_learnt_from(tmp_path: Path, seed: int) -> None:
    session = any_session(seed)
    with Asked(tmp_path) as analyst:
        analyst.append(session.events)
        if seed % 3 == 0:
            analyst.seal()
        rows = analyst.rows("SELECT * FROM transitions ORDER BY seq")
    assert shown(rows) == folded(found(session))
