"""The operator's socket without a hub behind it: a real Unix socket, and a log in memory."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

from hub.ask import ask
from hub.control import Control
from hub.histogram import Seen
from hub.intake.mapping.bound import check_mapping
from hub.log.segments.manifest import Seal
from hub.registry.acts import Acts
from hub.registry.fold import Registry
from tests.intake.fakes import EagerLog, ManualClock, Policies

if TYPE_CHECKING:
    from pathlib import Path

    from hub.control import Request
    from hub.errors import SheepfoldError
    from hub.words import AgentName, DeviceId, Event


class Ledger(EagerLog):
    """A log whose every batch is durable at once, and which keeps a key for each device."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = {"heater", "cooler"}
        """Devices whose payloads can be read."""
        self.fault: SheepfoldError | None = None
        """Of the next `forget`."""
        self.heard_again = False
        """The device speaks once more when its key is gone, and gets a new one."""

    @property
    def last_seq(self) -> int:
        """Of the last durable event."""
        return len(self.events)

    async def forget(self, device: str) -> None:
        """Destroy a key."""
        await asyncio.sleep(0)
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        self.keys.discard(device)
        if self.heard_again:
            self.heard_again = False
            self.keys.add(device)


class Archive:
    """Seals by saying so."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sealed = 0
        self.fault: OSError | None = None
        """Of the next seal."""

    async def seal_now(self) -> Seal | None:
        """All since the last seal; None when that is nothing."""
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        first, last = self._sealed + 1, self._ledger.last_seq
        self._sealed = last
        if last < first:
            return None
        return Seal("hub", first, last, last + 1 - first, [], 0, 0, [], "0")


class ControlRoom:
    """Serves a data folder from a loop in a thread, as the hub would."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.registry = Registry()
        self.log = Ledger()
        self.changed: list[AgentName] = []
        self.disconnected: list[DeviceId] = []
        self.rechecked: list[int] = []
        """Position of the log each time that connections were looked at again."""
        self.policies = Policies()
        drawn = iter(range(1, 1000))
        acts = Acts(
            self.registry,
            ManualClock().now_us,
            lambda count: next(drawn).to_bytes(count, "big"),
            lambda _: None,
            self.policies,
            check_mapping,
        )
        self.archive = Archive(self.log)
        self.control = Control(
            acts,
            self.registry,
            self.log,
            self.archive,
            self.changed.append,
            self.disconnected.append,
            lambda: self.rechecked.append(self.log.last_seq),
            lambda: {"waiting": 0},
            Seen,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self.data.mkdir(exist_ok=True)
        self._thread.start()
        self._run(self.control.open(self.data))
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self.control.close())
        self._run(self._end_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def ask(self, request: Request) -> Any:
        """What is answered."""
        return ask(self.data, request).answer

    def pause(self, alert: Event) -> None:
        """The hub pauses an agent by itself; done when this returns."""

        async def pause() -> None:
            await self.control.pause(alert)

        self._run(pause())

    @property
    def events(self) -> list[Event]:
        """Durable."""
        return self.log.events

    def _run(self, coroutine: Any) -> None:
        done: Future[None] = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        done.result(10)

    async def _end_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
