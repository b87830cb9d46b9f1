"""One faulty session: devices live for a while, and the log is held against what they know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from msgspec import Struct

from hub.learner.transitions import Follow
from tests.simulation.machines import Machine, habit_of
from tests.simulation.world import Faults, World

if TYPE_CHECKING:
    from hub.learner.transitions import Transition
    from hub.words import Event
    from tests.simulation.machines import Habit, Truth

MACHINES_MAX: Final = 5
SECONDS: Final = 15.0


class Session(Struct, frozen=True):
    """What a session left."""

    seed: int
    world: World
    machines: list[Machine]
    habits: list[Habit]

    @property
    def events(self) -> list[Event]:
        """The log."""
        return self.world.log.read(limit=self.world.log.last_seq)

    @property
    def happened(self) -> int:
        """Transitions that there really were."""
        return sum(len(one) for machine in self.machines for one in machine.truth.values())


def lived(seed: int, faults: Faults, **declared: object) -> Session:
    """Some devices for some seconds; they join one after the other."""
    world = World(seed, faults, **declared)
    machines, habits = [], []
    for i in range(world.chance.integers(1, MACHINES_MAX + 1)):
        habit = habit_of(world.chance)
        machine = Machine(world, f"machine-{i}", habit)
        world.time.later(world.wait(1.0), machine.switch_on)
        machines.append(machine)
        habits.append(habit)
    world.time.run(world.time.now + SECONDS)
    return Session(seed, world, machines, habits)


def found(session: Session, follow: Follow | None = None) -> list[Transition]:
    """What a trainer folds from the session's log."""
    follow = follow or Follow(missing_reward=session.world.agent.missing_reward)
    joined = [follow.fold(event) for event in session.events]
    return [transition for transition in joined if transition is not None]


def false_ones(session: Session, transitions: list[Transition]) -> list[str]:
    """A sentence for each transition that never happened, or not like that."""
    truths = {machine.name: machine.truth for machine in session.machines}
    habits = {m.name: h for m, h in zip(session.machines, session.habits, strict=True)}
    faults = []
    for one in transitions:
        happened = _happened(truths[one.device], one, session.world.agent.missing_reward)
        if any((one.terminated, one.truncated) == truth[:2] for truth in happened):
            continue
        why = f"ended otherwise: {happened}" if happened else "never happened"
        faults.append(
            f"seed {session.seed}, seq {one.seq_first} to {one.seq_last}: {why}; "
            f"{habits[one.device]}; {one}"
        )
    return faults


def _happened(
    truth: dict[tuple[str, bytes, float, float | None, bytes], list[Truth]],
    one: Transition,
    missing_reward: float | None,
) -> list[Truth]:
    values = one.executed or one.action
    if values is None:
        return []
    did = float(np.frombuffer(values, dtype="<f4")[0])
    key = (one.device, bytes(one.observation), did, one.reward, bytes(one.next_observation))
    without = (*key[:3], None, key[4])
    left_out = truth.get(without, []) if one.reward == missing_reward else []
    return truth.get(key, []) + left_out
