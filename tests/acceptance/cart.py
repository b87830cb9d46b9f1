"""CartPoles in threads, each a device of a real hub over MQTT.

with Cart(hub, key, "cart-1") as cart:
    until(lambda: len(cart.returns) > 10, "ten episodes")
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, Self

import gymnasium

from hub.clock import SystemClock
from hub.simulate.device import Device, Limits
from hub.simulate.exchange import Endpoint
from hub.simulate.over_mqtt import MqttExchange
from hub.words import DeviceId
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from hub.simulate.progress import Acknowledged, Progress
    from tests.acceptance.real_hub import RealHub

BOOT: Final = 3
STOP_S_MAX: Final = 20.0


class Cart(threading.Thread):
    """Steps until it is stopped; what the hub does not answer it sends again."""

    def __init__(self, hub: RealHub, key: str, name: str, *, seed: int = 1) -> None:
        super().__init__(name=name, daemon=True)
        self.returns: list[float] = []
        """Of its episodes, in order."""
        self.steps = 0
        """Acknowledged."""
        self.failure: Exception | None = None
        self._hub, self._key, self._seed = hub, key, seed
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End after the step in hand, and raise what went wrong."""
        self._stopping.set()
        self.join(STOP_S_MAX)
        assert not self.is_alive(), f"{self.name} is still waiting for an answer"
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        """Step."""
        try:
            asyncio.run(self._walk())
        except Exception as error:  # noqa: BLE001 - a thread's error belongs to its test
            self.failure = error

    async def _walk(self) -> None:
        """In the thread's own event loop."""
        name, port = DeviceId(self.name), self._hub.ready.mqtt
        exchange = MqttExchange(name, self._key, Endpoint(HOST, port))
        device = Device(
            self.name,
            gymnasium.make("CartPole-v1", disable_env_checker=True),
            exchange,
            boot=BOOT,
            seed=self._seed,
            clock=SystemClock(),
            pause=self._pause,
            stopping=self._stopping.is_set,
            report=self._reported,
            acknowledge=self._acknowledged,
        )
        try:
            await device.run(Limits())
        finally:
            exchange.close()

    async def _pause(self, seconds: float) -> None:
        self._stopping.wait(min(seconds, 0.1))  # the loop is this device's alone

    def _reported(self, progress: Progress) -> None:
        self.returns += progress.returns

    def _acknowledged(self, _: Acknowledged) -> None:
        self.steps += 1
