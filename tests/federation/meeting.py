"""Hubs that meet at a broker in memory, with real policies and a clock that a test moves.

meeting = Meeting(tmp_path)
a, b = meeting.hub("site-a", agent), meeting.hub("site-b", agent)
a.made(policy); a.returned("a-1", 50.0)
meeting.go(30)                       # seconds
b.guests, b.joined, b.member_counts
"""

from __future__ import annotations

import struct
from collections import deque
from concurrent.futures import Future
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from hub.errors import OperatorFault, Unheard
from hub.facts import EpisodeEnded
from hub.federation.collect import Collect
from hub.federation.member import Member
from hub.federation.messages import Ask, Counted, Join, Namesake, Noted, Told, Took
from hub.federation.part import Subscribe
from hub.federation.watch import EPISODES_MIN, Watch
from hub.learner.exchange.importing import Job, make_version
from hub.learner.messages import Consult, LoggedPolicy
from hub.settings.federation import FederationSettings
from hub.topics import matches
from hub.words import EndedBy, Event, Floats, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.facts import Guest
    from hub.learner.messages import Counsel
    from hub.learner.versions.policy import PolicyFile
    from hub.words import Agent

TICK_S = 0.25


class Moved:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def now_us(self) -> int:
        return round(self.now_s * 1e6)


class Meeting:
    """The broker: retains, and passes on to who has subscribed."""

    def __init__(self, folder: Path, settings: FederationSettings | None = None) -> None:
        self.folder = folder
        self.clock = Moved()
        self.settings = settings or FederationSettings(announce_s=1.0, refresh_s=5.0, fetch_s=10.0)
        self.retained: dict[str, bytes] = {}
        self.hubs: list[Site] = []
        self.said: list[tuple[str, bytes]] = []
        self._numbers = count()
        self.tamper: Callable[[str, bytes], list[tuple[str, bytes]]] = lambda t, p: [(t, p)]
        """What comes of a message on its way."""

    def bytes_of(self, size: int) -> bytes:
        """Others each time."""
        return next(self._numbers).to_bytes(size, "big")

    def hub(self, name: str, agent: Agent) -> Site:
        """One more, with the broker there."""
        site = Site(name, agent, self)
        self.hubs.append(site)
        site.member.joined()
        return site

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """As any client of the broker can."""
        if retain:
            self.retained[topic] = payload
            if not payload:
                del self.retained[topic]
        for topic_now, payload_now in self.tamper(topic, payload):
            self.said.append((topic_now, payload_now))
            for hub in self.hubs:
                hub.receive(topic_now, payload_now)

    def go(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / TICK_S)):
            self.clock.now_s += TICK_S
            for hub in self.hubs:
                hub.turn()


class Site:
    """A hub: its member, and what the hub's own process would do with what it is told."""

    def __init__(self, name: str, agent: Agent, meeting: Meeting) -> None:
        self.meeting = meeting
        self.folder = meeting.folder / name
        self.folder.mkdir()
        self.watch = Watch()
        self.joined: list[Join] = []
        self.counsels: list[Counsel] = []
        """What its actor was told."""
        self.notes: list[str] = []
        """What its log would have."""
        self.counted = Counted()
        self.online = True
        self._filters: set[str] = set()
        self._inbox: deque[tuple[str, bytes]] = deque()
        self.namesake = Namesake(agent, None, begun=1, chosen=False, guests=[])
        settings = structs.replace(meeting.settings, name=name)
        clock, bring_in = meeting.clock, self._bring_in
        collect = Collect(settings, "rl/v1", self.folder, self.watch, clock, bring_in, 0)
        log = f"log of {name}"
        self.member = Member(
            settings, "rl/v1", log, self.folder, self.watch, clock, collect, meeting.bytes_of
        )
        self.member.take_part([self.namesake])

    @property
    def guests(self) -> list[Guest]:
        return self.namesake.guests

    @property
    def refused(self) -> dict[str, int]:
        return self.counted.refused

    def made(self, policy: PolicyFile, folder: Path, version: int) -> None:
        """A version that acts, copied from where it was made."""
        home = self.folder / "policies" / self.namesake.agent.name
        source = folder / "policies" / policy_agent(folder)
        for file in source.rglob("*.safetensors"):
            target = home / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        self.change(policy=LoggedPolicy(version, policy.sha256))

    def change(self, **changed: object) -> None:
        self.namesake = structs.replace(self.namesake, **changed)
        self.member.take_part([self.namesake])

    def ask(self, number: int, adviser: str, *values: float) -> None:
        """As its actor would."""
        seen = Floats(struct.pack(f"<{len(values)}f", *values))
        until_s = self.meeting.clock.now_s + self.meeting.settings.advice_ms / 1000
        consult = Consult(number, adviser, seen)
        self.member.consult(Ask(self.namesake.agent.name, consult, until_s))

    def returned(self, device: str, *returns: float) -> None:
        """Episodes that ended; one number = as many as are needed."""
        told = returns if len(returns) > 1 else returns * EPISODES_MIN
        for returned in told:
            fact = EpisodeEnded(1, 5, returned, 0, EndedBy.TERMINATED)
            payload = msgspec.json.encode(fact).decode()
            name = self.namesake.agent.name
            self.watch.fold(Event(Kind.EPISODE, 0, agent=name, device=device, payload=payload))

    def receive(self, topic: str, payload: bytes) -> None:
        if self.online and any(matches(one, topic) for one in self._filters):
            self._inbox.append((topic, payload))

    def turn(self) -> None:
        """What came, what is due, and what is to be said."""
        while self._inbox:
            self.member.hear(*self._inbox.popleft())
        self.member.tick()
        told, self.member.told = self.member.told, []
        for message in told:
            match message:
                case Took(_, guests):
                    self.namesake = structs.replace(self.namesake, guests=guests)
                case Join():
                    self.joined.append(message)
                    self.namesake = structs.replace(self.namesake, chosen=True)
                case Told(_, counsel):
                    self.counsels.append(counsel)
                case Noted(text):
                    self.notes.append(text)
                case Counted():
                    self.counted = message
        out, self.member.out = self.member.out, []
        for one in out if self.online else ():
            if isinstance(one, Subscribe):
                self._subscribe(one)
            else:
                self.meeting.publish(one.topic, one.payload, retain=one.retain)

    def lose(self) -> None:
        """The broker is gone for this hub."""
        self.online = False
        self._filters.clear()
        self._inbox.clear()
        self.member.left("lost", "the cable is out", was_in=True)

    def find(self) -> None:
        """And there again."""
        self.online = True
        self.member.joined()

    def _subscribe(self, one: Subscribe) -> None:
        if not one.on:
            self._filters.discard(one.topic_filter)
            return
        self._filters.add(one.topic_filter)
        for topic, payload in self.meeting.retained.items():
            if matches(one.topic_filter, topic):
                self._inbox.append((topic, payload))

    def _bring_in(self, agent: Agent, data: bytes) -> Future[str]:
        """As the process does, but in this one."""
        done: Future[str] = Future()
        file = self.folder / "incoming.safetensors"
        file.write_bytes(data)
        try:
            done.set_result(make_version(Job(agent, str(file), str(self.folder), 1 << 24)).sha256)
        except OperatorFault as error:
            done.set_exception(Unheard("unfit", str(error)))
        return done


def policy_agent(folder: Path) -> str:
    """Of the only agent whose policies lie there."""
    (home,) = (folder / "policies").iterdir()
    return home.name
