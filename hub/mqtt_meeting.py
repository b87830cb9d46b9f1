"""A door to paho: a hub's end of MQTT 5 at a broker where hubs meet.

    link = BrokerLink("site-a", "broker.example", 8883, tls=True)
    link.open(); link.subscribe("rl/v1/agents/heating/policy/+")
    link.publish(topic, payload, retain=True)
    for topic, payload in link.receive(): ...
    for topic, why, _ in link.denied(): ...

Rule 1: one link is one connection. When it is lost the link says so and is finished; its owner
    opens another and says again what is to be known.
Rule 2: no thread: paho is served inside `publish` and `receive`.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, NamedTuple

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PacketProperties

from hub.mqtt_socket import send_at_once, unread

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags, DisconnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

OPEN_TIMEOUT_S: Final = 5.0
KEEPALIVE_S: Final = 30
PACKET_BYTES_MAX: Final = 65_536
"""What a broker of hubs may send at once (MQTT 5, 3.1.2.11.4); it leaves larger ones out."""
PACKETS_AT_ONCE: Final = 256
"""That `BrokerLink.receive` takes of a broker that sends faster than we read."""
QUEUED_MAX: Final = 10_000
"""Of what we retain, that wait for the broker's answers to those before."""


class Denied(NamedTuple):
    """What the broker does not let this hub do."""

    topic: str
    """Or the filter."""
    why: str
    is_heard: bool
    """It was to be heard; else it was to be said."""


class BrokerLink:
    """A hub's connection to a broker where hubs meet: MQTT 5, so that it can bound what it is sent.

    Args:
        name: of the hub.
        host: of the broker.
        port: of the broker.
        tls: with a certificate that is checked.
        ca_file: those that are trusted, PEM; empty = the system's.
        login: user and password, where the broker asks for them.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        tls: bool = False,
        ca_file: str = "",
        login: tuple[str, str] | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._ca_file = ca_file
        self._client = Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTv5)
        if login is not None:
            self._client.username_pw_set(*login)
        self.accepted = False
        """Whether the broker has let it in."""
        self._qos_max = 1
        """The broker may have 0 alone (3.2.2.3.4); then nothing is heard of what it denies."""
        self._refused: str | None = None
        self._why: str | None = None
        """What the broker said as it ended the connection."""
        self._inbox: list[tuple[str, bytes]] = []
        self._asked: dict[int, str] = {}
        """By packet id, what the broker has not answered yet: a topic, or a filter."""
        self._denied: list[Denied] = []

    def open(self) -> None:
        """Connect; what is subscribed and published from now on waits for the CONNACK in order.

        Raises:
            OSError: no connection; try again later.
            ValueError: the host is none.
        """
        client = self._client
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.max_queued_messages_set(QUEUED_MAX)
        client.on_disconnect = self._on_disconnect
        client.on_socket_open = send_at_once
        client.connect_timeout = OPEN_TIMEOUT_S
        if self._tls:
            client.tls_set(ca_certs=self._ca_file or None)
        bounds = PacketProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        bounds.MaximumPacketSize = PACKET_BYTES_MAX
        client.connect(
            self._host,
            self._port,
            keepalive=KEEPALIVE_S,
            clean_start=True,
            properties=bounds,
        )

    def fileno(self) -> int:
        """The socket, to be polled beside others.

        Raises:
            ConnectionError: the connection is lost.
        """
        connection = self._client.socket()
        if connection is None:
            raise ConnectionResetError(self._why or "the broker is lost")
        return int(connection.fileno())

    def subscribe(self, topic_filter: str) -> None:
        """Hear what is published there from now on, and what is retained."""
        code, packet_id = self._client.subscribe(topic_filter, qos=1)
        self._check(code)
        if packet_id is not None:
            self._asked[packet_id] = topic_filter

    def unsubscribe(self, topic_filter: str) -> None:
        """Hear no more of it."""
        self._check(self._client.unsubscribe(topic_filter)[0])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send; what is lost is announced, or asked for, again.

        What is retained goes at QoS 1: else nobody says that the broker denies it.

        Raises:
            ConnectionError: the connection is lost, or the broker answers nothing.
        """
        qos = self._qos_max if retain else 0
        sent = self._client.publish(topic, payload, qos=qos, retain=retain)
        self._check(sent.rc)
        if qos:
            self._asked[sent.mid] = topic

    def receive(self) -> list[tuple[str, bytes]]:
        """Serve the socket without waiting: topics and payloads that have come.

        Raises:
            ConnectionError: the connection is lost, or the broker refuses it.
        """
        client = self._client
        waiting = [self] if client.want_write() else []
        readable, writable, _ = select.select([self], waiting, [], 0.0)
        for _ in range(PACKETS_AT_ONCE):
            if not readable and not unread(client):
                break
            self._check(client.loop_read())
            if client.socket() is None:  # it said why it refuses us
                break
            readable = select.select([self], [], [], 0.0)[0]
        if writable:
            self._check(client.loop_write())
        self._check(client.loop_misc())
        if self._refused is not None:
            raise ConnectionRefusedError(f"the broker refuses this hub: {self._refused}")
        inbox, self._inbox = self._inbox, []
        return inbox

    def denied(self) -> list[Denied]:
        """What the broker has denied since the last call."""
        denied, self._denied = self._denied, []
        return denied

    def close(self) -> None:
        """Say goodbye where that is still possible; never raises."""
        self._client.disconnect()

    def _check(self, code: MQTTErrorCode) -> None:
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS and self._refused is None:
            raise ConnectionResetError(self._why or f"the broker is lost: {code.name}")

    def _on_connect(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, said: Properties | None
    ) -> None:
        self.accepted = not reason.is_failure
        self._qos_max = min(1, getattr(said, "MaximumQoS", 1))
        if reason.is_failure:
            self._refused = getattr(said, "ReasonString", None) or str(reason)

    def _on_disconnect(
        self, _c: Client, _u: object, by: DisconnectFlags, reason: ReasonCode, p: Properties | None
    ) -> None:
        if by.is_disconnect_packet_from_server:
            why = getattr(p, "ReasonString", None) or str(reason)
            self._why = f"the broker ended the connection: {why}"

    def _on_subscribe(
        self, _c: Client, _u: object, packet_id: int, codes: list[ReasonCode], _p: Properties | None
    ) -> None:
        self._note(packet_id, codes[0], is_heard=True)

    def _on_publish(
        self, _c: Client, _u: object, packet_id: int, code: ReasonCode, _p: Properties | None
    ) -> None:
        self._note(packet_id, code, is_heard=False)

    def _note(self, packet_id: int, code: ReasonCode, *, is_heard: bool) -> None:
        asked = self._asked.pop(packet_id, None)
        if asked is not None and code.is_failure:
            self._denied.append(Denied(asked, str(code), is_heard))

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        self._inbox.append((message.topic, bytes(message.payload)))
