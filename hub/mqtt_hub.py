"""The hub's end of MQTT at somebody else's broker; a door to paho.

    link = HubLink(address, client_id="sheepfold-3fa9", …)
    link.on_message = take          # on the event loop; the broker keeps it until …
    link.acknowledge(message)       # … this
    await link.run()                # for ever: connects, serves, connects again

Rule 1: a message is acknowledged by whoever took it, and on the connection it came on only: on the
    next the broker sends it again by itself, and its number may be another's.
Rule 2: no thread but for the moment of connecting, which may block on a name: paho is served from
    the event loop, so that a message costs no hand-over.
Rule 3: MQTT 5 where the broker has it, for it lets us bound what is under way; else 3.1.1.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct
from paho.mqtt.client import Client, MQTTMessage, MQTTv5, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hub.errors import HubFault, OperatorFault
from hub.mqtt_socket import send_at_once, unread

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

    from hub.address import Address

log: Final = logging.getLogger("hub")

KEEPALIVE_S: Final = 10
CONNECT_S: Final = 5.0
"""For the name, the socket and the CONNACK, each."""
GOODBYE_S: Final = 1.0
MISC_S: Final = 1.0
RETRY_S_FIRST: Final = 0.1
SESSION_EXPIRY_S: Final = 24 * 3600
READ_AT_ONCE: Final = 64
"""Packets read before others get their turn."""
QUEUED_MAX: Final = 10_000
"""Our own messages at QoS 1 while the broker is away; above, the newest are dropped."""
OUT_MAX: Final = 1000
"""Of them under way at once."""
UNSUPPORTED: Final = "Unsupported protocol version"


def trust(ca_file: str) -> ssl.SSLContext:
    """What a broker's certificate is checked by: the system's, or those of a PEM file.

    Raises:
        OperatorFault: the file can't be read, or has none.
    """
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # ssl.SSLError is one
        raise OperatorFault(
            f"setting mqtt.broker_ca_file = {ca_file!r} can't be used: {error}; "
            "it must be a PEM file with the certificates that are trusted"
        ) from error


class Incoming(Struct, frozen=True, gc=False):
    """A message the broker has sent us."""

    topic: str
    payload: bytes
    qos: int
    duplicate: bool
    """It came before: on another connection, or because we were slow."""
    retained: bool
    packet_id: int
    connection: int
    """Counts our connections."""


class Refused(HubFault):
    """The broker does not let us in."""


class HubLink:
    """One lasting session of the hub, with its will.

    Args:
        address: of the broker.
        client_id: the same at every start, or the session is not found again.
        filters: what to subscribe to, at QoS 1.
        status_topic: where `online` is retained, and `offline` as our will.
        under_way_max: messages that the broker may send before we acknowledge the first (MQTT 5).
        retry_s_max: longest wait before the next try to connect.
        trusted: from `trust`, for an address with TLS.
    """

    def __init__(
        self,
        address: Address,
        *,
        client_id: str,
        filters: list[str],
        status_topic: str,
        under_way_max: int,
        retry_s_max: float,
        trusted: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._client_id = client_id
        self._filters = filters
        self._status_topic = status_topic
        self._under_way_max = under_way_max
        self._retry_s_max = retry_s_max
        self._trusted = trusted
        self._loop = asyncio.get_running_loop()
        self._client = self._make(MQTTv5)
        self._fd = -1
        self._keep_alive: asyncio.TimerHandle | None = None
        self._read = 0
        """Messages so far: whether reading on brings more."""
        self._paused = False
        self._lost = asyncio.Event()
        self._answered = asyncio.Event()
        self._refusal: str | None = None
        self._status_id = 0
        """Packet id under which `online` was sent."""
        self.on_message: Callable[[Incoming], None] = _nobody
        self.connection = 0
        self.online = False

    async def run(self) -> None:
        """Connect, and again whenever the connection is lost; ends by being cancelled only."""
        wait_s, said = RETRY_S_FIRST, ""
        while True:
            try:
                await self._connect()
                wait_s, said = RETRY_S_FIRST, ""
                log.info("connected to broker %s", self._address)
                await self._lost.wait()
                why = "the connection was lost"
            except (OSError, ValueError, Refused) as error:  # a name that is none is a ValueError
                why = str(error)
            finally:
                self._detach()
            if why != said:  # once for each reason, however often it is tried
                log.warning("broker %s: %s; trying again", self._address, why)
                said = why
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, self._retry_s_max)

    def listen(self, filters: list[str]) -> None:
        """Hear these from now on, and no others."""
        gone, new = set(self._filters) - set(filters), set(filters) - set(self._filters)
        self._filters = filters
        if self.online and gone:
            self._client.unsubscribe(sorted(gone))
        if self.online and new:
            self._client.subscribe([(topic_filter, 1) for topic_filter in sorted(new)])

    def acknowledge(self, packet_id: int, connection: int) -> None:
        """The message is ours now, and the broker may forget it."""
        if connection == self.connection and self.online:
            self._client.ack(packet_id, 1)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """Send; at QoS 1 also what could not be sent now, as far as there is room."""
        if self.online or qos:
            self._client.publish(topic, payload, qos=qos, retain=retain)

    def pause(self) -> None:
        """Read nothing more for now."""
        if self._fd >= 0 and not self._paused:
            self._loop.remove_reader(self._fd)
        self._paused = True

    def resume(self) -> None:
        """Read on."""
        if self._fd >= 0 and self._paused:
            self._loop.add_reader(self._fd, self._readable)
            self._read_on()
        self._paused = False

    def lose(self) -> None:
        """Connect anew, so that the broker sends again what was not acknowledged."""
        self._lost.set()

    async def say_goodbye(self) -> None:
        """Leave `offline` behind, if the broker takes it in time, and end the connection."""
        if self.online:
            sent = self._client.publish(self._status_topic, b"offline", qos=1, retain=True)
            with contextlib.suppress(RuntimeError, ValueError):
                await asyncio.to_thread(sent.wait_for_publish, GOODBYE_S)
            self._client.disconnect()
            self._client.loop_write()

    # --- connecting ----------------------------------------------------------------------

    def _make(self, version: MQTTProtocolVersion) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=None if version == MQTTv5 else False,
            protocol=version,
            manual_ack=True,
        )
        if self._address.user is not None:
            client.username_pw_set(self._address.user, self._address.password)
        if self._address.tls:
            client.tls_set_context(self._trusted)
        client.will_set(self._status_topic, b"offline", qos=1, retain=True)
        client.max_queued_messages_set(QUEUED_MAX)
        client.max_inflight_messages_set(OUT_MAX)
        client.connect_timeout = CONNECT_S
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.on_subscribe = self._on_subscribe
        client.on_socket_open = send_at_once
        client.on_socket_close = self._closing
        client.on_socket_register_write = self._want_write
        client.on_socket_unregister_write = self._written
        return client

    async def _connect(self) -> None:
        """Raises OSError or Refused."""
        self._forget_last()
        client = self._client
        await asyncio.to_thread(self._open_socket, client)
        connection = client.socket()
        if connection is None:
            raise ConnectionResetError("no connection")
        self._fd = connection.fileno()
        self._paused = False
        self._loop.add_reader(self._fd, self._readable)
        self._want_write()
        if self._keep_alive is not None:
            self._keep_alive.cancel()
        self._misc()
        answered = asyncio.ensure_future(self._answered.wait())
        lost = asyncio.ensure_future(self._lost.wait())
        done, rest = await asyncio.wait(
            (answered, lost), timeout=CONNECT_S, return_when=asyncio.FIRST_COMPLETED
        )
        for waiter in rest:
            waiter.cancel()
        if self._refusal == UNSUPPORTED and client.protocol == MQTTv5:
            self._client = self._make(MQTTv311)
        if self._refusal is not None:
            raise Refused(f"it refuses us: {self._refusal}")
        if answered not in done:
            raise ConnectionResetError("no answer")

    def _forget_last(self) -> None:
        self._lost.clear()
        self._answered.clear()
        self._refusal = None

    def _open_socket(self, client: Client) -> None:
        """In a thread: it may wait for a name server."""
        options: dict[str, Any] = {}
        if client.protocol == MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # paho's
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = self._under_way_max
            options = {"clean_start": False, "properties": properties}
        address = self._address
        client.connect(address.host, address.port, keepalive=KEEPALIVE_S, **options)

    def _detach(self) -> None:
        self._closing()
        connection = self._client.socket()
        if connection is not None:
            connection.close()

    def _closing(self, *_: object) -> None:
        # CRUCIAL: before paho closes the socket. uvloop aborts the process over one that is closed
        # while it is watched.
        self.online = False
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._loop.remove_writer(self._fd)
            self._fd = -1

    # --- serving paho --------------------------------------------------------------------

    def _readable(self) -> None:
        for _ in range(READ_AT_ONCE):
            before = self._read
            if self._check(self._client.loop_read()) or self._paused:
                return
            if self._read == before and not unread(self._client):
                return
        self._read_on()

    def _read_on(self) -> None:
        """In the next loop turn, if TLS has read more than we: the socket will not tell."""
        if unread(self._client):
            self._loop.call_soon(self._read_unread)

    def _read_unread(self) -> None:
        if self._fd >= 0 and not self._paused:
            self._readable()

    def _want_write(self, *_: object) -> None:
        if self._fd >= 0 and self._client.want_write():
            self._loop.add_writer(self._fd, self._writable)

    def _written(self, *_: object) -> None:
        if self._fd >= 0:
            self._loop.remove_writer(self._fd)

    def _writable(self) -> None:
        if not self._check(self._client.loop_write()) and not self._client.want_write():
            self._written()

    def _misc(self) -> None:
        """Keep-alive."""
        if self._fd >= 0 and not self._check(self._client.loop_misc()):
            self._keep_alive = self._loop.call_later(MISC_S, self._misc)

    def _check(self, code: MQTTErrorCode) -> bool:
        """Whether the connection is lost."""
        if code is not MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._lost.set()
        return self._lost.is_set()

    # --- paho's calls, whose signatures it fixes -----------------------------------------

    def _on_connect(
        self, client: Client, _u: object, _f: ConnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        self._answered.set()
        if reason.is_failure:
            self._refusal = str(reason)
            return
        self.connection += 1
        self.online = True
        client.subscribe([(topic_filter, 1) for topic_filter in self._filters])
        client.on_publish = self._on_publish
        self._status_id = client.publish(self._status_topic, b"online", qos=1, retain=True).mid

    def _on_subscribe(
        self, _c: Client, _u: object, _m: int, codes: list[ReasonCode], _p: object
    ) -> None:
        denied = [str(code) for code in codes if code.is_failure]
        if denied:
            self._warn_of_rules(f"hear {len(denied)} of {len(codes)} topics of devices", denied[0])

    def _on_publish(
        self, client: Client, _u: object, packet_id: int, code: ReasonCode, _p: object
    ) -> None:
        """Who may not say that it is online may say nothing: so much is asked of MQTT 5."""
        if packet_id == self._status_id:
            client.on_publish = None  # each answer to a device would come here too
            if code.is_failure:
                self._warn_of_rules(f"publish to {self._status_topic}", str(code))

    def _warn_of_rules(self, what: str, why: str) -> None:
        log.warning(
            "broker %s does not let this hub %s (%s), so devices get no answers: its rules must "
            "let the user of mqtt.broker hear and say all below the base, as deploy/mosquitto/acl "
            "does for 'hub'",
            self._address,
            what,
            why,
        )

    def _on_message(self, _c: Client, _u: object, message: MQTTMessage) -> None:
        self._read += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""  # nobody's; it is acknowledged as such
        self.on_message(
            Incoming(
                topic,
                bytes(message.payload),
                message.qos,
                message.dup,
                message.retain,
                message.mid,
                self.connection,
            )
        )


def _nobody(_: Incoming) -> None:
    """Before anybody wants messages."""
