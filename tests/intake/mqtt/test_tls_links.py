"""The hub's own ends of MQTT over TLS: what the TLS layer has read is not left lying there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from typing import TYPE_CHECKING

import pytest

from hub.address import Address
from hub.mqtt_hub import HubLink, Incoming, trust
from hub.mqtt_meeting import BrokerLink
from tests.acceptance.certificates import Authority
from tests.acceptance.real_hub import until
from tests.intake.house import become

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOST = "127.0.0.1"
MESSAGES = 300
"""More than are read in one turn, and yet in one TLS record of 16 KiB."""
TOPIC = b"rl/v1/a/obs"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
PUBLISH_5 = b"\x30" + bytes((len(TOPIC) + 5,)) + b"\x00\x0b" + TOPIC + b"\x00{}"


class OneRecord:
    """A broker that answers CONNECT with all it will ever say, in one TLS record."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        self.ca_file = str(authority.file)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.sign("broker"))
        self._listener = socket.create_server((HOST, 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            plain, _ = self._listener.accept()
            with self._context.wrap_socket(plain, server_side=True) as connection:
                connection.recv(1000)
                connection.sendall(CONNACK_5 + MESSAGES * PUBLISH_5)
                while connection.recv(1000):
                    pass

    def close(self) -> None:
        self._listener.close()
        self._thread.join(20)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[OneRecord]:
    broker = OneRecord(tmp_path)
    yield broker
    broker.close()


def hub_link(broker: OneRecord) -> HubLink:
    return HubLink(
        Address(HOST, broker.port, tls=True),
        client_id="hub",
        filters=["rl/v1/+/obs"],
        status_topic="rl/v1/hub/status",
        under_way_max=100,
        retry_s_max=1.0,
        trusted=trust(broker.ca_file),
    )


@pytest.mark.parametrize("paused", [False, True])
async def test_all_messages_of_one_tls_record_are_read_by_the_hub(
    broker: OneRecord, paused: bool
) -> None:
    link, came = hub_link(broker), list[Incoming]()

    def take(message: Incoming) -> None:
        came.append(message)
        if paused and len(came) == 10:
            link.pause()

    link.on_message = take
    running = asyncio.create_task(link.run())
    if paused:
        await become(lambda: len(came) == 10)
        link.resume()
    await become(lambda: len(came) == MESSAGES)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def test_all_messages_of_one_tls_record_are_read_by_a_hub_among_hubs(broker: OneRecord) -> None:
    link, came = BrokerLink("a", HOST, broker.port, tls=True, ca_file=broker.ca_file), list[bytes]()
    link.open()

    def receive() -> bool:
        came.extend(payload for _, payload in link.receive())
        return len(came) == MESSAGES

    until(receive, "all of them have come")
    link.close()
