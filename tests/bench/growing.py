"""What more devices gain, and what they cost, through a whole hub: seconds until all have learnt.

python -m tests.bench.growing [DEVICES …]

Devices of CartPole-v1 share one policy of PPO with its defaults, over MQTT and as fast as they can.
A device has learnt when the mean return of its last ten episodes is 195; the clock stops when each
has, or has made 12,000 steps. Seconds of the clock, on a machine that is shared: only how they grow
is to be quoted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Final

from tests.acceptance.real_hub import HOST, RealHub
from tests.bench.carts import Cart
from tests.bench.load import Load
from tests.bench.solve import LOOK_S, await_learners
from tests.bench.table import table
from tests.bench.talk import MqttTalk

RETURN: Final = 195.0
EPISODES: Final = 10
STEPS_MAX: Final = 12_000
"""Of each device."""
DEVICES: Final = (4, 16, 64)


class Learning(Cart):
    """A device that knows when it has learnt.

    Attributes:
        done_at: its steps by then; None before.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed, [])
        self.done_at: int | None = None

    def says(self, answer: bytes) -> bytes:
        """As any cart."""
        said = super().says(answer)
        newest = self.returns[-EPISODES:]
        if self.done_at is None and len(newest) == EPISODES and mean(newest) >= RETURN:
            self.done_at = self.steps
        return said

    @property
    def is_over(self) -> bool:
        """It has learnt, or had its steps."""
        return self.done_at is not None or self.steps >= STEPS_MAX


def grown(count: int, seed: int, folder: Path) -> list[str]:
    """Of so many devices a row: seconds, transitions, steps of each, and how many failed."""
    hub = RealHub(folder / f"data-{count}")
    hub.start()
    try:
        key = hub.make_agent("cart", parameters={})
        carts = [Learning(1_000 * seed + i) for i in range(count)]
        talks = [
            (hub.ready.mqtt, MqttTalk(f"cart-{i}", key, cart.says)) for i, cart in enumerate(carts)
        ]
        await_learners(hub)
        began = time.perf_counter()
        with Load(HOST, talks) as load:
            while not all(cart.is_over for cart in carts):
                load.run(LOOK_S)
            took_s = time.perf_counter() - began
    finally:
        hub.end()
    steps = mean(cart.done_at or cart.steps for cart in carts)
    failed = sum(cart.done_at is None for cart in carts)
    transitions = sum(cart.steps for cart in carts)
    return [str(count), f"{took_s:.1f}", f"{transitions:,}", f"{steps:,.0f}", str(failed)]


def main(counts: list[int]) -> None:
    """Print a row for each count."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts or DEVICES:
            rows.append(grown(count, 1, Path(folder)))
            sys.stderr.write(f"{' '.join(rows[-1])}\n")
    heads = ["devices", "s", "transitions", "steps of each", "failed"]
    sys.stdout.write("\n".join(table(heads, rows)) + "\n")


if __name__ == "__main__":
    main([int(count) for count in sys.argv[1:]])
