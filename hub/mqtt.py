"""A door to paho: a simulated device's end of MQTT 3.1.1 and 5.

    async with MqttLink(device, key, host=host, port=port) as link:
        link.publish("obs", b'{"s":0,"o":[21.5,40]}')
        leaf, payload = await link.receive()            # "act", b'{"s":0,"a":1}'

Rule 1: one link is one connection. When it is lost the link says so once and is finished; its
    owner opens another and sends again what was not answered, so nothing is queued in here.
Rule 2: no thread, but for the moment of connecting. paho is served from the event loop: that costs
    half of what a network thread and the hand-over to it would.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import TYPE_CHECKING, Final, Self

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from hub.errors import AccessDenied
from hub.mqtt_socket import send_at_once, unread
from hub.payloads import Err
from hub.topics import device_topic
from hub.words import Code

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

    from hub.words import DeviceId

SUBSCRIBED: Final = ("act", "err")
OPEN_TIMEOUT_S: Final = 5.0
"""From the first SYN to the last SUBACK."""
KEEPALIVE_S: Final = 5
"""A hub that vanished without closing its socket is noticed after at most twice this."""
_REFUSED: Final = ("Bad user name or password", "Not authorized")
_CODES: Final = {0x97: Code.RATE, 0x83: Code.BUSY, 0x87: Code.AUTH}
"""What a PUBACK's reason code means; any other that is a failure means the payload."""


class MqttLink:
    """One connection of one device: sends below its own topic, hears its `act` and `err`.

    Args:
        device: its id.
        key: its password.
        host: of the hub.
        port: of the hub's MQTT.
        base: of all topics.
        qos: of what it sends and hears.
        five: speak MQTT 5; what is refused in a PUBACK is then heard as `err` all the same.
        tls: what the hub's certificate is checked by; None = plain text.
    """

    def __init__(
        self,
        device: DeviceId,
        key: str,
        *,
        host: str,
        port: int,
        base: str = "rl/v1",
        qos: int = 1,
        five: bool = False,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._device = device
        self._key = key
        self._host = host
        self._port = port
        self._base = base
        self._qos = qos
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=device, protocol=MQTTv5 if five else MQTTv311
        )
        if tls is not None:
            tls.sslsocket_class = _TlsSocket
            self._client.tls_set_context(tls)
        self._connected: ReasonCode | None = None
        self._subscriptions = 0
        self._inbox: deque[tuple[str, bytes]] = deque()
        self._loop = asyncio.get_running_loop()
        self._fd = -1
        self._lost: str | None = None
        self._news = asyncio.Event()
        """Anything came, or nothing will any more."""
        self._keep_alive: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def open(self) -> None:
        """Connect and subscribe; when it returns, answers can arrive.

        Raises:
            AccessDenied: the hub knows no such key, or not for this device; trying again is no use.
            OSError: no connection, or no answer within `OPEN_TIMEOUT_S`; try again later.
        """
        client = self._client
        client.username_pw_set(self._device, self._key)
        client.on_socket_open = send_at_once
        client.on_socket_close = self._closing
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._written
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        client.connect_timeout = OPEN_TIMEOUT_S
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                # In a thread: it may wait for a name server.
                await asyncio.to_thread(client.connect, self._host, self._port, KEEPALIVE_S)
                self._attach()
                while self._connected is None:
                    await self._more()
                self._check_accepted(self._connected)
                for leaf in SUBSCRIBED:
                    topic = device_topic(self._base, self._device, leaf)
                    client.subscribe(topic, qos=self._qos)
                while self._subscriptions < len(SUBSCRIBED):
                    await self._more()
        except TimeoutError:
            raise TimeoutError(f"no answer to CONNECT from {self._host}:{self._port}") from None
        finally:
            if self._subscriptions < len(SUBSCRIBED):
                self.close()

    def publish(self, leaf: str, payload: bytes) -> None:
        """Send on `<base>/<device>/<leaf>`.

        Raises:
            ConnectionError: the connection is lost; whether it arrived is not known.
        """
        topic = device_topic(self._base, self._device, leaf)
        self._check(self._client.publish(topic, payload, qos=self._qos).rc)
        if self._lost is not None:
            raise ConnectionResetError(self._lost)

    async def receive(self) -> tuple[str, bytes]:
        """The next (leaf, payload) the hub sends.

        Raises:
            ConnectionError: the connection is lost.
        """
        while not self._inbox:
            await self._more()
        return self._inbox.popleft()

    def abandon(self) -> None:
        """Leave the connection half open: nothing is read or written any more, nor is it closed."""
        self._closing()

    def close(self) -> None:
        """Say goodbye where that is still possible; never raises."""
        self._client.disconnect()
        connection = self._client.socket()
        self._closing()
        if connection is not None:
            connection.close()

    async def _more(self) -> None:
        """Wait for whatever comes next.

        Raises:
            ConnectionError: nothing will.
        """
        if self._lost is not None:
            raise ConnectionResetError(self._lost)
        self._news.clear()
        await self._news.wait()

    def _check_accepted(self, reason: ReasonCode) -> None:
        if not reason.is_failure:
            return
        if reason.getName() in _REFUSED:
            raise AccessDenied(
                f"the hub refused device {self._device!r}: {reason}. See whether its key is right "
                "and not revoked ('sheepfold key list'), and whether the device is another agent's "
                "('sheepfold device list'): MQTT does not say which"
            )
        raise ConnectionRefusedError(f"the hub refused the connection: {reason}")

    # --- serving paho -----------------------------------------------------------------------------

    def _attach(self) -> None:
        connection = self._client.socket()
        if connection is None:
            raise ConnectionResetError(f"{self._device!r} lost the hub")
        self._fd = connection.fileno()
        self._loop.add_reader(self._fd, self._readable)
        self._want_write()
        self._look_at_keep_alive()

    def _readable(self) -> None:
        self._check(self._client.loop_read())
        while self._lost is None and unread(self._client):
            self._check(self._client.loop_read())

    def _want_write(self, *_: object) -> None:
        if self._fd >= 0 and self._client.want_write():
            self._loop.add_writer(self._fd, self._writable)

    def _writable(self) -> None:
        self._check(self._client.loop_write())
        if not self._client.want_write():
            self._written()

    def _written(self, *_: object) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)

    def _look_at_keep_alive(self) -> None:
        self._check(self._client.loop_misc())
        if self._fd >= 0:
            self._keep_alive = self._loop.call_later(KEEPALIVE_S / 2, self._look_at_keep_alive)

    def _check(self, code: MQTTErrorCode) -> None:
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS and self._lost is None:
            self._closing()
            self._lost = f"{self._device!r} lost the hub: {code.name}"

    def _closing(self, *_: object) -> None:
        # CRUCIAL: before paho closes the socket. uvloop aborts the process over one that is closed
        # while it is watched.
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        if self._lost is None:
            self._lost = f"{self._device!r} lost the hub"
        self._news.set()

    # paho fixes these signatures.

    def _on_connect(
        self, _c: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: Properties | None
    ) -> None:
        self._connected = reason
        self._news.set()

    def _on_subscribe(
        self, _c: Client, _u: object, _m: int, _r: list[ReasonCode], _p: Properties | None
    ) -> None:
        self._subscriptions += 1
        self._news.set()

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        leaf = message.topic.removeprefix(f"{self._base}/{self._device}/")
        self._inbox.append((leaf, bytes(message.payload)))
        self._news.set()

    def _on_publish(
        self, _c: Client, _u: object, _m: int, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:  # in MQTT 5 alone (docs/device-maker.md, "MQTT 5")
            code = _CODES.get(reason.value, Code.PAYLOAD)
            why = getattr(properties, "ReasonString", None) or str(reason)
            self._inbox.append(("err", msgspec.json.encode(Err(code, m=why))))
            self._news.set()


class _TlsSocket(ssl.SSLSocket):
    """Closes when the other side is not believed: paho forgets the socket then."""

    def do_handshake(self, block: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's
        try:
            super().do_handshake(block)
        except OSError:
            self.close()
            raise
