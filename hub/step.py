"""A step on its way: from the observation's arrival to the answer that left.

    placed ──▶ asked ──▶ chosen ──▶ durable ──▶ answered
       └── last of its episode ─────────┘

The intake places it, the action room chooses and delivers; the two rooms meet here only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from hub.words import FLOAT_BYTES, Floats, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.errors import DeviceFault
    from hub.registry.fold import Spec
    from hub.words import Answer, Event, Observation, SessionId


REPEATS_MAX: Final = 16
"""Repeats of one step that wait for its answer; above, the oldest is told to come again."""


class Reply(Protocol):
    """How an answer gets back to the device that asked; one for each protocol.

    Called on the event loop, must not raise, and does nothing once the device has gone.
    """

    def durable(self, seq: int) -> None:
        """The observation is on disk at `seq`: acknowledge it."""
        ...

    def act(self, answer: Answer) -> None:
        """The action is on disk too: send it."""
        ...

    def warn(self, fault: DeviceFault) -> None:
        """The observation was taken, but something in it was not right."""
        ...

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Say what was wrong. `acknowledge`: take it all the same, lest it come for ever."""
        ...


class Appender(Protocol):
    """The log as the step path sees it; `hub.log.link.LogLink` is one."""

    @property
    def crowded(self) -> bool:
        """So much is waiting to be committed that nothing new should be taken."""
        ...

    def append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        """Commit in order; `committed(seq of the first)` is called on the loop once durable."""
        ...


class Timer(Protocol):
    """A call that is still to come; `hub.action.waits.Wait` is one."""

    def cancel(self) -> None:
        """Never call."""
        ...


class Trace(Protocol):
    """What the action room knows of a device."""

    id: str
    last_action: Floats | None
    """Sent last, for the fallback `hold`; None before the first."""
    held: Held | None
    """The same with its past, for an agent with safety rules; None while there is none."""

    def settle(self, step: Step) -> None:
        """The step is answered: keep only what a repeat needs."""
        ...


class Held:
    """The action a device was sent last, and for how long each component of it has stood.

    A fold of the device's actions: after a restart it is folded from those that the log's tail has.
    What stood before the first of them is taken to have changed just then.
    """

    __slots__ = ("action", "actions", "clamps", "since_s")

    def __init__(self, action: Floats, now_s: float) -> None:
        components = len(action) // FLOAT_BYTES
        self.action = action
        self.since_s = [now_s] * components
        """When each component got its value, seconds on the monotonic clock."""
        self.actions = [1] * components
        """How many actions in a row have had it."""
        self.clamps = 0
        """How many actions in a row were not what the policy wanted."""

    def send(self, action: Floats | None, now_s: float) -> None:
        """The device is sent this now; None = nothing, so that all stands as it did."""
        if action is None:
            return
        before, self.action = self.action, action
        if action == before:
            self.actions = [count + 1 for count in self.actions]
            return
        for i in range(len(self.actions)):
            place = slice(i * FLOAT_BYTES, (i + 1) * FLOAT_BYTES)
            if action[place] == before[place]:
                self.actions[i] += 1
            else:
                self.since_s[i], self.actions[i] = now_s, 1


class Choice(Struct, frozen=True, array_like=True, gc=False):
    """An action and where it came from; what an actor sends is one already."""

    action: Floats | None
    source: Source
    policy: int | None = None
    logprob: float | None = None
    value: float | None = None
    reason: str | None = None
    payload: str | None = None
    """JSON text the log keeps with the action."""


class Content(Struct, frozen=True, gc=False):
    """Tells a repeat of a message from a conflict with it. Compared within one process only."""

    saw: int
    """Hash of the values."""
    rest: int | None
    """Hash of reward and executed action; None after a restart: the log keeps what they became."""
    end: int | None = None
    """Hash of what it says of the episode's end; None after a restart where the hub may have
    ended it."""

    def same(self, other: Content) -> bool:
        """Whether both are of one message, as far as is known."""
        return (
            self.saw == other.saw
            and (None in (self.end, other.end) or self.end == other.end)
            and (None in (self.rest, other.rest) or self.rest == other.rest)
        )


class Step:
    """One observation and what becomes of it. Mutable: the only record of work in flight."""

    __slots__ = (
        "agent",
        "answer",
        "arrived",
        "boot",
        "can_repeat",
        "chosen",
        "content",
        "device",
        "events",
        "must_act",
        "number",
        "observation",
        "observation_at",
        "repeats",
        "replies",
        "seq",
        "session",
        "timer",
        "unaware",
        "wire_number",
    )

    def __init__(
        self,
        *,
        agent: Spec,
        device: Trace,
        session: SessionId,
        boot: int,
        number: int,
        wire_number: int,
        observation: Observation,
        content: Content,
        arrived: float,
        must_act: bool = False,
        unaware: bool = False,
    ) -> None:
        self.agent = agent
        self.device = device
        self.session = session
        self.boot = boot
        self.number = number
        """Unwrapped, as logged."""
        self.wire_number = wire_number
        """As the device wrote it."""
        self.observation = observation
        self.content = content
        self.arrived = arrived
        """Seconds on the monotonic clock."""
        self.must_act = must_act
        """The protocol has no way to say "no action" in mid-episode (Shepherd)."""
        self.unaware = unaware
        """The device did not end the episode itself; the hub may have."""
        self.can_repeat = True
        """A message can be known to repeat it: by its number, or by MQTT's packet id."""
        self.events: list[Event] = []
        """What the log must keep before the action; empty once handed over."""
        self.observation_at = 0
        """Index of the observation's own event in `events`."""
        self.replies: list[Reply] = []
        """All who are to be answered."""
        self.repeats: list[Reply] = []
        """Those of them who only sent it again, the oldest first."""
        self.seq = 0
        """Of the observation, 0 until durable."""
        self.chosen = False
        """An action was chosen; any later one is too late."""
        self.answer: Answer | None = None
        """What every repeat is given; None until durable."""
        self.timer: Timer | None = None
        """Who sees to it that it is answered; None = nobody."""

    def reply_too(self, repeat: Reply) -> Reply | None:
        """One more who sent it is to be answered; who is not any more for that, if there is one."""
        self.replies.append(repeat)
        self.repeats.append(repeat)
        if len(self.repeats) <= REPEATS_MAX:
            return None
        oldest = self.repeats.pop(0)
        self.replies.remove(oldest)
        return oldest

    @property
    def ends_episode(self) -> bool:
        """No action follows this observation."""
        over = self.observation.terminated or self.observation.truncated
        return over and not (self.must_act and self.unaware)
