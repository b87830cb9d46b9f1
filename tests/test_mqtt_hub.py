"""The hub's end at somebody else's broker: addresses that are none, and what can't be reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hub.errors import OperatorFault
from hub.mqtt_hub import Address, HubLink, read_address, trust
from tests.intake.house import become

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("mqtt://broker", Address("broker", 1883, tls=False)),
        ("mqtts://bröker.example:1/", Address("bröker.example", 1, tls=True)),
        ("mqtt://hub:a%20b@[::1]", Address("::1", 1883, tls=False, user="hub", password="a b")),
    ],
)
def test_an_address_says_where_the_broker_is_and_who_we_are(text: str, address: Address) -> None:
    assert read_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "mqtt://a..b",
        "mqtt://" + 64 * "x",
        "mqtt://",
        "mqtt://:1883",
        "mqtt://broker:many",
        "mqtt://broker/topic",
        "http://broker",
        "broker",
    ],
)
def test_what_is_no_address_is_said_at_start(text: str) -> None:
    with pytest.raises(OperatorFault, match=r"mqtt\.broker must be mqtt://"):
        read_address(text)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_certificates_that_cant_be_read_are_said_at_start(
    tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(OperatorFault, match=r"mqtt\.broker_ca_file = .*ca\.pem"):
        trust(str(file))


async def test_whatever_is_wrong_with_an_address_is_logged_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    link = HubLink(
        Address("a..b", 1883, tls=False),
        client_id="hub",
        filters=["rl/v1/+/obs"],
        status_topic="rl/v1/hub/status",
        under_way_max=1,
        retry_s_max=0.01,
    )
    running = asyncio.create_task(link.run())
    await become(lambda: "trying again" in caplog.text or running.done())
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
