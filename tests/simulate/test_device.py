"""A simulated device does as docs/device-maker.md says, whatever the hub does to it."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import gymnasium
import pytest

from hub.clock import SystemClock
from hub.errors import AccessDenied, DeviceFault
from hub.mqtt import MqttLink
from hub.payloads import Act
from hub.simulate.device import Device, Limits, open_exchange
from hub.simulate.exchange import Endpoint, Said, Way
from hub.words import Code, DeviceId
from tests.simulate.fake_hub import HOST, KEY, FakeHub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.simulate.exchange import Exchange
    from hub.simulate.progress import Acknowledged, Progress

DEVICE = DeviceId("cart-1")
WAYS = [Way.MQTT, Way.HTTP, Way.SHEPHERD]
"""The fake hub speaks no WebSocket; a real one does, in `test_crowd.py`."""
NUMBERED = [Way.MQTT, Way.HTTP]


class Written:
    """What a device reported."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.progress: list[Progress] = []


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as started:
        yield started


async def test_observations_keep_the_order_and_names_of_the_contract() -> None:
    said = await _episodes(steps=30)
    assert [m.s for m in said] == list(range(30))
    assert [m.f for m in said] == [1] + [0] * 29
    assert {m.b for m in said} == {7}


async def test_reward_is_absent_on_the_first_observation_of_an_episode_and_one_after() -> None:
    said = await _episodes(steps=60)
    first = [i for i, m in enumerate(said) if i == 0 or said[i - 1].d]
    assert len(first) > 1
    for i, message in enumerate(said):
        assert message.r == (None if i in first else 1.0)


async def test_a_time_limit_is_truncated_and_a_fallen_pole_terminated() -> None:
    said = await _episodes(steps=60, limit_steps=5)
    ends = [m for m in said if m.tr]
    assert ends
    assert all(m.d == 0 for m in ends)
    assert not any(m.tr for m in await _episodes(steps=60))


async def test_an_answer_without_action_in_mid_episode_is_bridged_and_owned_up_to() -> None:
    said = await _episodes(steps=3, actions=[1, None, 0])
    assert [m.x for m in said] == [None, None, 1]


@pytest.mark.parametrize("way", WAYS)
async def test_every_protocol_runs_episodes_and_records_each_acknowledged_step(
    hub: FakeHub, way: Way
) -> None:
    written = await _run(hub, way, steps=40)
    assert [a.step for a in written.acknowledged] == list(range(40))
    assert len(hub.seen) == 40
    last = written.progress[-1]
    assert (last.steps, last.repeats) == (40, 0)
    assert last.returns
    assert len(last.latencies_ms) == 40


@pytest.mark.parametrize("way", WAYS)
async def test_a_busy_hub_gets_the_same_step_again(hub: FakeHub, way: Way) -> None:
    hub.refuse_busy(2)
    written = await _run(hub, way, steps=5)
    assert [a.step for a in written.acknowledged] == list(range(5))
    assert written.progress[-1].repeats == 2


@pytest.mark.parametrize("way", NUMBERED)
async def test_a_swallowed_answer_is_asked_for_again_under_the_same_number(
    hub: FakeHub, way: Way
) -> None:
    hub.swallow(1)
    written = await _run(hub, way, steps=3)
    assert [m["s"] for m in hub.seen] == [0, 1, 2]
    assert written.progress[-1].repeats == 1


@pytest.mark.parametrize("way", WAYS)
async def test_a_restarted_hub_is_found_again(hub: FakeHub, way: Way) -> None:
    written = Written()
    exchange = _exchange(hub, way)
    device = _device(exchange, written)
    await device.run(Limits(steps=3))
    hub.restart()
    await device.run(Limits(steps=6))
    exchange.close()
    assert [a.step for a in written.acknowledged] == list(range(6))
    assert hub.connections >= 2
    assert hub.logins == (1 if way is Way.SHEPHERD else 0)


async def test_native_http_keeps_one_connection(hub: FakeHub) -> None:
    written = await _run(hub, Way.HTTP, steps=20)
    assert hub.connections == 1
    assert [a.seq for a in written.acknowledged] == list(range(1, 21))


@pytest.mark.parametrize("way", NUMBERED)
async def test_a_wrong_key_ends_the_device(hub: FakeHub, way: Way) -> None:
    exchange = _exchange(hub, way, key="another")
    with pytest.raises(AccessDenied):
        await _device(exchange, Written()).run(Limits(steps=1))
    exchange.close()


async def test_mqtt_sends_without_waiting_for_acknowledgements(hub: FakeHub) -> None:
    async with MqttLink(DEVICE, KEY, host=HOST, port=hub.mqtt_port) as link:
        connection = link._client.socket()
        assert isinstance(connection, socket.socket)
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_a_refusal_is_not_repeated() -> None:
    exchange = Scripted([1])
    exchange.fault = DeviceFault(Code.SHAPE, "obs has 3 values")
    with pytest.raises(DeviceFault, match="3 values"):
        await _device(exchange, Written()).run(Limits(steps=1))


class Scripted:
    """Answers from a list of actions, the last one for ever, and keeps what was said."""

    numbered = True
    ordered = True

    def __init__(self, actions: list[int | None]) -> None:
        self.said: list[Said] = []
        self.fault: DeviceFault | None = None
        self._actions = actions

    async def ask(self, said: Said) -> Act:
        if self.fault is not None:
            raise self.fault
        self.said.append(said)
        if said.d or said.tr:
            return Act(s=said.s, a=None)
        return Act(s=said.s, a=self._actions[min(said.s, len(self._actions) - 1)])

    async def send(self, said: Said) -> None:
        self.said.append(said)

    def abandon(self) -> None:
        pass

    def close(self) -> None:
        pass


async def _episodes(
    *, steps: int, limit_steps: int | None = None, actions: list[int | None] | None = None
) -> list[Said]:
    exchange = Scripted(actions or [1])
    environment = gymnasium.make("CartPole-v1", max_episode_steps=limit_steps)
    await _device(exchange, Written(), environment).run(Limits(steps=steps))
    return exchange.said


async def _run(hub: FakeHub, way: Way, *, steps: int) -> Written:
    written = Written()
    exchange = _exchange(hub, way)
    device = _device(exchange, written)
    await device.run(Limits(steps=steps))
    device.report()
    exchange.close()
    return written


def _exchange(hub: FakeHub, way: Way, key: str = KEY) -> Exchange:
    port = hub.mqtt_port if way is Way.MQTT else hub.http_port
    return open_exchange(way, DEVICE, key, Endpoint(HOST, port))


def _device(
    exchange: Exchange, written: Written, environment: gymnasium.Env[Any, Any] | None = None
) -> Device:
    return Device(
        DEVICE,
        environment or gymnasium.make("CartPole-v1"),
        exchange,
        boot=7,
        seed=0,
        clock=SystemClock(),
        pause=asyncio.sleep,
        stopping=lambda: False,
        report=written.progress.append,
        acknowledge=written.acknowledged.append,
    )
