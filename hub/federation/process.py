"""The process that speaks to other hubs: sockets to the hub, the log and the broker, one loop.

    hub ──Agents, Ask─▶ ┐
    log ──feed────────▶ ├─ Member ──▶ broker ──▶ other hubs
    broker ───────────▶ ┘        └──▶ hub (Took, Join, Told, Noted)

A process of its own, with a bound of memory and a lower priority: whatever comes from the broker,
the hub's own loop never reads it. It keeps nothing; killed, it hears and is told all again.
"""

from __future__ import annotations

import os
import select
from concurrent.futures import Future, ThreadPoolExecutor
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Final

from hub.clock import SystemClock
from hub.errors import OperatorFault, Unheard
from hub.federation.collect import Collect
from hub.federation.member import Member
from hub.federation.messages import Agents, decode_to_federation, framed
from hub.federation.part import Subscribe
from hub.federation.place import login_of, place_of
from hub.federation.watch import KINDS, Watch
from hub.frames import Splitter
from hub.learner.exchange.importing import Job, import_policy
from hub.log.messages import socket_path
from hub.log.read import Reader
from hub.mqtt_meeting import BrokerLink

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from hub.settings.federation import FederationSettings
    from hub.words import Agent

TICK_S: Final = 0.25
RECEIVE_BYTES_MAX: Final = 1 << 20
RETRY_S_FIRST: Final = 0.5
RETRY_S_MAX: Final = 30.0
"""Between two tries to reach the broker; doubles from the first."""
FEED_EVENTS_MAX: Final = 1_000_000
"""So many events of the log's end are read at start, to know how agents have been doing."""


def speak(
    connection: socket.socket,
    settings: FederationSettings,
    base: str,
    hub_id: str,
    data: Path,
    last_seq: int,
    import_bytes_max: int,
) -> None:
    """Until the hub closes the socket.

    Raises:
        HubFault: the log process went away; the hub starts both again.
    """
    first = max(0, last_seq - FEED_EVENTS_MAX)
    with (
        ThreadPoolExecutor(1) as importer,
        Reader(socket_path(data), first, kinds=KINDS) as feed,
    ):

        def bring_in(agent: Agent, policy: bytes) -> Future[str]:
            return importer.submit(_bring_in, agent, policy, data, import_bytes_max)

        watch, clock = Watch(), SystemClock()
        collect = Collect(settings, base, data, watch, clock, bring_in, first)
        member = Member(settings, base, hub_id, data, watch, clock, collect, os.urandom)
        _Loop(connection, feed, member, settings).run(watch)


class _Loop:
    """Waits for the three sockets, and for time to pass."""

    def __init__(
        self,
        connection: socket.socket,
        feed: Reader,
        member: Member,
        settings: FederationSettings,
    ) -> None:
        self._connection = connection
        self._feed = feed
        self._member = member
        self._settings = settings
        self._clock = SystemClock()
        self._splitter = Splitter()
        self._link: BrokerLink | None = None
        self._is_in = False
        """The broker has let it in. CRUCIAL: before, nothing is said: a broker that refuses us and
        closes with bytes of ours unread resets the connection, and its reason is lost."""
        self._try_s = 0.0
        self._wait_s = RETRY_S_FIRST
        self._heard = 0
        """Messages of the broker in this second."""
        self._second_s = 0.0

    def run(self, watch: Watch) -> None:
        """For ever; the end of the hub ends the process.

        Raises:
            HubFault: the log went away.
        """
        while True:
            waiting: list[socket.socket | Reader | BrokerLink] = [self._connection, self._feed]
            if self._link is not None:
                waiting.append(self._link)
            ready = self._wait(waiting)
            if self._feed in ready:
                for event in self._feed.receive(0.0) or []:
                    watch.fold(event)
            if self._connection in ready:
                self._hear_hub()
            if self._feed.caught_up:  # before, nothing it could say of its agents would be right
                self._serve_broker()
                self._member.tick()
                self._say()

    def _wait(self, waiting: list[socket.socket | Reader | BrokerLink]) -> list[object]:
        wait_s, until_s = TICK_S, self._member.until_s
        if until_s is not None:  # an actor counts on it
            wait_s = min(wait_s, max(0.0, until_s - self._clock.monotonic()))
        try:
            readable, _, _ = select.select(waiting, [], [], wait_s)
        except ConnectionError as error:  # the broker's socket is closed
            self._lose("lost", str(error))
            return []
        return list(readable)

    def _hear_hub(self) -> None:
        data = self._connection.recv(RECEIVE_BYTES_MAX)
        for body in self._splitter.feed(data):
            message = decode_to_federation(body)
            if isinstance(message, Agents):
                self._member.take_part(message.agents)
            else:
                self._member.consult(message)

    def _serve_broker(self) -> None:
        now_s = self._clock.monotonic()
        if self._link is None:
            if now_s >= self._try_s:
                self._connect()
            return
        if now_s - self._second_s >= 1.0:
            self._second_s, self._heard = now_s, 0
        try:
            messages = self._link.receive()
        except ConnectionError as error:
            refused = isinstance(error, ConnectionRefusedError)
            self._lose("login" if refused else "lost", str(error))
            return
        if self._link.accepted and not self._is_in:
            self._is_in = True
            self._member.joined()
        for denied in self._link.denied():
            self._member.denied(denied.topic, denied.why, is_heard=denied.is_heard)
        self._heard += len(messages)
        if self._heard > self._settings.messages_per_s:
            self._wait_s = RETRY_S_MAX
            most = self._settings.messages_per_s
            self._lose("flood", f"it sent more than {most} a second (federation.messages_per_s)")
            return
        for topic, payload in messages:
            self._wait_s = RETRY_S_FIRST
            self._member.hear(topic, payload)

    def _connect(self) -> None:
        place, login = place_of(self._settings), login_of(self._settings)
        link = BrokerLink(
            self._member.name,
            place.host,
            place.port,
            tls=place.tls,
            ca_file=self._settings.ca_file,
            login=login,
        )
        try:
            link.open()
        except (OSError, ValueError) as error:
            self._lose("lost", f"{place.host}:{place.port} can't be reached: {error}")
            return
        self._link = link

    def _lose(self, reason: str, why: str) -> None:
        was_in, self._is_in = self._is_in, False
        if self._link is not None:
            self._link.close()
        self._link = None
        self._member.left(reason, why, was_in=was_in)
        self._try_s = self._clock.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, RETRY_S_MAX)

    def _say(self) -> None:
        told, self._member.told = self._member.told, []
        for message in told:
            self._connection.sendall(framed(message))
        out, self._member.out = self._member.out, []
        if self._link is None:
            return
        try:
            for one in out:
                if isinstance(one, Subscribe):
                    turn = self._link.subscribe if one.on else self._link.unsubscribe
                    turn(one.topic_filter)
                else:
                    self._link.publish(one.topic, one.payload, retain=one.retain)
        except ConnectionError as error:
            self._lose("lost", str(error))


def _bring_in(agent: Agent, policy: bytes, data: Path, bytes_max: int) -> str:
    """Make a version of a fetched policy, in a process of its own; its SHA-256."""
    with NamedTemporaryFile(suffix=".safetensors") as file:
        file.write(policy)
        file.flush()
        try:
            return import_policy(Job(agent, file.name, str(data), bytes_max)).sha256
        except OperatorFault as error:
            raise Unheard("unfit", str(error)) from error
        except OSError as error:
            raise Unheard("disk", str(error)) from error
