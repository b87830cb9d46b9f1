"""The embedded broker, for people's clients: wildcards, what is retained. Only this file has amqtt.

The gate owns every socket and has checked key, size and packet before a byte comes here; devices
are served by the gate alone, and nobody's PUBLISH gets here. Seams of amqtt 0.12 relied on
(`tests/intake/mqtt/test_broker_seams.py` holds them):

    an `external` listener   the gate feeds whole packets and gets whole packets
    _authenticate            awaited once for each CONNECT
    _client_message_loop     waits for the end of the connection, which may have come before
    _topic_filtering         awaited for each subscription
    _delete_session          forgets a session that is not to be resumed
    add_subscription, _del_subscription, _del_all_subscriptions
                             every change of who has subscribed to what; amqtt's takes any number,
                             keeps the first QoS of a filter, and filters that nobody has any more
    _run_broadcast           takes one message from _broadcast_queue to the sessions that have
                             subscribed, and is awaited again and again: ours keeps to the lower QoS
    _publish_retained_messages_for_subscription
                             called at connect for every client's filters: without our check a
                             client is sent retained messages it never subscribed to, and one that
                             takes its time fails when somebody subscribes meanwhile
    _publish_session_retained_messages
                             sends what waited for a session; amqtt's marks it as retained
    mqtt_publish             ends when the client has acknowledged, or fails, and then forgets the
                             message: ours has it wait for the client's next connection
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Protocol

from amqtt.adapters import StreamReaderAdapter, WriterAdapter
from amqtt.broker import Broker as AmqttBroker
from amqtt.broker import RetainedApplicationMessage
from amqtt.contexts import Action, BrokerConfig, ListenerConfig, ListenerType

from hub.intake.mqtt.wire import NOT_GRANTED
from hub.topics import hub_status, matches

if TYPE_CHECKING:
    import ssl
    from collections import deque
    from collections.abc import Collection, Coroutine

    from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
    from amqtt.session import ApplicationMessage, OutgoingApplicationMessage, Session

    from hub.intake.mqtt.people import People

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

    def __init__(self, base: str, people: People, *, filters_max: int) -> None:
        self._base = base
        self._people = people
        self._filters_max = filters_max
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
        self._amqtt = _Amqtt(config, self._people, self._filters_max)
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
    def sessions(self) -> Collection[str]:
        """Ids of people's clients, of those that are away too."""
        return () if self._amqtt is None else self._amqtt.sessions.keys()

    @property
    def filters(self) -> Collection[str]:
        """That anybody has subscribed to; a message is compared with each."""
        return () if self._amqtt is None else self._amqtt.subscriptions.keys()

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

    def __init__(self, config: BrokerConfig, people: People, filters_max: int) -> None:
        super().__init__(config)
        self._people = people
        self._filters_max = filters_max
        self._filters: dict[str, set[str]] = {}
        """Of each session, by client id."""
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

    async def add_subscription(self, subscription: tuple[str, int], session: Session) -> int:
        """The code for SUBACK; of a filter that is there already the new QoS holds (3.8.4-3)."""
        topic_filter, _ = subscription
        held = self._held(session)
        if topic_filter not in held and len(held) >= self._filters_max:
            return NOT_GRANTED
        self._del_subscription(topic_filter, session)
        code: int = await super().add_subscription(subscription, session)
        if code != NOT_GRANTED:
            held.add(topic_filter)
        return code

    def _del_subscription(self, a_filter: str, session: Session) -> int:
        """How many there were; a filter that nobody has is not looked at for each message."""
        deleted: int = super()._del_subscription(a_filter, session)
        if not self.subscriptions.get(a_filter, True):
            del self.subscriptions[a_filter]
        self._held(session).discard(a_filter)
        return deleted

    async def _del_all_subscriptions(self, session: Session) -> None:
        for topic_filter in list(self._held(session)):
            self._del_subscription(topic_filter, session)
        del self._filters[session.client_id or ""]

    def _held(self, session: Session) -> set[str]:
        """Its filters; forgotten with the session."""
        return self._filters.setdefault(session.client_id or "", set())

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Only to a session that holds this subscription, and only what its user may hear."""
        # CRUCIAL: nothing is awaited here, or who subscribes meanwhile ends amqtt's loop over all
        # filters, and with it the connection.
        topic_filter, qos = subscription
        if topic_filter in self._held(session):
            self._see_to(self._send_retained(topic_filter, qos, session))

    async def _send_retained(self, topic_filter: str, qos: int, session: Session) -> None:
        handler = self._get_handler(session)
        for topic in list(self.retained_messages):
            kept = self.retained_messages.get(topic)
            if kept is None or not matches(topic_filter, topic):
                continue
            if handler is not None and self._people.may_hear(session.username or "", topic):
                self._see_to(
                    self._send(handler, session, kept, min(qos, kept.qos or 0), retain=True)
                )
                await asyncio.sleep(0)  # there may be one of every device

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """What waited for the client; not marked as retained, for it was new (3.3.1-9)."""
        handler = self._get_handler(session)
        for _ in range(session.retained_messages.qsize() if handler is not None else 0):
            waited = session.retained_messages.get_nowait()
            self._see_to(self._send(handler, session, waited, waited.qos or 0, retain=False))
            await asyncio.sleep(0)

    async def _send(
        self,
        handler: BrokerProtocolHandler,
        session: Session,
        message: ApplicationMessage,
        qos: int,
        *,
        retain: bool,
    ) -> None:
        """At QoS 1 what is not acknowledged comes once more on the next connection (4.4)."""
        acknowledged = False
        try:
            await handler.mqtt_publish(message.topic, message.data, qos, retain=retain)
            acknowledged = True
        finally:
            if not acknowledged and qos == 1 and not session.clean_session:
                _keep(session, RetainedApplicationMessage(None, message.topic, message.data, qos))

    def _see_to(self, work: Coroutine[Any, Any, None]) -> None:
        """Amqtt's loop takes the task out again, and its failure with it."""
        self._tasks_queue.append(asyncio.ensure_future(work))

    async def _run_broadcast(
        self, running_tasks: deque[asyncio.Task[OutgoingApplicationMessage]]
    ) -> None:
        del running_tasks  # the same as `_tasks_queue`
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
                new = RetainedApplicationMessage(None, topic, payload, qos)
                if session.transitions.state == "connected" and handler is not None:
                    self._see_to(self._send(handler, session, new, qos, retain=False))
                elif qos and not session.clean_session:
                    _keep(session, new)


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
