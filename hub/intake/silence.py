"""Devices that fell silent in mid-episode: their episodes are closed, which the log is told.

A device may come back at any time; what it says then is the first step of another episode. The
intake looks for itself when a message comes, so how often this looks changes no transition.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.intake import episodes
from hub.words import EndedBy

if TYPE_CHECKING:
    from typing import NoReturn

    from hub.clock import Clock
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import StepSettings
    from hub.step import Appender


class Silence:
    """Looks at all devices now and then."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        log: Appender,
        clock: Clock,
        settings: StepSettings,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._log = log
        self._clock = clock
        self._settings = settings

    async def run(self) -> NoReturn:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._settings.silence_s)
            self.look()

    def look(self) -> None:
        """Close the episodes of the devices that are silent now."""
        specs = self._registry.agents
        if all(spec.agent.silent_s is None for spec in specs.values()):
            return
        now_s, now_us = self._clock.monotonic(), self._clock.now_us()
        for device in self._sessions.devices.values():
            spec = None if device.agent is None else specs.get(device.agent)
            if spec is None or not episodes.is_silent(spec.agent, device, now_s):
                continue
            assert device.session is not None, "an episode has steps, and they a session"
            ended = episodes.end(
                device, EndedBy.SILENT, now_us, agent=spec.agent.name, session=device.session
            )
            self._log.append([ended], _ignore)


def _ignore(_seq: int) -> None:
    """Nobody waits for it."""
