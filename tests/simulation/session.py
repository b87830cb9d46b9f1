"""One faulty session: devices live for a while, and the log is held against what they know."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec import Struct

from hub.facts import EpisodeEnded
from hub.learner.experience.transitions import Follow
from hub.words import EndedBy, Kind
from tests.simulation.machines import Machine, habit_of
from tests.simulation.world import DEADLINE_MS, Faults, World

if TYPE_CHECKING:
    from hub.learner.experience.transitions import Transition
    from hub.words import Event
    from tests.simulation.machines import Habit, Truth

MACHINES_MAX: Final = 5
SECONDS: Final = 15.0
SLACK_S: Final = 1.5 * DEADLINE_MS / 1000
"""A device's silence counts from when its action was due."""


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
    machines = {machine.name: machine for machine in session.machines}
    habits = {m.name: h for m, h in zip(session.machines, session.habits, strict=True)}
    agent, events = session.world.agent, session.events
    runs: dict[str, tuple[int, int]] = {}
    faults = []
    for one in transitions:
        seq, steps = runs.get(one.device, (0, 0))
        steps = steps + 1 if seq == one.seq_first else 1
        runs[one.device] = (one.seq_last, steps)
        happened = _happened(machines[one.device].truth, one, agent.missing_reward)
        if not happened:
            why = "never happened"
        elif not any(_ends_as(one, truth, steps, agent.max_episode_steps) for truth in happened):
            why = f"ended otherwise: {happened}"
        elif _silence_s(events, one, machines[one.device]) > SLACK_S + (agent.silent_s or SECONDS):
            why = "joins across a silence"
        else:
            continue
        faults.append(
            f"seed {session.seed}, seq {one.seq_first} to {one.seq_last}: {why}; "
            f"{habits[one.device]}; {one}"
        )
    return faults


def open_gaps(session: Session) -> list[str]:
    """A sentence for each gap or reboot in the log over which an episode goes on, or is done.

    Where an observation follows none that was logged, and the one before was no last one, the
    episode has been closed in between, as cut short.
    """
    before: dict[str, Event] = {}
    ended: dict[str, list[EndedBy]] = {}
    faults = []
    for seq, event in enumerate(session.events, 1):
        if event.kind is Kind.EPISODE:
            fact = msgspec.json.decode(event.payload or "", type=EpisodeEnded)
            ended.setdefault(event.device, []).append(fact.ended_by)
        elif event.kind is Kind.OBSERVATION:
            last, ends = before.get(event.device), ended.pop(event.device, [])
            before[event.device] = event
            if last is None or last.terminated or last.truncated:
                continue
            follows = (event.boot, event.step) == (last.boot, (last.step or 0) + 1)
            if EndedBy.TERMINATED in ends or not (follows or ends):
                faults.append(f"seed {session.seed}, seq {seq}: after {last} {ends}")
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


def _ends_as(one: Transition, truth: Truth, steps: int, limit: int | None) -> bool:
    """As the device said; or cut short by the hub, where the run is as long as it may be."""
    ends = (one.terminated, one.truncated)
    if limit is None or ends == (False, True) == (truth.terminated, truth.truncated):
        return ends == (truth.terminated, truth.truncated)
    # A run is shorter than its episode where a reward was missing in between.
    return ends == ((False, True) if one.truncated else (truth.terminated, truth.truncated)) and (
        steps < limit or one.truncated
    )


def _silence_s(events: list[Event], one: Transition, machine: Machine) -> float:
    """The longest between two messages, from the one observation to the other."""
    first, last = events[one.seq_first - 1].ts, events[one.seq_last - 1].ts
    at = machine.arrived_us
    heard = at[bisect_left(at, first) : bisect_right(at, last)]
    return max((after - before for before, after in pairwise(heard)), default=0) / 1e6
