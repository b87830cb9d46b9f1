"""This hub among the others: what it announces, gives out, and takes. No socket, no thread.

    member = Member(settings, base, hub_id, data, watch, clock, collect)
    member.take_part(namesakes)                  # from the hub, whenever something changed
    member.joined()                              # the broker is there; `left()` when it is gone
    member.hear(topic, payload); member.tick()   # then act on what stands in `out` and `told`

Rule 1: an agent that did not opt in is not spoken of, and nothing is taken for it.
Rule 2: what others say costs a count and no more (what is taken of it: `collect.py`; what is asked
    and answered: `questions.py`, `answers.py`).
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from hub.errors import HubFault, Unheard
from hub.federation.answers import Answers
from hub.federation.heard import Heard
from hub.federation.loss import Losses
from hub.federation.messages import Counted, FromFederation, Namesake, Noted
from hub.federation.part import Part, Publish, Subscribe
from hub.federation.payloads import (
    PARTS_AT_ONCE,
    Announcement,
    differences,
    digest_of,
    encode,
    fit_of,
    read_adviser,
    read_announcement,
    read_want,
)
from hub.federation.questions import Questions
from hub.federation.shelf import Shelf
from hub.topics import HUB_NAME, agent_levels, agent_topic

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.federation.collect import Collect
    from hub.federation.messages import Ask
    from hub.federation.watch import Watch
    from hub.settings.federation import FederationSettings
    from hub.words import AgentName

MB: Final = 1 << 20
SETTLE_S: Final = 2.0
"""After the broker is there: who is best is known when all retained announcements have come."""
AGENTS_AT_ONCE: Final = 2
"""Announced in one tick: the hub publishes a few messages a second, however many agents it has."""


class Member:
    """Of all agents that take part.

    Args:
        settings: `[federation]`.
        base: of topics.
        hub_id: id of the hub's log.
        data: the data folder.
        watch: how agents do.
        clock: for waits.
        collect: takes what is wanted of others.
        random_bytes: for the ids of questions.

    Attributes:
        out: what is to be said to the broker, in order; taken by whoever has the socket.
        told: the same to the hub.
    """

    def __init__(
        self,
        settings: FederationSettings,
        base: str,
        hub_id: str,
        data: Path,
        watch: Watch,
        clock: Clock,
        collect: Collect,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self.name = settings.name or hub_id
        self.out: list[Publish | Subscribe] = []
        self.told: list[FromFederation] = []
        self._settings = settings
        self._base = base
        self._log = hub_id
        self._watch = watch
        self._clock = clock
        self._collect = collect
        self._questions = Questions(settings, base, self.name, random_bytes)
        self._answers = Answers(data, settings, base)
        self._parts: dict[AgentName, Part] = {}
        self._shelf = Shelf(data, settings.policy_mb_max * MB)
        self._since_s: float | None = None
        """When the broker came; None while it is gone."""
        self._refused: Counter[str] = Counter()
        self._losses = Losses()
        self._denials = Losses()
        self._counted = Counted()
        self._given = 0
        self._tokens = float(settings.parts_per_s)
        self._tokens_s = clock.monotonic()

    # --- the hub and the broker come and go -----------------------------------------------------

    def take_part(self, namesakes: list[Namesake]) -> None:
        """These agents, as they stand now."""
        there = {one.agent.name: one for one in namesakes}
        for name in [name for name in self._parts if name not in there]:
            self._withdraw(name)
        for name, namesake in there.items():
            part = self._parts.get(name)
            if part is None:
                heard = Heard(self.name, self._settings.hubs_max)
                self._parts[name] = Part(namesake, heard)
                if self._since_s is not None:
                    self._subscribe(name, on=True)
                continue
            part.namesake = namesake
            digest = digest_of(namesake.agent)
            if digest != part.digest:
                part.told_apart.clear()
            part.digest = digest

    def joined(self) -> None:
        """The broker is there; it knows nothing of us but what it retained."""
        self._since_s = self._clock.monotonic()
        for name, part in self._parts.items():
            self._subscribe(name, on=True)
            part.said.clear()
            part.advisers.clear()  # who has gone meanwhile is not told of again
            part.announce_s = 0.0

    def left(self, reason: str, why: str, *, was_in: bool) -> None:
        """The broker is gone.

        Args:
            reason: the word it is counted under.
            why: what is known of it, in words.
            was_in: whether the broker had let this hub in.
        """
        self._since_s = None
        self._collect.abandon()
        self._questions.abandon()
        self.out.clear()
        self._refused[reason] += 1
        if self._losses.tell(why, self._clock.monotonic(), was_in=was_in):
            text = f"the broker of other hubs is gone, and tried again: {self._losses.newest}"
            self.told.append(Noted(text))

    def denied(self, topic: str, why: str, *, is_heard: bool) -> None:
        """The broker does not let this hub say that, or hear it; it is said again when it is due.

        Args:
            topic: what was retained there is not; or a filter.
            why: in the broker's words.
            is_heard: it was to be heard.
        """
        self._refused["denied"] += 1
        for part in self._parts.values():
            part.said.pop(topic, None)
        what = "hear the others" if is_heard else f"speak as {self.name!r}"
        text = f"the broker of other hubs does not let this one {what}: {why}"
        if self._denials.tell(text, self._clock.monotonic(), was_in=True):
            hint = (
                "its rules may let each user speak under its own name alone, as deploy/hubs/acl "
                "does; then federation.name must be the user in federation.credentials"
            )
            self.told.append(Noted(f"{self._denials.newest}; {hint}"))

    def _withdraw(self, name: AgentName) -> None:
        part = self._parts.pop(name)
        self._shelf.clear(name)
        self._answers.forget(name)
        if self._since_s is not None:
            self._subscribe(name, on=False)
            self.out += [Publish(topic, b"", retain=True) for topic in part.said]
        self._collect.drop(part)

    def _subscribe(self, name: AgentName, *, on: bool) -> None:
        own = self.name
        both = (("policy", "+"), ("want", own), ("adviser", "+"), ("ask", own), ("answer", own))
        for levels in both:
            self.out.append(Subscribe(agent_topic(self._base, name, *levels), on))

    # --- what others say ------------------------------------------------------------------------

    def hear(self, topic: str, payload: bytes) -> None:
        """A message of the broker."""
        try:
            name, levels = agent_levels(self._base, topic) or ("", [""])
            part = self._parts.get(name)  # type: ignore[call-overload]  # or it is no agent's name
            match levels:
                case ["policy", hub] if part is not None:
                    self._hear_of(part, hub, payload)
                case ["want", hub] if part is not None and hub == self.name:
                    self._give(part, payload)
                case ["part", sha256, number] if part is not None:
                    self._collect.take(part, sha256, number, payload)
                case ["adviser", adviser] if part is not None:
                    self._hear_of_adviser(part, adviser, payload)
                case ["ask", hub] if part is not None and hub == self.name:
                    self.out.append(self._answers.answer(part, payload, self._clock.monotonic()))
                case ["answer", hub] if part is not None and hub == self.name:
                    self._questions.hear(payload, self._clock.monotonic())
                case _:
                    raise Unheard("topic")
        except Unheard as error:
            self._refused[error.reason] += 1

    def _hear_of(self, part: Part, hub: str, payload: bytes) -> None:
        if not payload:
            part.heard.take(hub, None)
            return
        bytes_max = self._settings.policy_mb_max * MB
        announcement = read_announcement(payload, policy_bytes_max=bytes_max)
        if hub == self.name and announcement.log != self._log:
            raise Unheard("name", f"another hub calls itself {hub!r}")
        part.heard.take(hub, announcement)
        if hub != self.name and announcement.digest != part.digest:
            self._tell_apart(part, hub, announcement)
            raise Unheard("unfit", f"networks of hub {hub!r} do not fit")

    def _tell_apart(self, part: Part, hub: str, announcement: Announcement) -> None:
        """Once for each hub that an agent hears, in the log: why its networks stay away."""
        if hub in part.told_apart or len(part.told_apart) >= self._settings.hubs_max:
            return
        part.told_apart.add(hub)
        differs = differences(announcement.fit, fit_of(part.namesake.agent))
        text = f"agent {part.name!r}: networks of hub {hub!r} do not fit and are left alone: "
        if part.namesake.agent.hubs == "questions":
            differs += "; if it answers questions about the same spaces, it is asked"
        self.told.append(Noted(text + differs))

    def _hear_of_adviser(self, part: Part, name: str, payload: bytes) -> None:
        if not payload:
            part.advisers.pop(name, None)
            return
        if not HUB_NAME.fullmatch(name):
            raise Unheard("name")
        adviser = read_adviser(payload)
        if name == self.name:
            return  # the broker tells us what we said
        if name not in part.advisers and len(part.advisers) >= self._settings.hubs_max:
            raise Unheard("hubs", f"more than {self._settings.hubs_max} advise for this agent")
        part.advisers[name] = adviser

    def consult(self, ask: Ask) -> None:
        """Ask what an actor wants to know of an adviser elsewhere; what comes stands in `told`."""
        part = None if self._since_s is None else self._parts.get(ask.agent)
        self._questions.ask(ask, part, self._clock.monotonic())

    def _give(self, part: Part, payload: bytes) -> None:
        want, name = read_want(payload), part.name
        now_s = self._clock.monotonic()
        most = float(self._settings.parts_per_s)
        self._tokens = min(most, self._tokens + most * (now_s - self._tokens_s))
        self._tokens_s = now_s
        for number in range(want.part, want.part + PARTS_AT_ONCE):
            data = self._shelf.part(name, want.sha256, number)
            if data is None:
                if number == want.part:
                    raise Unheard("want")
                return
            if self._tokens < 1.0:
                raise Unheard("rate")
            self._tokens -= 1.0
            self._given += 1
            levels = ("part", want.sha256, str(number))
            self.out.append(Publish(agent_topic(self._base, name, *levels), data))

    # --- what is to be done ---------------------------------------------------------------------

    @property
    def until_s(self) -> float | None:
        """When a tick is due for those who wait for an answer; None when nobody does."""
        return self._questions.until_s

    def tick(self) -> None:
        """What is due by now."""
        now_s = self._clock.monotonic()
        self._collect.look()
        self._questions.expire(now_s)
        if self._since_s is not None:
            due = [part for part in self._parts.values() if part.announce_s <= now_s]
            for part in due[:AGENTS_AT_ONCE]:
                part.announce_s = now_s + self._settings.announce_s
                self._announce(part)
            self._collect.go_on(now_s)
            if now_s - self._since_s >= SETTLE_S:
                self._collect.choose(self._parts.values(), now_s)
                for part in self._parts.values():
                    self._collect.invite(part)
        self._gather()

    def _gather(self) -> None:
        """What there is to say of what was taken, and how it all goes."""
        collect, questions = self._collect, self._questions
        for one in (collect, questions):
            self.out += one.out
            self.told += one.told
            one.out.clear()
            one.told.clear()
        hubs = sum(len(part.heard) for part in self._parts.values())
        counted = Counted(
            self._since_s is not None,
            hubs,
            collect.fetched,
            self._given,
            dict(self._refused + collect.refused + questions.refused),
            questions.asked,
            questions.heard,
            questions.late,
            self._answers.answered,
            self._losses.newest,
        )
        if counted != self._counted:
            self._counted = counted
            self.told.append(counted)

    def _announce(self, part: Part) -> None:
        """Say what there is, where it is something else than before."""
        name, newest = part.name, part.namesake.policy
        if newest is not None and part.digest:
            try:
                offers = self._shelf.stock(
                    part.namesake.agent, newest, lambda device: self._watch.mean(name, device)
                )
            except HubFault:  # its file was just replaced: next time
                return
            said = Announcement(
                self._log, newest.version, part.digest, offers, fit_of(part.namesake.agent)
            )
            self._retain(part, "policy", encode(said))
        gains = self._watch.gains(name)
        if gains.episodes:
            self._retain(part, "advice", encode(gains))

        answers = self._answers.told(part)
        if answers is not None:
            self._retain(part, "adviser", encode(answers))
        elif agent_topic(self._base, name, "adviser", self.name) in part.said:
            self._retain(part, "adviser", b"")

    def _retain(self, part: Part, leaf: str, payload: bytes) -> None:
        topic = agent_topic(self._base, part.name, leaf, self.name)
        if part.said.get(topic) != payload:
            part.said[topic] = payload
            self.out.append(Publish(topic, payload, retain=True))
