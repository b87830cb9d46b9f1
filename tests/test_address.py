"""Addresses of brokers, and what is none."""

from __future__ import annotations

import pytest

from hub.address import Address, read_address
from hub.errors import OperatorFault


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://broker", Address("broker", 1883, tls=False)),
        ("mqtts://bröker.example:1/", Address("bröker.example", 1, tls=True)),
        ("mqtt://hub:a%20b@[::1]", Address("::1", 1883, tls=False, user="hub", password="a b")),
    ],
)
def test_an_address_says_where_the_broker_is_and_who_we_are(text: str, address: Address) -> None:
    assert read_address(text, "mqtt.broker") == address


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://a..b",
        "mqtt://" + 64 * "x",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://broker:many",
        "mqtt://broker:0",
        "mqtt://broker/topic",
        "mqtt://broker?tls=1",
        "http://broker",
        "broker",
    ],
)
def test_what_is_no_address_is_said_at_start(text: str) -> None:
    with pytest.raises(OperatorFault, match=r"mqtt\.broker must be mqtt://"):
        read_address(text, "mqtt.broker")
