"""The hub's end at somebody else's broker: what can't be trusted, and what can't be reached."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hub.address import Address
from hub.errors import OperatorFault
from hub.mqtt_hub import HubLink, trust
from tests.intake.house import become

if TYPE_CHECKING:
    from pathlib import Path


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
