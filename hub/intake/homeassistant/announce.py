"""Keeps Home Assistant told which devices there are: retained, said when it changes, taken back.

Rule 1: what is retained on a broker is ours to take back, also after a crash, another setting, or
    the end of the device: the topics are in a file before anything is said on them.
Rule 2: an announcement is said again when Home Assistant has started (its birth message), and when
    somebody else's broker has been connected to anew; otherwise only when it is another.
Rule 3: all of it is said at a bounded rate, looked at once in `LOOK_S`.

Sessions without a name of their own (`http-7`) are not announced: they come and go.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import msgspec

from hub.intake.homeassistant.describe import describe
from hub.topics import discovery_topic, is_device_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.registry.fold import Registry, Spec
    from hub.settings import MqttSettings
    from hub.words import DeviceId

    Place = tuple[Spec, bool]

log: Final = logging.getLogger("hub")

FILE: Final = "homeassistant.json"
"""In the data folder."""
LOOK_S: Final = 1.0
AT_ONCE: Final = 50
"""Announcements before others get their turn."""
PAUSE_S: Final = 0.05
"""Between so many of them: a thousand a second."""
TAKEN_BACK_MAX: Final = 1000
"""Topics that are said to be empty once more when Home Assistant starts; then the oldest is not."""
BORN: Final = b"online"


class Door(Protocol):
    """Where it is said; `Gate` is one."""

    on_birth: Callable[[bytes], None]
    """Called with what Home Assistant says of itself."""

    @property
    def connection(self) -> int:
        """Counts connections to the broker; 0 before the first."""
        ...

    def announce(self, topic: str, payload: bytes) -> None:
        """Retained, to people who may hear it; nothing = no more."""
        ...

    def keeps_status(self, device: DeviceId) -> bool:
        """Whether the device has said on `status` that it is there, or not."""
        ...


class Announcements:
    """Of all devices.

    Args:
        registry: who there is.
        door: to be started before `run`.
        settings: `home_assistant` empty = all that was said is taken back.
        file: of the topics in use.
        version: of the hub.
    """

    def __init__(
        self, registry: Registry, door: Door, settings: MqttSettings, file: Path, version: str
    ) -> None:
        self._registry = registry
        self._door = door
        self._settings = settings
        self._file = file
        self._version = version
        self._used: set[str] = set()
        """Topics that something is retained on, as the file has them."""
        self._said: dict[str, tuple[Place, bytes]] = {}
        self._taken_back: dict[str, None] = {}
        self._connection = 0
        self._born = False
        door.on_birth = self.birth

    def birth(self, payload: bytes) -> None:
        """Home Assistant has said how it is."""
        self._born = self._born or payload == BORN

    async def open(self) -> None:
        """Know what was said before."""
        self._used = await asyncio.to_thread(self._read)

    async def run(self) -> NoReturn:
        """Look for ever."""
        await self.open()
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Say what is new or another, and take back what is no more."""
        if not self._door.connection:
            return
        again = self._born or self._door.connection != self._connection
        self._born, self._connection = False, self._door.connection
        if again:
            self._said.clear()
        wanted = self._wanted()
        if not wanted.keys() <= self._used:
            # CRUCIAL: before the first is said, or a crash leaves it on the broker for ever.
            await self._use(self._used | wanted.keys())
        await self._take_back(self._used - wanted.keys(), again=again)
        said = 0
        for topic, device in wanted.items():
            said += self._say(topic, device)
            if said >= AT_ONCE:
                said = 0
                await asyncio.sleep(PAUSE_S)

    def _wanted(self) -> dict[str, DeviceId]:
        """Topic and device of each announcement there should be."""
        registry, settings = self._registry, self._settings
        if not settings.home_assistant:
            return {}
        return {
            discovery_topic(
                settings.home_assistant, registry.owners[agent], settings.base, device
            ): device
            for device, agent in registry.devices.items()
            if agent in registry.agents and is_device_id(device)
        }

    def _say(self, topic: str, device: DeviceId) -> bool:
        """Whether there was anything new."""
        agent = self._registry.devices.get(device)
        spec = None if agent is None else self._registry.agents.get(agent)
        if spec is None:
            return False  # gone while others were spoken of
        keeps_status = self._door.keeps_status(device)
        place = (spec, keeps_status)
        known = self._said.get(topic)
        if known is not None and known[0] == place:
            return False
        base = self._settings.base
        payload = msgspec.json.encode(
            describe(device, spec, base=base, version=self._version, keeps_status=keeps_status)
        )
        self._said[topic] = (place, payload)
        if known is not None and known[1] == payload:
            return False
        self._taken_back.pop(topic, None)
        self._door.announce(topic, payload)
        return True

    async def _take_back(self, gone: set[str], *, again: bool) -> None:
        told = [*gone, *(self._taken_back if again else ())]
        for number, topic in enumerate(told, 1):
            self._said.pop(topic, None)
            self._taken_back[topic] = None
            self._door.announce(topic, b"")
            if number % AT_ONCE == 0:
                await asyncio.sleep(PAUSE_S)
        while len(self._taken_back) > TAKEN_BACK_MAX:
            del self._taken_back[next(iter(self._taken_back))]
        if gone:
            await self._use(self._used - gone)

    async def _use(self, topics: set[str]) -> None:
        self._used = topics
        try:
            await asyncio.to_thread(self._write, sorted(topics))
        except OSError as error:
            log.warning(
                "%s can't be written: %s; Home Assistant may keep what is gone", FILE, error
            )

    def _write(self, topics: list[str]) -> None:
        """Whole or not at all."""
        draft = self._file.with_suffix(".tmp")
        draft.write_bytes(msgspec.json.encode(topics))
        draft.replace(self._file)

    def _read(self) -> set[str]:
        try:
            return set(msgspec.json.decode(self._file.read_bytes(), type=list[str]))
        except FileNotFoundError:
            return set()
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("%s can't be read: %s; what was announced before stays", FILE, error)
            return set()
