"""The embedded broker, for people's clients: wildcards, what is retained. Only this file has amqtt.

The gate owns every socket and has checked key, size and packet before a byte comes here; devices
are served by the gate alone, and nobody's PUBLISH gets here. Seams of amqtt 0.12 relied on
(`tests/intake/test_broker_seams.py` holds them):

    an `external` listener   the gate feeds whole packets and gets whole packets
    _authenticate            awaited once for each CONNECT
    _client_message_loop     waits for the end of the connection, which may have come before
    _topic_filtering         awaited for each subscription
    _delete_session          forgets a session that is not to be resumed
    _run_broadcast           takes one message from _broadcast_queue to the sessions that have
                             subscribed, and is awaited again and again: ours keeps to the lower QoS
    _publish_retained_messages_for_subscription
                             called at connect for every client's filters: without our check a
                             client is sent retained messages it never subscribed to
    _publish_session_retained_messages
                             sends what waited for a session; amqtt's marks it as retained
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Protocol

from amqtt.adapters import StreamReaderAdapter, WriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.broker import RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType

from hub.topics import hub_status, matches

if TYPE_CHECKING:
    import ssl
    from collections import deque

    from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
    from amqtt.session import OutgoingApplicationMessage, Session

    from hub.intake.people import People

LISTENER: Final = "gate"
SESSION_EXPIRY_S: Final = 24 * 3600
STOP_S_MAX: Final = 2.0
BROADCAST_MAX: Final = 10_000
"""Messages not yet handed to people's sessions; above, the newest of them is dropped."""
AWAY_MAX: Final = 1000
"""Messages kept for a session whose client is away; above, the oldest is dropped."""


class Client(Protocol):
    """A person's connection as the broker sees it."""

    def from_broker(self, packets: bytes) -> None:
        """Send these packets to the client."""
        ...

    def close(self) -> None:
        """The broker ends the connection."""
        ...

    @property
    def peer(self) -> tuple[str, int]:
        """Address and port of the client."""
        ...


class Broker:
    """amqtt, reached through the gate only; and every retained message there is."""

    def __init__(self, base: str, people: People) -> None:
        self._base = base
        self._people = people
        self._amqtt: _Amqtt | None = None

    async def start(self) -> None:
        """Begin to serve; opens no socket of its own."""
        # What clients do wrong is said by the hub's own log, with the client's name.
        logging.getLogger("amqtt").setLevel(logging.CRITICAL)
        logging.getLogger("transitions").setLevel(logging.CRITICAL)
        listener = ListenerConfig(type=ListenerType.EXTERNAL, bind="external")
        config = BrokerConfig(
            listeners={"default": listener, LISTENER: listener},
            plugins={},
            session_expiry_interval=SESSION_EXPIRY_S,
        )
        self._amqtt = _Amqtt(config, self._people)
        await self._amqtt.start()
        self.publish(hub_status(self._base), b"online", qos=2, retain=True)

    async def stop(self) -> None:
        """End every session."""
        if self._amqtt is None:
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._amqtt.shutdown(), STOP_S_MAX)

    async def serve(
        self, client_id: str, client: Client, packets: asyncio.StreamReader, *, clean: bool
    ) -> None:
        """Hold a client's session until `packets` ends; the first packet is its CONNECT.

        `clean`: a session before is forgotten, and so is this one when it ends.
        """
        assert self._amqtt is not None, "the broker was started"
        if clean:
            await self._amqtt.forget(client_id)
        self._amqtt.clients[client_id] = client
        try:
            reader, writer = StreamReaderAdapter(packets), _Writer(client)
            await self._amqtt.external_connected(reader, writer, LISTENER)
        finally:
            if self._amqtt.clients.get(client_id) is client:
                del self._amqtt.clients[client_id]
            if clean:  # else amqtt keeps it for up to a second more
                await self._amqtt.forget(client_id)

    @property
    def sessions(self) -> int:
        """Of people's clients, those that are away too."""
        return 0 if self._amqtt is None else len(self._amqtt.sessions)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool = False) -> None:
        """To all people who have subscribed and may hear it, in order; at their own QoS at most.

        `retain` keeps it for those who come later; nothing, retained, forgets what was kept.
        """
        assert self._amqtt is not None, "the broker was started"
        kept = self._amqtt.retained_messages
        if retain and payload:
            kept[topic] = RetainedApplicationMessage(None, topic, payload, qos)
        elif retain:
            kept.pop(topic, None)
        self._amqtt.spread(topic, payload, qos)

    def retained(self, topic: str) -> tuple[bytes, int] | None:
        """Payload and QoS of what is kept there."""
        assert self._amqtt is not None, "the broker was started"
        kept = self._amqtt.retained_messages.get(topic)
        return None if kept is None else (bytes(kept.data), kept.qos or 0)


class _Amqtt(AmqttBroker):
    """amqtt with the gate's decisions in place of plugins."""

    def __init__(self, config: BrokerConfig, people: People) -> None:
        super().__init__(config)
        self._people = people
        self.clients: dict[str, Client] = {}

    async def forget(self, client_id: str) -> None:
        """All that is kept of a client's session."""
        await self._delete_session(client_id)

    def spread(self, topic: str, payload: bytes, qos: int) -> None:
        """Hand a message to amqtt's loop, where anybody at all wants it."""
        for topic_filter, holders in self.subscriptions.items():
            if holders and matches(topic_filter, topic):
                break
        else:
            return
        if self._broadcast_queue.qsize() < BROADCAST_MAX:
            message = {"session": None, "topic": topic, "data": payload, "qos": qos}
            self._broadcast_queue.put_nowait(message)

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """The gate has checked the key."""
        return (session.client_id or "") in self.clients

    async def _client_message_loop(
        self, client_session: Session, handler: BrokerProtocolHandler
    ) -> None:
        """Without this a client that is gone before the loop begins would be served for ever."""
        if handler._reader_task is None or handler._reader_task.done():
            await handler.handle_connection_closed()
        await super()._client_message_loop(client_session, handler)

    async def _topic_filtering(self, session: Session, topic: str, action: Action) -> bool:
        del session
        return action == Action.SUBSCRIBE and self._people.may_subscribe(topic)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only to a session that holds this subscription, and only what its user may hear."""
        topic_filter, qos = subscription
        holders = self.subscriptions.get(topic_filter, [])
        handler = self._get_handler(session)
        if handler is None or not any(holder is session for holder, _ in holders):
            return
        for topic, kept in list(self.retained_messages.items()):
            if matches(topic_filter, topic) and self._people.may_hear(
                session.username or "", topic
            ):
                await self._hand_on(handler, kept, min(qos, kept.qos or 0), retain=True)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """What waited for the client; not marked as retained, for it was new (3.3.1-9)."""
        handler = self._get_handler(session)
        while handler is not None and not session.retained_messages.empty():
            waited = session.retained_messages.get_nowait()
            await self._hand_on(handler, waited, waited.qos or 0, retain=False)

    async def _hand_on(
        self,
        handler: BrokerProtocolHandler,
        message: RetainedApplicationMessage,
        qos: int,
        *,
        retain: bool,
    ) -> None:
        task = asyncio.ensure_future(
            handler.mqtt_publish(message.topic, message.data, qos, retain=retain)
        )
        self._tasks_queue.append(task)  # amqtt's loop takes it out again, and its failure with it
        await asyncio.sleep(0)

    async def _run_broadcast(
        self, running_tasks: deque[asyncio.Task[OutgoingApplicationMessage]]
    ) -> None:
        message = await self._broadcast_queue.get()
        topic, payload = message["topic"], message["data"]
        for topic_filter, holders in list(self.subscriptions.items()):
            if not matches(topic_filter, topic):
                continue
            for session, granted in holders:
                if not self._people.may_hear(session.username or "", topic):
                    continue
                qos = min(message["qos"], granted)
                handler = self._get_handler(session)
                if session.transitions.state == "connected" and handler is not None:
                    sending = handler.mqtt_publish(topic, payload, qos, retain=False)
                    running_tasks.append(asyncio.ensure_future(sending))
                elif qos and not session.clean_session:
                    _keep(session, RetainedApplicationMessage(None, topic, payload, qos))


def _keep(session: Session, message: RetainedApplicationMessage) -> None:
    """For a session whose client is away."""
    waiting = session.retained_messages
    while waiting.qsize() >= AWAY_MAX:
        waiting.get_nowait()
    waiting.put_nowait(message)


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
