"""Addresses of brokers, what is none, and those of the pages."""

from __future__ import annotations

import pytest

from hub.address import Address, pages_url, read_address
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


@pytest.mark.parametrize(
    ("host", "tls", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:8000"),
        ("hub.local", True, "https://hub.local:8000"),
        ("::1", False, "http://[::1]:8000"),
        ("0.0.0.0", True, "https://attic:8000"),
        ("::", False, "http://attic:8000"),
    ],
)
def test_pages_are_where_whoever_reads_the_link_can_reach_them(
    host: str, tls: bool, url: str
) -> None:
    assert pages_url(host, 8000, tls=tls, machine="attic") == url
