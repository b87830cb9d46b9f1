"""What waits for an MQTT 5 device, by a clock that is set by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest

from hub.intake.mqtt import wire
from hub.intake.mqtt.outbox import IN_FLIGHT_MAX, NO_LIMITS, Limits
from hub.intake.mqtt.outbox5 import Note, Outbox5
from hub.intake.mqtt.properties import Property
from tests.intake.fakes import ManualClock
from tests.intake.mqtt.raw_client import Packet
from tests.intake.mqtt.raw_client5 import Said

if TYPE_CHECKING:
    from collections.abc import Callable

DUPLICATE = 0x08


class Device:
    """Listens to its actions, as far as its outbox sends any."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.outbox = Outbox5(
            "heater", "rl/v1", lasts_s=math.inf, unreleased_max=9, now_s=self.clock.monotonic
        )
        self.heard: list[Said] = []
        self.send: Callable[[bytes], None] = self._hear
        self.outbox.attach(self.send)
        self.outbox.subscribe([("rl/v1/heater/#", 2)])

    def answer(self, number: int, note: Note | None = None, qos: int = 1) -> None:
        self.outbox.answer("act", b"%d" % number, qos, note or Note())

    def heard_now(self) -> list[bytes]:
        """Payloads, and nothing of before."""
        heard, self.heard = self.heard, []
        return [said.payload for said in heard]

    def _hear(self, packet: bytes) -> None:
        head = wire.read_head(packet)
        assert head is not None
        self.heard.append(Said(Packet(head.type, head.flags, packet[head.body_at :])))


@pytest.fixture
def device() -> Device:
    return Device()


def test_the_newest_action_waits_for_a_device_that_is_away_until_it_expires(
    device: Device,
) -> None:
    for away_s, expected in ((2.5, [b"2"]), (9.0, [])):
        assert device.outbox.detach(device.send)
        device.answer(1, Note(expires_s=9))
        device.answer(2, Note("rl/v1/heater/7", b"7", expires_s=9))
        device.clock.seconds += away_s
        device.outbox.attach(device.send)
        assert [said.payload for said in device.heard] == expected
        if expected:
            (said,) = device.heard
            assert said.topic == "rl/v1/heater/7"
            assert said.properties == {
                Property.CORRELATION_DATA: b"7",
                Property.MESSAGE_EXPIRY_S: 7,  # what is left of it
            }
            device.outbox.acknowledged(said.packet_id)
        device.heard_now()


def test_at_qos_0_nothing_waits(device: Device) -> None:
    device.outbox.detach(device.send)
    device.answer(1, qos=0)
    device.outbox.attach(device.send)
    assert device.heard_now() == []


def test_a_device_that_acknowledges_nothing_is_sent_so_much_and_then_the_newest(
    device: Device,
) -> None:
    for number in range(IN_FLIGHT_MAX + 5):
        device.answer(number)
    assert len(device.heard) == IN_FLIGHT_MAX
    first = device.heard[0].packet_id
    device.heard_now()
    device.answer(99, qos=0)  # has its own way
    device.outbox.acknowledged(first)
    device.outbox.acknowledged(first)
    assert device.heard_now() == [b"99", b"%d" % (IN_FLIGHT_MAX + 4)]


def test_a_qos_2_action_takes_its_room_until_it_is_completed(device: Device) -> None:
    device.outbox.attach(device.send, Limits(1, math.inf))
    device.answer(1, qos=2)
    (said,) = device.heard
    device.answer(2, qos=2)
    device.heard_now()
    device.outbox.received(said.packet_id)
    assert [said.payload for said in device.heard] == [b""]  # the PUBREL
    device.heard_now()
    device.outbox.completed(said.packet_id)
    assert device.heard_now() == [b"2"]


def test_what_was_not_acknowledged_comes_again_as_far_as_the_new_client_takes_it(
    device: Device,
) -> None:
    for number in range(4):
        device.answer(number)
    device.answer(4, Note(correlation=bytes(100)))
    device.heard_now()
    device.outbox.detach(device.send)
    device.outbox.attach(device.send, Limits(2, 100))
    assert all(said.packet.flags & DUPLICATE for said in device.heard)
    assert device.heard_now() == [b"2", b"3"]
    device.outbox.attach(device.send, NO_LIMITS)
    assert device.heard_now() == [b"2", b"3"]
