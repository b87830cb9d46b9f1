"""Devices that know the truth: which observation really followed which, after which action.

What a device must do so that no transition is false is what these do:

1. It numbers its steps, and says `x` whenever it did not do what it was told.
2. Its reboots can be told: by a boot number in each message or in each hello; else its counter
   begins at 0, and its first message is sent until it is answered.
3. Without boot numbers nothing that an earlier boot had sent arrives after the reboot. A
   connection does that by itself: it ends with the device.

All else may happen. A device waits for its answer, or steps at its own pace and acts by itself.
"""

from __future__ import annotations

import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from hub.errors import DeviceFault
from hub.words import Code, Floats, Hello

if TYPE_CHECKING:
    from hub.intake.session import Session
    from hub.words import Answer
    from tests.simulation.world import Life, Timer, World

U16: Final = 1 << 16
WIRE_S: Final = 0.005
LATE_S: Final = 3.0
RETRY_S: Final = 0.3
TRIES: Final = 4
UNNOTICED_S: Final = 1.0
"""Mean time until a device notices that its connection leads nowhere."""
F32: Final = struct.Struct("<BBHf2f")


class Boots(StrEnum):
    """How a device's reboots can be told."""

    NUMBERED = "number in each message"
    GREETED = "number in each hello"
    FLAGGED = "first message says so"
    FALLEN = "counter begins anew"


class Habit(Struct, frozen=True):
    """What kind of device it is."""

    boots: Boots
    mqtt: bool
    """One connection that keeps order; else requests that overtake each other."""
    encoding: str
    waits: bool
    """For its answer, as long as it has tries left; else it steps at its own pace."""
    period_s: float
    step_first: int
    """Of a boot; near 65,535 it wraps."""
    dull: bool
    """Its sensor shows hardly anything, so that many observations are alike."""


class Truth(NamedTuple):
    """What ended a transition that really happened."""

    terminated: bool
    truncated: bool
    steps: int
    """Of the episode, this one included."""


Key = tuple[str, bytes, float, float | None, bytes]
"""Device, observation, action, reward, next observation."""


class _Message(Struct, frozen=True):
    """As sent; the same bytes each time."""

    payload: bytes
    step: int
    """As on the wire."""
    life: int
    """Of the device."""
    place: int
    """Counts the device's messages."""


class Machine:
    """A device, its power and its wires."""

    def __init__(self, world: World, name: str, habit: Habit) -> None:
        self.name = name
        self.truth: dict[Key, list[Truth]] = {}
        """What really happened; more than one where a dull sensor and a lost reward look alike."""
        self.arrived_us: list[int] = []
        """When anything of it arrived at the hub."""
        self._world = world
        self._habit = habit
        self._on = False
        self._life = 0
        self._boot = int(world.chance.integers(1, 1 << 32)) if world.happens(0.5) else 0
        self._step = 0
        self._ticks = 0
        self._seen = Floats(b"")
        self._episode_steps = 0
        self._over = True
        self._answer: Answer | None = None
        self._told = False
        self._did = 0.0
        self._newest: _Message | None = None
        self._count = 0
        self._tries = 0
        self._timer: Timer | None = None
        self._session: tuple[Life, Session] | None = None
        self._link = 0
        self._dead_end = False
        """The connection leads nowhere any more, and the device has not noticed."""
        self._arrives_at = 0.0

    # --- power ------------------------------------------------------------------------------------

    def switch_on(self) -> None:
        """A new boot; nothing is remembered but its number."""
        world = self._world
        self._on = True
        self._life += 1
        self._boot = (self._boot + 1) % (1 << 32)
        self._step = self._habit.step_first
        self._over, self._told = True, False
        self._newest, self._answer = None, None
        self._drop_link()
        life = self._life

        def switch_off() -> None:
            if self._life == life:
                self._switch_off()

        world.time.later(world.wait(world.faults.boot_s), switch_off)
        self._lose_link_later(life)
        self._tick()

    def _switch_off(self) -> None:
        self._on = False
        self._life += 1
        if self._timer is not None:
            self._timer.cancel()
        self._world.time.later(self._world.wait(0.5), self.switch_on)

    def _lose_link_later(self, life: int) -> None:
        def lose() -> None:
            if self._life != life:
                return
            if self._world.happens(self._world.faults.half_open):
                self._dead_end = True
                self._world.time.later(self._world.wait(UNNOTICED_S), notice)
            else:
                notice()

        def notice() -> None:
            if self._life == life:
                self._drop_link()
                self._lose_link_later(life)

        self._world.time.later(self._world.wait(self._world.faults.link_s), lose)

    def _drop_link(self) -> None:
        """The hub is told nothing: to it a connection is half open until the next one comes."""
        self._session = None
        self._dead_end = False
        self._link += 1
        self._arrives_at = 0.0

    # --- the environment --------------------------------------------------------------------------

    def _tick(self) -> None:
        """Act, see what comes of it, and say so."""
        reward, did, executed = None, 0.0, None
        before = self._seen
        if self._answer is not None and self._answer.values is None:
            self._over = True  # the hub has ended the episode
        if not self._over:
            did, executed = self._act()
            reward = round(float(self._world.chance.normal()), 3)
        self._ticks += 1
        shown = self._ticks % 2 if self._habit.dull else self._ticks
        self._seen = Floats(np.array([shown, -shown], dtype="<f4").tobytes())
        terminated = not self._over and self._world.happens(0.02)
        truncated = not self._over and not terminated and self._world.happens(0.02)
        if self._world.happens(self._world.faults.rewardless):
            reward = None
        if self._over:
            self._episode_steps = 0
        else:
            self._episode_steps += 1
            if self._habit.encoding == "f32" and reward is not None:
                reward = float(np.float32(reward))
            key = (self.name, before, did, reward, self._seen)
            truth = Truth(terminated, truncated, self._episode_steps)
            self.truth.setdefault(key, []).append(truth)
        self._over = terminated or truncated
        self._say(reward, executed, terminated=terminated, truncated=truncated)

    def _act(self) -> tuple[float, float | None]:
        """What it does, and what it says of it: None = what it was told."""
        answer, world = self._answer, self._world
        raw = self._habit.encoding == "f32"  # has no `x`
        if answer is not None and answer.values is not None and (raw or not world.happens(0.02)):
            did = float(np.frombuffer(answer.values, dtype="<f4")[0])
            executed = did if not raw and world.happens(0.05) else None
        else:  # nothing was heard, or a person takes over
            did = executed = self._did if world.happens(0.3) else -float(next(world.drawn))
        self._did = did
        return did, executed

    # --- the wires --------------------------------------------------------------------------------

    def _say(
        self, reward: float | None, executed: float | None, *, terminated: bool, truncated: bool
    ) -> None:
        habit = self._habit
        first = habit.boots is Boots.FLAGGED and self._newest is None
        step = self._step % U16
        if habit.encoding == "f32":
            payload = _as_f32(step, reward, self._seen, terminated, truncated, first)
        else:
            fields: dict[str, object] = {"s": step, "o": np.frombuffer(self._seen, "<f4").tolist()}
            fields |= {} if reward is None else {"r": reward}
            fields |= {} if executed is None else {"x": [executed]}
            fields |= {"d": 1} if terminated else {}
            fields |= {"tr": 1} if truncated else {}
            fields |= {"f": 1} if first else {}
            fields |= {"b": self._boot} if habit.boots is Boots.NUMBERED else {}
            encode = msgspec.json.encode if habit.encoding == "json" else msgspec.msgpack.encode
            payload = encode(fields)
        self._step += 1
        self._count += 1
        self._tries = 0
        self._answer = None
        self._newest = _Message(payload, step, self._life, self._count)
        self._send(again=False)
        if not habit.waits and not self._must_be_heard:
            self._timer = self._world.time.later(self._world.wait(habit.period_s), self._tick)

    @property
    def _must_be_heard(self) -> bool:
        """A reboot that is told by the counter alone is told by its first message."""
        fallen = self._habit.boots in (Boots.FLAGGED, Boots.FALLEN)
        return fallen and not self._told

    def _send(self, *, again: bool) -> None:
        message = self._newest
        assert message is not None
        self._tries += 1
        world = self._world
        copies = 1 + world.happens(world.faults.repeated) - world.happens(world.faults.lost)
        for _ in range(copies):
            self._carry(message, again=again)
        if self._habit.waits or self._must_be_heard:
            self._timer = world.time.later(RETRY_S, self._not_heard)

    def _not_heard(self) -> None:
        if self._must_be_heard or self._tries < TRIES:
            self._send(again=True)
        elif self._habit.encoding == "f32":
            self._switch_off()  # what it did now could not be said
        else:
            self._tick()

    def _carry(self, message: _Message, *, again: bool) -> None:
        world, link = self._world, self._link
        if self._habit.mqtt and self._dead_end:
            return
        delay_s = world.wait(LATE_S if world.happens(world.faults.delayed) else WIRE_S)
        if self._habit.mqtt:  # one after the other
            self._arrives_at = max(self._arrives_at, world.time.now + delay_s)
            delay_s = self._arrives_at - world.time.now
        payload = message.payload
        if world.happens(world.faults.garbled):
            payload = payload[: world.chance.integers(len(payload))]

        def arrive() -> None:
            if self._habit.mqtt and self._link != link:
                return  # went down with its connection
            if self._habit.boots is not Boots.NUMBERED and self._life != message.life:
                return
            session = self._in_session()
            duplicate = again and self._habit.mqtt
            reply = _Heard(self, message, link)
            hub = world.hub
            hub.receiver.receive(session, payload, self._habit.encoding, reply, duplicate=duplicate)

        world.time.later(delay_s, arrive)

    def _in_session(self) -> Session:
        hub = self._world.hub
        if not self._habit.mqtt:
            return hub.over_http(self.name)
        if self._session is None or self._session[0] is not hub:
            session = hub.connect(self.name)
            if self._habit.boots is Boots.GREETED:
                hub.sessions.hello(session, Hello(b=self._boot), lambda _: None)
            self._session = (hub, session)
        return self._session[1]

    def hear(self, message: _Message, link: int, answer: Answer | None) -> None:
        """What the hub says of a message, after its way back; None = that it knows the step."""
        world, life = self._world, self._life

        def arrive() -> None:
            # The answer of an earlier step is too late, that of an earlier boot never comes.
            if self._life != life or message.life != life or message is not self._newest:
                return
            if self._habit.mqtt and (self._link != link or self._dead_end):
                return
            self._told = True
            if answer is None or self._answer is not None:
                return
            assert answer.step == message.step, (self._habit, answer, message)
            self._answer = answer
            if self._habit.waits:
                assert self._timer is not None
                self._timer.cancel()
                self._timer = world.time.later(world.wait(self._habit.period_s), self._tick)

        if not world.happens(world.faults.lost):
            world.time.later(world.wait(WIRE_S), arrive)


class _Heard:
    """The way back; a `Reply`."""

    def __init__(self, machine: Machine, message: _Message, link: int) -> None:
        self._machine = machine
        self._message = message
        self._link = link

    def durable(self, seq: int) -> None:
        """The action comes with it."""

    def act(self, answer: Answer) -> None:
        """It is told."""
        self._machine.hear(self._message, self._link, answer)

    def warn(self, fault: DeviceFault) -> None:
        """It goes on."""

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """The counter fell: the hub knows of the reboot. What was garbled says nothing."""
        if fault.code in (Code.STEP, Code.LATE):
            self._machine.hear(self._message, self._link, None)


def _as_f32(
    step: int,
    reward: float | None,
    seen: Floats,
    terminated: bool,
    truncated: bool,
    first: bool,
) -> bytes:
    """As docs/device-maker.md has it, byte by byte."""
    flags = terminated | truncated << 1 | (reward is not None) << 2 | first << 3
    values = struct.unpack("<2f", seen)
    return F32.pack(1 << 4 | flags, 2, step, reward or 0.0, *values)


def habit_of(chance: np.random.Generator) -> Habit:
    """Some device."""
    boots = Boots(list(Boots)[chance.integers(len(Boots))])
    mqtt = boots is Boots.GREETED or bool(chance.random() < 0.5)
    told = boots in (Boots.NUMBERED, Boots.GREETED)
    raw = boots is Boots.FLAGGED and bool(chance.random() < 0.5)
    return Habit(
        boots=boots,
        mqtt=mqtt,
        encoding="f32" if raw else str(chance.choice(["json", "mp"])),
        waits=raw or bool(chance.random() < 0.6),
        period_s=float(0.05 * 8 ** chance.random()),
        step_first=int(chance.integers(U16 - 40, U16)) if told and chance.random() < 0.4 else 0,
        dull=told and bool(chance.random() < 0.3),
    )
