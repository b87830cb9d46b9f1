"""Fakes that behave: clock and timers set by hand, a log that commits when told, and such."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, cast

from msgspec import structs

from hub.action.guard import Guard
from hub.errors import AccessDenied, OperatorFault
from hub.intake.session import Session, Sessions
from hub.registry.fold import Registry, Spec, spec_of
from hub.spaces import size, unflatten
from hub.words import (
    Agent,
    AgentName,
    Answer,
    DeviceId,
    Event,
    Floats,
    Kind,
    Protocol,
    Source,
)

if TYPE_CHECKING:
    from asyncio import TimerHandle
    from collections.abc import Callable

    from hub.errors import DeviceFault
    from hub.registry.claim_acts import Asked, Given
    from hub.step import Step

NOW_US = 1_700_000_000_000_000


def floats(*numbers: float) -> Floats:
    """A vector."""
    return Floats(struct.pack(f"<{len(numbers)}f", *numbers))


def agent_spec(observations: Any = ([2], -100.0, 100.0), actions: Any = 2, **columns: Any) -> Spec:
    """An agent with two values in and two choices out, unless told otherwise."""
    given: dict[str, Any] = {"name": AgentName("walker"), "algorithm": "PPO", "seed": 1}
    agent = Agent(observations=observations, actions=actions, **(given | columns))
    return spec_of(agent)


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return NOW_US + int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


class ManualLog:
    """A log that commits when told; an `Appender`."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        """Durable, with their seq."""
        self.crowded = False
        self._pending: list[tuple[list[Event], Callable[[int], None]]] = []

    def append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        """Take a batch; it is durable after `commit`."""
        assert events, "a batch has at least one event"
        self._pending.append((list(events), committed))

    @property
    def pending(self) -> list[Event]:
        """Taken and not durable."""
        return [event for events, _ in self._pending for event in events]

    def commit(self, batches: int | None = None) -> None:
        """Make the oldest batches durable, all of them unless told how many."""
        done = self._pending[:batches]
        del self._pending[:batches]
        for events, committed in done:
            first = len(self.events) + 1
            self.events += [
                structs.replace(event, seq=seq) for seq, event in enumerate(events, first)
            ]
            committed(first)

    def of_kind(self, kind: Kind) -> list[Event]:
        """The durable events of one kind."""
        return [event for event in self.events if event.kind is kind]


class EagerLog(ManualLog):
    """A log whose every batch is durable at once."""

    def append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        """Take a batch and commit it."""
        super().append(events, committed)
        self.commit()


class Timers:
    """`call_later` on a clock that is moved by hand."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._set: list[_Timer] = []

    def call_later(
        self, delay_s: float, callback: Callable[[Step], None], step: Step
    ) -> TimerHandle:
        """Set a timer."""
        timer = _Timer(self._clock.seconds + delay_s, callback, step)
        self._set.append(timer)
        return cast("TimerHandle", timer)

    def advance(self, seconds: float) -> None:
        """Move the clock on; what falls due is called at its time, in order."""
        until = self._clock.seconds + seconds
        while due := [timer for timer in self._set if timer.at <= until and not timer.cancelled]:
            first = min(due, key=lambda timer: timer.at)
            self._set.remove(first)
            self._clock.seconds = max(self._clock.seconds, first.at)
            first.callback(first.step)
        self._set = [timer for timer in self._set if not timer.cancelled]
        self._clock.seconds = until


class _Timer:
    def __init__(self, at: float, callback: Callable[[Step], None], step: Step) -> None:
        self.at = at
        self.callback = callback
        self.step = step
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class EchoDelivery:
    """Logs each step with the action `step number % 2` and answers at once; a `Delivery`."""

    def __init__(self, log: ManualLog) -> None:
        self.log = log
        self.begun: list[Step] = []
        self.silent = False
        """Take steps and do nothing with them."""

    def begin(self, step: Step) -> None:
        """Find an action, log, answer."""
        self.begun.append(step)
        step.timer = cast("TimerHandle", self)  # somebody sees to it
        if self.silent:
            return
        events, step.events = step.events, []
        values = (
            None
            if step.ends_episode
            else Floats(floats(step.number % 2) * size(step.agent.actions))
        )
        if values is not None:
            events.append(
                Event(
                    Kind.ACTION,
                    NOW_US,
                    step.agent.agent.name,
                    step.device.id,
                    step.session,
                    step.boot,
                    step.number,
                    action=values,
                    source=Source.POLICY,
                    policy=1,
                )
            )

        def committed(first: int) -> None:
            step.seq = first + step.observation_at
            action = None if values is None else unflatten(step.agent.actions, values)
            step.answer = Answer(step.wire_number, action, step.seq, 1, Source.POLICY, values)
            for reply in step.replies:
                reply.durable(step.seq)
                reply.act(step.answer)
            step.replies.clear()
            step.device.settle(step)

        self.log.append(events, committed)


def guard_of(spec: Spec | None, clock: ManualClock) -> tuple[Guard, list[Event]]:
    """A guard that knows the agent, and the alerts by which it paused it."""
    registry = Registry()
    if spec is not None:
        registry.agents[spec.agent.name] = spec
    alerts: list[Event] = []

    def pause(alert: Event) -> Pause:
        alerts.append(alert)
        return Pause()

    return Guard(registry, clock, pause), alerts


class Pause:
    """A pause on its way into the log, until `folded` is set."""

    def __init__(self) -> None:
        self.folded = False

    def done(self) -> bool:
        """Whether it is there."""
        return self.folded


class HeardReply:
    """A reply that remembers, in order: `durable`, `act`, `warn`, `refuse`."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.seq: int | None = None
        self.answers: list[Answer] = []
        self.faults: list[DeviceFault] = []
        self.acknowledged = False

    def durable(self, seq: int) -> None:
        """On disk."""
        self.heard.append("durable")
        self.seq = seq
        self.acknowledged = True

    def act(self, answer: Answer) -> None:
        """With its action."""
        self.heard.append("act")
        self.answers.append(answer)

    def warn(self, fault: DeviceFault) -> None:
        """Taken all the same."""
        self.heard.append("warn")
        self.faults.append(fault)

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Not taken."""
        self.heard.append("refuse")
        self.faults.append(fault)
        self.acknowledged = self.acknowledged or acknowledge

    @property
    def answer(self) -> Answer:
        """The only answer."""
        (answer,) = self.answers
        return answer

    @property
    def fault(self) -> DeviceFault:
        """The only fault."""
        (fault,) = self.faults
        return fault


def open_session(
    spec: Spec,
    log: ManualLog,
    clock: ManualClock,
    device: str = "heater",
    protocol: Protocol = Protocol.MQTT,
) -> tuple[Registry, Sessions, Session]:
    """A registry that knows the agent, and a session of one of its devices."""
    registry = Registry()
    registry.agents[spec.agent.name] = spec
    sessions = Sessions(registry, log, clock)
    return registry, sessions, sessions.open(DeviceId(device), spec.agent.name, protocol)


class Policies:
    """Policy files by their SHA-256, and the last version given."""

    def __init__(self) -> None:
        self.files: set[str] = set()
        self.version = -1

    def check_fits(self, agent: Agent, sha256: str) -> int:
        """Refuse what is not there."""
        if sha256 not in self.files:
            raise OperatorFault(f"no policy {sha256} fits {agent.name!r}")
        return 7

    def next_version(self, name: AgentName, sha256: str | None) -> int:
        """One more than the last."""
        del name
        self.version += sha256 is not None
        return self.version + (sha256 is None)


class NoClaims:
    """Gives keys for no token."""

    def check_claim(self, token: str, device: str) -> str:
        """As `Claiming.check_claim`."""
        raise AccessDenied(f"no token gives {device!r} a key, {token!r} neither")

    async def claim(self, asked: Asked) -> Given:
        """As `Claiming.claim`."""
        raise AccessDenied(f"no token gives {asked.device!r} a key")
