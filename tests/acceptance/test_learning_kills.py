"""kill -9 of trainer, actor and hub while devices learn CartPole: they learn on as if nothing was.

Goal: the curve after the kills is the curve without, nothing false is learnt from, and the policy
is still what the log says. The large form has 50 kills (`make soak-learning`).
"""

from __future__ import annotations

import os
import signal
import struct
from itertools import combinations
from statistics import mean
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec
import numpy as np
import pytest

from hub.simulate.exchange import Endpoint, Said
from hub.simulate.over_http import HttpExchange
from hub.simulate.over_mqtt import MqttExchange
from hub.words import DeviceId
from tests.acceptance.devices import BOOT, Walker
from tests.acceptance.real_hub import HOST, until
from tests.acceptance.test_kill import assert_learning_resumed, await_successor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hub.simulate.exchange import Exchange
    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

VICTIMS: Final = ("trainer-cart", "actor-cart", "hub", "trainer-cart")
RETURN: Final = 60.0
"""Of the last episodes, exploring; a random policy gets 22."""
EPISODES: Final = 20
STEPS_APART: Final = 500
"""Between two kills, of all devices, about."""
STEPS_MAX: Final = 40_000
LONG_STEPS: Final = 15_000
LONG_REST_S: Final = 0.01
"""Between two steps of a device. As fast as they can, devices make thousands of steps while a
process comes back, and the curve of these is flat for want of time, not for what a kill undid."""
FALLBACK_STEPS: Final = 5_000
"""That many at most while actors come back, of a run with kills."""
LONG_SEEDS: Final = 5
LONG_KILLS: Final = 10
"""Of each seed: 50 in all."""
NOISE: Final = 0.05
"""Chance that equal curves are taken for different ones."""

Joined = tuple[str, tuple[float, ...], int, float, tuple[float, ...], bool, bool]


class Cart(Walker):
    """A CartPole-v1 that does what it is told, and knows what really happened."""

    def __init__(self, device: str, exchange: Exchange, *, seed: int, rest_s: float) -> None:
        super().__init__(device, exchange, rest_s)
        self.returns: list[float] = []
        self.happened: set[Joined] = set()
        self.count = 0
        """Transitions."""
        self._seed = seed

    async def _walk(self) -> None:
        """Balance."""
        try:
            await self._balance(gymnasium.make("CartPole-v1"))
        finally:
            self._exchange.close()

    async def _balance(self, env: gymnasium.Env[Any, Any]) -> None:
        step, total = 0, 0.0
        seen, _ = env.reset(seed=self._seed)
        said = Said(s=0, o=seen.tolist(), b=BOOT)
        while not self._stopping.is_set():
            act = (await self._answered(said)).act.a
            await self._pause(self._rest_s)
            step += 1
            if said.d or said.tr:
                self.returns.append(total)
                total = 0.0
                seen, _ = env.reset()
                said = Said(s=step, o=seen.tolist(), b=BOOT)
                continue
            assert isinstance(act, int), "an action in mid-episode"
            before = seen
            seen, reward, terminated, truncated, _ = env.step(act)
            total += float(reward)
            said = Said(
                s=step,
                o=seen.tolist(),
                b=BOOT,
                r=float(reward),
                d=int(terminated),
                tr=int(truncated),
            )
            self.happened.add(
                (
                    self.device,
                    single(before),
                    act,
                    float(reward),
                    single(seen),
                    bool(terminated),
                    bool(truncated),
                )
            )
            self.count += 1


def single(values: Any) -> tuple[float, ...]:
    """As the log keeps them: float32."""
    return struct.unpack("<4f", np.asarray(values, dtype="<f4").tobytes())


class Carts:
    """Two over MQTT and two over HTTP."""

    def __init__(self, hub: RealHub, *, seed: int, rest_s: float = 0.0) -> None:
        key = hub.make_agent("cart", parameters={})
        http, mqtt = hub.ready.http, hub.ready.mqtt
        over: list[Callable[[DeviceId], Exchange]] = [
            lambda name: MqttExchange(name, key, Endpoint(HOST, mqtt)),
            lambda name: HttpExchange(name, key, Endpoint(HOST, http)),
        ]
        self.devices = [
            Cart(name, over[i % 2](DeviceId(name)), seed=10 * seed + i, rest_s=rest_s)
            for i, name in enumerate(f"cart-{number}" for number in range(4))
        ]

    def __enter__(self) -> Carts:
        for device in self.devices:
            device.start()
        return self

    def __exit__(self, *_: object) -> None:
        for device in self.devices:
            device.stop()

    @property
    def steps(self) -> int:
        """Transitions of all."""
        for device in self.devices:
            if device.failure is not None:
                raise device.failure
        return sum(device.count for device in self.devices)

    def learned(self, wanted: float = RETURN) -> bool:
        """The last episodes of each were long."""
        newest = [r for device in self.devices for r in device.returns[-EPISODES // 4 :]]
        return len(newest) >= EPISODES and mean(newest) >= wanted

    def await_steps(self, count: int) -> None:
        """Return when all together have come so far."""
        until(lambda: self.steps >= count, f"{count} steps", timeout_s=300)


def kill(hub: RealHub, name: str) -> None:
    """`kill -9`; returns when it is back."""
    if name == "hub":
        hub.kill_nine()
        hub.start()
        return
    until(lambda: name in hub.processes, f"{name} to run")
    killed = hub.processes[name]
    os.kill(killed, signal.SIGKILL)
    await_successor(hub, name, killed)


def kill_now_and_then(hub: RealHub, carts: Carts, victims: Iterator[str], seed: int) -> None:
    chance = np.random.default_rng(seed)
    for name in victims:
        carts.await_steps(carts.steps + int(chance.integers(STEPS_APART // 2, 2 * STEPS_APART)))
        kill(hub, name)


def assert_only_what_happened(hub: RealHub, carts: Carts) -> None:
    rows = hub.sql(
        "SELECT device, obs, action[1]::INTEGER AS did, reward, next_obs, terminated, truncated "
        "FROM transitions"
    )
    happened = set().union(*(device.happened for device in carts.devices))
    joined = [
        (
            row["device"],
            single(row["obs"]),
            row["did"],
            row["reward"],
            single(row["next_obs"]),
            row["terminated"],
            row["truncated"],
        )
        for row in rows
    ]
    assert len(joined) > 0.95 * carts.steps
    assert [one for one in joined if one not in happened] == []


def test_devices_learn_on_over_every_kill_and_from_nothing_that_did_not_happen(
    fresh_hub: RealHub,
) -> None:
    with Carts(fresh_hub, seed=1) as carts:
        kill_now_and_then(fresh_hub, carts, iter(VICTIMS), seed=1)
        until(
            lambda: carts.learned() or carts.steps > STEPS_MAX, "the carts to learn", timeout_s=400
        )
    assert carts.learned(), f"{[device.returns[-5:] for device in carts.devices]}"
    assert_only_what_happened(fresh_hub, carts)
    assert_learning_resumed(fresh_hub)
    done = fresh_hub.command("rebuild", "cart")
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout)["equal"]


def area(hub: RealHub) -> float:
    """Mean return over the first transitions, each of the return of its episode: a curve's area.

    Episodes in which a fallback acted, while a killed actor came back, say nothing of a policy.
    """
    rows = hub.sql(
        'SELECT steps, "return" FROM episodes AS episode WHERE NOT EXISTS (FROM events AS event '
        "WHERE event.kind = 'action' AND event.source = 'fallback' "
        "AND event.device = episode.device AND event.ts BETWEEN episode.started AND episode.ended"
        ") ORDER BY ended"
    )
    taken, total = 0, 0.0
    for row in rows:
        steps = min(row["steps"], LONG_STEPS - taken)
        total += steps * row["return"]
        taken += steps
    assert taken > 0.9 * LONG_STEPS, f"a curve of {taken} steps"
    return total / taken


def chance_of_less(ones: list[float], others: list[float]) -> float:
    """How often ones and others, mixed and dealt anew, have the ones' sum so low or lower."""
    dealt = [sum(hand) for hand in combinations(ones + others, len(ones))]
    return mean(hand <= sum(ones) for hand in dealt)


def test_a_permutation_test_tells_less_from_alike() -> None:
    assert chance_of_less([1, 2, 3, 4], [5, 6, 7, 8]) == 1 / 70
    assert chance_of_less([1, 4, 6, 7], [2, 3, 5, 8]) > 0.4


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_the_curve_after_fifty_kills_is_the_curve_without(
    new_hub: Callable[[str], RealHub],
) -> None:
    """Method: the same seeds with and without kills; an exact permutation test of the areas."""
    areas: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(LONG_SEEDS):
        for killed in (False, True):
            hub = new_hub("")
            hub.start()
            with Carts(hub, seed=seed, rest_s=LONG_REST_S) as carts:
                if killed:
                    chance = np.random.default_rng(seed)
                    victims = [str(chance.choice(VICTIMS[:3])) for _ in range(LONG_KILLS)]
                    kill_now_and_then(hub, carts, iter(victims), seed)
                carts.await_steps(LONG_STEPS + 1000 + FALLBACK_STEPS * killed)
            assert_only_what_happened(hub, carts)
            assert_learning_resumed(hub)
            areas[killed].append(area(hub))
            hub.stop()
    assert chance_of_less(areas[True], areas[False]) > NOISE, areas
