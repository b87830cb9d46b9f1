"""A door to paho: a simulated device's end of MQTT 3.1.1, and a hub's at a broker of hubs.

    with MqttLink(device, key, host=host, port=port, clock=clock) as link:
        link.publish("obs", b'{"s":0,"o":[21.5,40]}')
        leaf, payload = link.receive(timeout_s=1.0)     # "act", b'{"s":0,"a":1}'

    link = BrokerLink("site-a", "broker.example", 8883, tls=True)
    link.open(); link.subscribe("rl/v1/agents/heating/policy/+")
    link.publish(topic, payload, retain=True)
    for topic, payload in link.receive(): ...

Rule 1: one link is one connection. When it is lost the link says so once and is finished; its
    owner opens another and sends again what was not answered, so nothing is queued in here.
Rule 2: no thread. paho runs inside `open`, `publish` and `receive` only, which costs a device half
    of what a network thread and the hand-over to it would.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final, Self

from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PacketProperties

from hub.errors import AccessDenied
from hub.topics import device_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, SocketLike
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from hub.clock import Clock
    from hub.words import DeviceId

SUBSCRIBED: Final = ("act", "err")
OPEN_TIMEOUT_S: Final = 5.0
"""From the first SYN to the last SUBACK."""
KEEPALIVE_S: Final = 5
"""A hub that vanished without closing its socket is noticed after at most twice this."""
BROKER_KEEPALIVE_S: Final = 30
PACKET_BYTES_MAX: Final = 65_536
"""What a broker of hubs may send at once (MQTT 5, 3.1.2.11.4); it leaves larger ones out."""
PACKETS_AT_ONCE: Final = 256
"""That `BrokerLink.receive` takes of a broker that sends faster than we read."""
_REFUSED: Final = ("Bad user name or password", "Not authorized")


class MqttLink:
    """One connection of one device: sends below its own topic, hears its `act` and `err`."""

    def __init__(
        self,
        device: DeviceId,
        key: str,
        *,
        host: str,
        port: int,
        clock: Clock,
        base: str = "rl/v1",
        qos: int = 1,
    ) -> None:
        self._device = device
        self._key = key
        self._host = host
        self._port = port
        self._clock = clock
        self._base = base
        self._qos = qos
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=device, protocol=MQTTv311, clean_session=True
        )
        self._connected: ReasonCode | None = None
        self._subscriptions = 0
        self._inbox: deque[tuple[str, bytes]] = deque()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Connect and subscribe; when it returns, answers can arrive.

        Raises:
            AccessDenied: the hub knows no such key, or not for this device; trying again is no use.
            OSError: no connection, or no answer within `OPEN_TIMEOUT_S`; try again later.
        """
        client = self._client
        client.username_pw_set(self._device, self._key)
        client.on_socket_open = _send_at_once
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.connect_timeout = OPEN_TIMEOUT_S
        client.connect(self._host, self._port, keepalive=KEEPALIVE_S)
        deadline = self._clock.monotonic() + OPEN_TIMEOUT_S
        self._run_until(lambda: self._connected is not None, deadline, "CONNACK")
        assert self._connected is not None
        if self._connected.is_failure:
            self.close()
            if self._connected.getName() in _REFUSED:
                raise AccessDenied(f"the hub refused device {self._device!r}: {self._connected}")
            raise ConnectionRefusedError(f"the hub refused the connection: {self._connected}")
        for leaf in SUBSCRIBED:
            client.subscribe(device_topic(self._base, self._device, leaf), qos=self._qos)
        self._run_until(lambda: self._subscriptions == len(SUBSCRIBED), deadline, "SUBACK")

    def publish(self, leaf: str, payload: bytes) -> None:
        """Send on `<base>/<device>/<leaf>`.

        Raises:
            ConnectionError: the connection is lost; whether it arrived is not known.
        """
        topic = device_topic(self._base, self._device, leaf)
        self._check(self._client.publish(topic, payload, qos=self._qos).rc)

    def receive(self, timeout_s: float) -> tuple[str, bytes] | None:
        """The next (leaf, payload) the hub sent, None when nothing came in time.

        Raises:
            ConnectionError: the connection is lost.
        """
        deadline = self._clock.monotonic() + timeout_s
        while not self._inbox:
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                return None
            self._run_once(left_s)
        return self._inbox.popleft()

    def close(self) -> None:
        """Say goodbye where that is still possible; never raises."""
        self._client.disconnect()

    def _run_until(self, condition: Callable[[], bool], deadline: float, missing: str) -> None:
        while not condition():
            left_s = deadline - self._clock.monotonic()
            if left_s <= 0:
                self.close()
                raise TimeoutError(f"no {missing} from {self._host}:{self._port}")
            self._run_once(left_s)

    def _run_once(self, timeout_s: float) -> None:
        """Wait for the socket, at most until paho wants to look at its keep-alive, and serve it."""
        client = self._client
        connection = client.socket()
        if connection is None:
            raise ConnectionResetError(f"{self._device!r} lost the hub")
        waiting_to_write = [connection] if client.want_write() else []
        readable, writable, _ = select.select(
            [connection], waiting_to_write, [], min(timeout_s, KEEPALIVE_S / 2)
        )
        if readable:
            self._check(client.loop_read())
        if writable:
            self._check(client.loop_write())
        self._check(client.loop_misc())

    def _check(self, code: MQTTErrorCode) -> None:
        # A refused CONNECT ends the connection as well; there the CONNACK's reason says more.
        refused = self._connected is not None and self._connected.is_failure
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS and not refused:
            raise ConnectionResetError(f"{self._device!r} lost the hub: {code.name}")

    # paho fixes these signatures.

    def _on_connect(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._connected = reason

    def _on_subscribe(
        self, _c: Client, _u: object, _m: int, _r: list[ReasonCode], _p: Properties | None
    ) -> None:
        self._subscriptions += 1

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        leaf = message.topic.removeprefix(f"{self._base}/{self._device}/")
        self._inbox.append((leaf, bytes(message.payload)))


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
        self._refused: str | None = None
        self._inbox: list[tuple[str, bytes]] = []

    def open(self) -> None:
        """Connect; what is subscribed and published from now on waits for the CONNACK in order.

        Raises:
            OSError: no connection; try again later.
            ValueError: the host is none.
        """
        client = self._client
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_socket_open = _send_at_once
        client.connect_timeout = OPEN_TIMEOUT_S
        if self._tls:
            client.tls_set(ca_certs=self._ca_file or None)
        bounds = PacketProperties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
        bounds.MaximumPacketSize = PACKET_BYTES_MAX
        client.connect(
            self._host,
            self._port,
            keepalive=BROKER_KEEPALIVE_S,
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
            raise ConnectionResetError("the broker is lost")
        return int(connection.fileno())

    def subscribe(self, topic_filter: str) -> None:
        """Hear what is published there from now on, and what is retained."""
        self._check(self._client.subscribe(topic_filter, qos=1)[0])

    def unsubscribe(self, topic_filter: str) -> None:
        """Hear no more of it."""
        self._check(self._client.unsubscribe(topic_filter)[0])

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send at QoS 0: what is lost is announced, or asked for, again.

        Raises:
            ConnectionError: the connection is lost.
        """
        self._check(self._client.publish(topic, payload, qos=0, retain=retain).rc)

    def receive(self) -> list[tuple[str, bytes]]:
        """Serve the socket without waiting: topics and payloads that have come.

        Raises:
            ConnectionError: the connection is lost, or the broker refuses it.
        """
        client = self._client
        waiting = [self] if client.want_write() else []
        readable, writable, _ = select.select([self], waiting, [], 0.0)
        for _ in range(PACKETS_AT_ONCE):
            if not readable and not _unread(client):
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

    def close(self) -> None:
        """Say goodbye where that is still possible; never raises."""
        self._client.disconnect()

    def _check(self, code: MQTTErrorCode) -> None:
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS and self._refused is None:
            raise ConnectionResetError(f"the broker is lost: {code.name}")

    def _on_connect(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refused = str(reason)

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        self._inbox.append((message.topic, bytes(message.payload)))


def _unread(client: Client) -> bool:
    """Whether TLS has taken more from the socket than paho has: then no readiness tells of it."""
    connection = client.socket()
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _send_at_once(_client: Client, _userdata: object, connection: SocketLike) -> None:
    # CRUCIAL: paho leaves Nagle on, and a PUBACK followed by a PUBLISH then waits for the hub's
    # delayed ACK: 40 ms a step instead of 0.3.
    assert isinstance(connection, socket.socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
