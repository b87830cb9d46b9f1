"""How each device fares, on its topic `state`, kept there for whoever asks later.

Said once every `state_s` of a device that has moved on, and at the end of an episode. It is what
the hub knows at that moment; a promise is only what the log has.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import msgspec
from msgspec import UNSET

from hub.intake.device import Past
from hub.intake.overrides import MICROSECONDS
from hub.payloads import State
from hub.words import DeviceId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.intake.device import Device
    from hub.intake.overrides import Overrides
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry, Spec

    Place = tuple[int, int | None, int, bool, bool, int | None]

LEAF: Final = "state"
AT_ONCE: Final = 50
"""Devices spoken of before others get their turn: a millisecond."""
ENDED_S: Final = 0.05
"""After the end of an episode, so that its last step is in the log by then."""


class Tell(Protocol):
    """Publishes; `Gate.tell` is one."""

    def __call__(
        self, device: DeviceId, leaf: str, payload: bytes, *, qos: int, retain: bool
    ) -> None:
        """To whoever may hear of the device."""
        ...


class States:
    """Looks at all devices now and then."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        overrides: Overrides,
        tell: Tell,
        clock: Clock,
        state_s: float,
        call_later: Callable[[float, Callable[[Device], object], Device], object],
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._overrides = overrides
        self._tell = tell
        self._clock = clock
        self._state_s = state_s
        self._call_later = call_later
        self._shown: dict[DeviceId, Place] = {}
        """Where each device stood when its state was said last."""
        self._ended: dict[DeviceId, float] = {}
        """When it was said for the end of an episode, seconds on the monotonic clock."""

    async def run(self) -> NoReturn:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._state_s)
            await self.look()

    async def look(self) -> None:
        """Say the state of every device that has moved on since."""
        said = 0
        for device in list(self._sessions.devices.values()):
            said += self._say(device)
            if said >= AT_ONCE:
                said = 0
                await asyncio.sleep(0)
        for name in [name for name in self._shown if name not in self._registry.devices]:
            del self._shown[name]
            self._ended.pop(name, None)

    def episode_ended(self, device: Device) -> None:
        """Say it at once, but of short episodes not each."""
        now_s = self._clock.monotonic()
        if now_s - self._ended.get(DeviceId(device.id), -self._state_s) >= self._state_s:
            self._ended[DeviceId(device.id)] = now_s
            self._call_later(ENDED_S, self._say, device)

    def _say(self, device: Device) -> bool:
        """Whether there was anything new."""
        name = DeviceId(device.id)
        agent = self._registry.devices.get(name)
        spec = None if agent is None else self._registry.agents.get(agent)
        if spec is None or device.count is None:
            return False
        override = self._overrides.of(name)
        until_s = None if override is None else override.until_us // MICROSECONDS
        at_rest = device.episode is None
        place = (device.boot, device.count, device.episodes, _learns(spec), at_rest, until_s)
        if self._shown.get(name) == place:
            return False
        self._shown[name] = place
        payload = msgspec.json.encode(state_of(device, spec, until_s))
        self._tell(name, LEAF, payload, qos=0, retain=True)
        return True


def state_of(device: Device, spec: Spec, over: int | None) -> State:
    """The device as it stands; `over` = until when a person acts for it."""
    running = 0 if device.episode is None else device.episode.steps
    newest = (known for known in reversed(device.window.values()) if isinstance(known, Past))
    acted = (known.answer.action for known in newest if known.answer.action is not None)
    return State(
        ep=device.episodes,
        steps=device.steps_before + running,
        ret=device.last_return,
        act=next(acted, None),
        learn="ON" if _learns(spec) else "OFF",
        over=UNSET if over is None else over,
    )


def _learns(spec: Spec) -> bool:
    return spec.agent.learning and spec.agent.status == "active"
