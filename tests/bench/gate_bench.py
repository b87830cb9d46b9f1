"""What a step costs the gate's own code in each version of MQTT.

python -m tests.bench.gate_bench

An observation at QoS 1, its PUBACK and its action, which is acknowledged: without sockets, actor
and disk, so that the codec and what the gate does with it is all there is. The versions take turns,
for only side by side figures say something on a machine that others use too.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from typing import TYPE_CHECKING, Final

import uvloop

from hub.intake.mqtt import wire, wire5
from hub.settings import MqttSettings
from tests.intake.fakes import EagerLog
from tests.intake.house import House
from tests.intake.mqtt import raw_client5
from tests.intake.mqtt.test_hostile import Attack

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.intake.mqtt.connection import Connection
    from tests.intake.mqtt.test_hostile import Memory

STEPS: Final = 3000
ROUNDS: Final = 20
WARM_UP: Final = 2
MICROSECONDS: Final = 1e6


class Device:
    """Takes its steps as fast as the gate does."""

    def __init__(
        self, name: str, line: tuple[Connection, Memory], publish: Callable[..., bytes]
    ) -> None:
        self._topic = f"rl/v1/{name}/obs"
        self._connection, self._line = line
        self._publish = publish
        self._step = 0
        self.costs_us: list[float] = []

    def round(self) -> None:
        """So many steps, and what each of them cost."""
        packets = [self._next() for _ in range(STEPS)]
        act_id_at = len(wire.puback(1)) + 2 + 2 + len(self._topic)  # after both heads and the topic
        began = time.process_time()
        for packet in packets:
            self._connection.data_received(packet)
            self._connection._flush()
            act_id = self._line.written[act_id_at : act_id_at + 2]
            self._connection.data_received(wire.puback(int.from_bytes(act_id, "big")))
            self._line.written.clear()
        self.costs_us.append((time.process_time() - began) / STEPS * MICROSECONDS)

    def _next(self) -> bytes:
        self._step += 1
        payload = b'{"s":%d,"o":[1,2]}' % self._step
        return self._publish(self._topic, payload, qos=1, packet_id=self._step % 65_535 + 1)


async def measure() -> dict[str, list[float]]:
    """CPU of a step in each version, microseconds, round by round."""
    house = House(EagerLog(), MqttSettings())
    await house.broker.start()
    attack = Attack(house)
    device5 = attack.connect5("cooler")
    device5[0].data_received(raw_client5.subscribe("rl/v1/cooler/act"))
    devices = {
        "3.1.1": Device("heater", (attack.honest, attack.honest_line), wire.publish),
        "5": Device("cooler", device5, wire5.publish),
    }
    await asyncio.sleep(0)
    attack.honest_line.written.clear()
    device5[1].written.clear()
    for _ in range(WARM_UP + ROUNDS):
        for device in devices.values():
            gc.collect()
            gc.disable()
            device.round()
            gc.enable()
            attack.forget()
    await house.broker.stop()
    return {version: device.costs_us[WARM_UP:] for version, device in devices.items()}


def main() -> None:
    """Measure and say."""
    for version, costs_us in uvloop.run(measure()).items():
        least, middle = min(costs_us), statistics.median(costs_us)
        print(f"MQTT {version}: {least:.1f} µs a step at best, {middle:.1f} in the middle")


if __name__ == "__main__":
    main()
