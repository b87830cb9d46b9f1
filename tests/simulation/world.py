"""A hub's lives over one log, and the time and wires around them: all that can go wrong, by seed.

The intake, the action room and the log's recovery are the hub's own. Time is simulated; a commit
takes a while; an actor answers late or never; the hub is killed with batches on their way, of which
some are on disk though nobody was told.
"""

from __future__ import annotations

import heapq
import math
from itertools import count
from typing import TYPE_CHECKING, Final, cast

import msgspec
import numpy as np

from hub.action.deliver import Deliver
from hub.action.guard import Guard
from hub.facts import AgentMade
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Sessions
from hub.intake.silence import Silence
from hub.log.memory import MemoryLog
from hub.registry.fold import Registry
from hub.settings import StepSettings
from hub.simulate import faults
from hub.simulate.faults import Chance
from hub.step import Choice
from hub.words import Agent, AgentName, DeviceId, Event, Floats, Kind, Protocol, Source
from tests.intake.fakes import ManualClock, Pause

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from hub.intake.session import Session
    from hub.step import Step

NAME: Final = AgentName("walker")
COMMIT_S: Final = 0.003
ACTOR_S: Final = 0.004
DEADLINE_MS: Final = 100
LIMIT: Final = 1e7
"""Actions are counted up to this, so that each is drawn once."""


class Faults(faults.Faults, frozen=True):
    """What a line and a device have in `sheepfold simulate`, and what a hub has besides."""

    delayed: float = 0.0
    """Share of messages that take seconds rather than milliseconds."""
    garbled: float = 0.0
    half_open: float = 0.5
    """Share of lost connections whose end the device does not notice either, for a while."""
    unanswered: float = 0.0
    """By the actor: the fallback's turn, and some come late."""
    rewardless: float = 0.0
    hub_life_s: float = math.inf
    """Mean time between two kills of the hub."""


NONE: Final = Faults()
SOME: Final = Faults(
    lost=0.05,
    repeated=0.05,
    delayed=0.05,
    garbled=0.01,
    unanswered=0.03,
    rewardless=0.02,
    hub_life_s=8.0,
    boot_s=6.0,
    link_s=5.0,
)
MANY: Final = Faults(
    lost=0.15,
    repeated=0.15,
    delayed=0.15,
    garbled=0.01,
    unanswered=0.1,
    rewardless=0.02,
    hub_life_s=2.0,
    boot_s=1.5,
    link_s=1.5,
)


class Timer:
    """Something that happens later, unless cancelled."""

    __slots__ = ("cancelled",)

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        """It does not happen."""
        self.cancelled = True


class Time:
    """Simulated time; nothing waits."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self._due: list[tuple[float, int, Timer, Callable[[], None]]] = []
        self._count = count()

    @property
    def now(self) -> float:
        """Seconds."""
        return self.clock.seconds

    def later(self, delay_s: float, happens: Callable[[], None]) -> Timer:
        """Have it happen after so long."""
        timer = Timer()
        heapq.heappush(self._due, (self.now + delay_s, next(self._count), timer, happens))
        return timer

    def run(self, until_s: float) -> None:
        """Let everything happen up to then."""
        while self._due and self._due[0][0] <= until_s:
            at, _, timer, happens = heapq.heappop(self._due)
            self.clock.seconds = at
            if not timer.cancelled:
                happens()


class Disk:
    """The log of one life of the hub: an `Appender` whose commits take a while."""

    crowded = False

    def __init__(self, log: MemoryLog, time: Time, chance: np.random.Generator) -> None:
        self._log = log
        self._time = time
        self._chance = chance
        self._waiting: list[tuple[list[Event], Callable[[int], None]]] = []
        self._dead = False

    def append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        """Commit in order, with whatever else waits by then."""
        if not self._waiting:
            self._time.later(self._chance.exponential(COMMIT_S), self._commit)
        self._waiting.append((list(events), committed))

    def kill(self) -> None:
        """Some of what waits is on disk, and nobody is told."""
        self._dead = True
        for events, _ in self._waiting[: self._chance.integers(len(self._waiting) + 1)]:
            self._log.append(events)

    def _commit(self) -> None:
        if self._dead:
            return
        done, self._waiting = self._waiting, []
        told = [(committed, self._log.append(events)) for events, committed in done]
        for committed, seq in told:
            committed(seq)


class World:
    """One agent's hub, whichever life it is in.

    Args:
        seed: of everything.
        faults: how often what goes wrong.
        declared: fields of the agent.
    """

    def __init__(self, seed: int, faults: Faults, **declared: object) -> None:
        self._chance = Chance(seed)
        self.chance = self._chance.numbers
        self.faults = faults
        self.time = Time()
        self.log = MemoryLog()
        self.drawn = count(1)
        """Numbers for actions: none is drawn twice, so each tells the step it was for."""
        self.lives = 0
        fields: dict[str, object] = {
            "name": NAME,
            "algorithm": "PPO",
            "observations": [[2], "-inf", "inf"],
            "actions": [[1], -LIMIT, LIMIT],
            "seed": 1,
            "deadline_ms": DEADLINE_MS,
        }
        self.agent = msgspec.convert(fields | declared, Agent)
        payload = msgspec.json.encode(AgentMade(self.agent, "test")).decode()
        self.log.append([Event(Kind.ADMIN, ts=0, agent=NAME, payload=payload)])
        self.hub = Life(self)
        self._live_on()

    def happens(self, share: float) -> bool:
        """Whether something that rare does this time."""
        return self._chance.happens(share)

    def wait(self, mean_s: float) -> float:
        """A memoryless wait."""
        return self._chance.wait(mean_s)

    def _live_on(self) -> None:
        def kill() -> None:
            self.hub.disk.kill()
            self.hub = Life(self)
            self._live_on()

        self.time.later(self.wait(self.faults.hub_life_s), kill)


class Life:
    """A hub from its start to its kill."""

    def __init__(self, world: World) -> None:
        world.lives += 1
        self.number = world.lives
        self._world = world
        clock = world.time.clock
        self.registry = Registry()
        self.disk = Disk(world.log, world.time, world.chance)
        self.sessions = Sessions(self.registry, self.disk, clock)
        restore(world.log.recover(), self.registry, self.sessions, clock)
        settings = StepSettings()
        guard = Guard(self.registry, clock, lambda _: Pause())
        self.deliver = Deliver(self.disk, self, clock, settings, self._call_later, guard)
        self.receiver = Receiver(self.registry, self.disk, self.deliver, clock, settings)
        self._silence = Silence(self.registry, self.sessions, self.disk, clock, settings)
        self._over_http: dict[str, Session] = {}
        self._look_on(settings.silence_s)

    def _look_on(self, period_s: float) -> None:
        def look() -> None:
            if self._world.hub is self:
                self._silence.look()
                self._look_on(period_s)

        self._world.time.later(period_s, look)

    def connect(self, device: str) -> Session:
        """A device opens a connection."""
        return self.sessions.open(DeviceId(device), NAME, Protocol.MQTT)

    def over_http(self, device: str) -> Session:
        """A device's requests are of one session."""
        if device not in self._over_http:
            self._over_http[device] = self.sessions.open(DeviceId(device), NAME, Protocol.HTTP)
        return self._over_http[device]

    def ask(self, step: Step) -> str | None:
        """The actors: a number for an action, after a while, late, or never."""
        world = self._world
        if world.happens(world.faults.unanswered):
            if world.happens(0.5):
                return "too many questions for one actor"
            delay_s = world.wait(2 * DEADLINE_MS / 1000)
        else:
            delay_s = world.wait(ACTOR_S)
        values = np.array([next(world.drawn)], dtype="<f4").tobytes()
        choice = Choice(Floats(values), Source.POLICY, policy=1, logprob=-1.0, value=0.0)

        def answer() -> None:
            if world.hub is self:
                self.deliver.choose(step, choice)

        world.time.later(delay_s, answer)
        return None

    def _call_later(
        self, delay_s: float, callback: Callable[[Step], None], step: Step
    ) -> TimerHandle:
        def fire() -> None:
            if self._world.hub is self:
                callback(step)

        return cast("TimerHandle", self._world.time.later(delay_s, fire))
