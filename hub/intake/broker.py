"""The embedded broker: all of MQTT that is not a device's own step. Only this file imports amqtt.

The gate owns every socket and has checked key, size and topic before a byte comes here. Seams of
amqtt 0.12 relied on (`tests/intake/test_broker_seams.py` holds them):

    an `external` listener   the gate feeds whole packets and gets whole packets
    delivered_message_queue  its `put` is awaited before PUBACK and PUBCOMP: ours awaits the commit
    _authenticate            awaited once for each CONNECT
    _client_message_loop     waits for the end of the connection, which may have come before
    _topic_filtering         awaited for each subscription and each message to a subscriber
    _delete_session          forgets a session that is not to be resumed
    _publish_retained_messages_for_subscription
                             called at connect for every client's filters: without our check a
                             client is sent retained messages it never subscribed to
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from amqtt.adapters import StreamReaderAdapter, WriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType
from amqtt.errors import AMQTTError

from hub.intake.outbox import may_subscribe
from hub.topics import device_topic, hub_status

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
    from amqtt.session import ApplicationMessage, Session

LISTENER: Final = "gate"
SESSION_EXPIRY_S: Final = 24 * 3600
STOP_S_MAX: Final = 2.0


class Client(Protocol):
    """A device's connection as the broker sees it; `hub.intake.gate.Connection` is one."""

    def from_broker(self, packets: bytes) -> None:
        """Send these packets to the device."""
        ...

    def close(self) -> None:
        """The broker ends the connection."""
        ...

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the device."""
        ...

    async def publish_slowly(self, topic: str, payload: bytes) -> bool:
        """A publish that came by way of the broker (QoS 2).

        True when it was the hub's to take: it is durable now, and nobody else is to get it.
        """
        ...


class Broker:
    """amqtt, reached through the gate only."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._amqtt: _Amqtt | None = None

    async def start(self) -> None:
        """Begin to serve; opens no socket of its own."""
        # What devices do wrong is said by the hub's own log and `err`, with the device's name.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        listener = ListenerConfig(type=ListenerType.EXTERNAL, bind="external")
        config = BrokerConfig(
            listeners={"default": listener, LISTENER: listener},
            plugins={},
            session_expiry_interval=SESSION_EXPIRY_S,
        )
        self._amqtt = _Amqtt(config, self._base)
        await self._amqtt.start()
        await self.retain(hub_status(self._base), b"online")

    async def stop(self) -> None:
        """Say `offline` to whoever listens, then end every session."""
        if self._amqtt is None:
            return
        await self.retain(hub_status(self._base), b"offline")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._amqtt.shutdown(), STOP_S_MAX)

    async def serve(
        self, device: str, client: Client, packets: asyncio.StreamReader, *, resume: bool
    ) -> None:
        """Hold a device's broker session until `packets` ends; the first packet is its CONNECT.

        `resume`: the session before, if there was one, is still the device's.
        """
        assert self._amqtt is not None, "the broker was started"
        if not resume:
            await self._amqtt.forget(device)
        self._amqtt.clients[device] = client
        try:
            reader, writer = StreamReaderAdapter(packets), _Writer(client)
            await self._amqtt.external_connected(reader, writer, LISTENER)
        finally:
            if self._amqtt.clients.get(device) is client:
                del self._amqtt.clients[device]

    async def retain(self, topic: str, payload: bytes, qos: int = 1) -> None:
        """Publish for all who may read it, and keep it for those who come later."""
        assert self._amqtt is not None, "the broker was started"
        await self._amqtt.internal_message_broadcast(topic, payload, qos)
        await self._amqtt.retain_message(None, topic, payload, qos)

    async def publish(self, device: str, topic: str, payload: bytes, qos: int) -> None:
        """Publish to one device by its broker session: for QoS 2, whose handshake amqtt keeps."""
        assert self._amqtt is not None, "the broker was started"
        entry = self._amqtt.sessions.get(device)
        if entry is not None:
            with suppress(TimeoutError, asyncio.CancelledError, OSError, AMQTTError):
                await entry[1].mqtt_publish(topic, payload, qos, retain=False)


class _Amqtt(AmqttBroker):
    """amqtt with the gate's decisions in place of plugins."""

    def __init__(self, config: BrokerConfig, base: str) -> None:
        super().__init__(config)
        self._base = base
        self.clients: dict[str, Client] = {}

    async def forget(self, device: str) -> None:
        """A clean session is over with its connection; amqtt keeps it for up to a second more."""
        await self._delete_session(device)

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """The gate has checked the key; the session gets the queue that waits for the commit."""
        client = self.clients.get(session.client_id or "")
        if client is None:
            return False
        session.delivered_message_queue = _CommitQueue(client.publish_slowly)
        return True

    async def _client_message_loop(
        self, client_session: Session, handler: BrokerProtocolHandler
    ) -> None:
        """Without this a device that is gone before the loop begins would be served for ever."""
        if handler._reader_task is None or handler._reader_task.done():
            await handler.handle_connection_closed()
        await super()._client_message_loop(client_session, handler)

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        """A device reaches what is below its own id, and the hub's status."""
        if action == Action.PUBLISH or topic == hub_status(self._base):
            return True  # the gate has checked every publish
        device = session.client_id or ""
        if action == Action.SUBSCRIBE:
            return may_subscribe(self._base, device, topic)
        return topic.startswith(device_topic(self._base, device, ""))

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only to a session that holds this subscription."""
        holders = self.subscriptions.get(subscription[0], [])
        if any(holder is session for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class _CommitQueue(asyncio.Queue["ApplicationMessage"]):
    """A session's delivery queue whose `put` returns when the message is durable.

    amqtt sends PUBACK and PUBCOMP after it, so they mean that it is on disk.
    """

    def __init__(self, take: Callable[[str, bytes], Awaitable[bool]]) -> None:
        super().__init__()
        self._take = take

    async def put(self, item: ApplicationMessage) -> None:
        """Durable first; then on to subscribers, unless it was the hub's alone."""
        if not await self._take(item.topic, bytes(item.data)):
            await super().put(item)


class _Writer(WriterAdapter):
    """amqtt's packets to the gate's connection."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def write(self, data: bytes) -> None:
        self._client.from_broker(bytes(data))

    async def drain(self) -> None:
        """The gate bounds what is unsent by closing the connection."""

    def get_peer_info(self) -> tuple[str, int]:
        return self._client.peer

    def get_ssl_info(self) -> ssl.SSLObject | None:
        return None

    async def close(self) -> None:
        self._client.close()
