"""Sockets without a key: they cost others nothing, however many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hub.intake.mqtt.wire import ConnectCode
from tests.intake.house import KEY, become

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.intake.house import House


async def test_half_open_sockets_do_not_take_the_room_of_devices(
    open_house: Callable[..., Any],
) -> None:
    house: House = await open_house(strangers_max=20)
    async with house.client() as device:
        await device.connected("heater", KEY)
        silent = [house.client() for _ in range(60)]
        for client in silent:
            await client.__aenter__()
            client.send(b"\x10\x20\x00\x04MQ")
        await become(lambda: house.gate.sockets <= 21)
        async with house.client() as late:
            await late.connected("cooler", KEY)
        await device.answers_ping()
        for client in silent:
            await client.__aexit__(None, None, None)


async def test_sockets_of_one_address_are_bounded(open_house: Callable[..., Any]) -> None:
    house: House = await open_house(address_connections_max=2)
    async with house.client() as first, house.client() as second, house.client() as third:
        await first.connected("a", KEY)
        await second.connected("b", KEY)
        assert await third.read_until_closed() == []
    await become(lambda: house.gate.sockets == 0)
    async with house.client() as again:
        await again.connected("c", KEY)


async def test_a_wrong_key_again_and_again_is_refused_late_and_a_right_one_let_in_at_once(
    open_house: Callable[..., Any],
) -> None:
    house: House = await open_house(failures_per_minute=3.0)  # one at once: a burst is 20 s
    async with house.client() as first, house.client() as second, house.client() as device:
        first.connect_with("heater", "guess 1")
        (refused,) = await first.read_until_closed()
        assert refused.body[1] == ConnectCode.BAD_CREDENTIALS
        second.connect_with("heater", "guess 2")
        await device.connected("heater", KEY)
        assert await device.answers_ping() == []
        assert house.gate.sockets == 2, "the second guess is still waiting for its answer"
        assert house.gate.strangers.refused == 2
