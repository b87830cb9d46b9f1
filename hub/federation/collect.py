"""What is taken from other hubs: which network next, on its way, looked at, and let go again.

    collect = Collect(settings, base, data, watch, clock, bring_in)
    collect.choose(parts, now); collect.go_on(now)          # whenever time has passed
    collect.take(part, sha256, number, payload)             # a part of a network came

Rule 1: one network is fetched at a time, and only one that is wanted.
Rule 2: what others say has been looked at (`vetting.py`) before anybody acts by it.
Rule 3: guests of a hub that is not heard stay: a partition changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from msgspec import structs

from hub.errors import Unheard
from hub.facts import Guest
from hub.federation.fetch import Fetch
from hub.federation.messages import Join, Took
from hub.federation.part import Part, Publish, Subscribe
from hub.federation.payloads import ASKED, encode
from hub.federation.vetting import can_be_vetted, take_in, vetted
from hub.learner.messages import POLICY_SUFFIX, guest_path
from hub.topics import agent_topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from pathlib import Path

    from hub.clock import Clock
    from hub.federation.heard import Found
    from hub.federation.watch import Watch
    from hub.settings.federation import FederationSettings
    from hub.words import Agent

AGAIN_S: Final = 60.0
"""A network that did not come is not asked for before."""
FOR_EVER_S: Final = float("inf")
REFUSED_MAX: Final = 256
"""Networks of one agent that are remembered as refused."""
FILES_KEPT: Final = 32
"""Of guests that an agent had, the newest; so that what advised lately can be looked at."""


class Collect:
    """For all agents.

    Args:
        settings: `[federation]`.
        base: of topics.
        data: the data folder.
        watch: how agents do.
        clock: for waits.
        bring_in: makes a version of a fetched policy, elsewhere: its SHA-256, or `Unheard`.
        feed_first: seq of the first event that the watch has seen.

    Attributes:
        out: what is to be said to the broker, in order.
        told: the same to the hub.
        refused: what was left alone, by reason.
        fetched: networks that came whole.
    """

    def __init__(
        self,
        settings: FederationSettings,
        base: str,
        data: Path,
        watch: Watch,
        clock: Clock,
        bring_in: Callable[[Agent, bytes], Future[str]],
        feed_first: int,
    ) -> None:
        self.out: list[Publish | Subscribe] = []
        self.told: list[Took | Join] = []
        self.refused: Counter[str] = Counter()
        self.fetched = 0
        self._settings = settings
        self._base = base
        self._data = data
        self._watch = watch
        self._clock = clock
        self._bring_in = bring_in
        self._feed_first = feed_first
        self._fetch: tuple[Part, Fetch, bool] | None = None
        """What is fetched, and whether to begin with it."""
        self._coming: tuple[Part, Found, Future[str]] | None = None
        """A policy to begin with that is being looked at."""

    def take(self, part: Part, sha256: str, number: str, payload: bytes) -> None:
        """A part of a network came.

        Raises:
            Unheard: nobody asked for it, or the network is not what was promised.
        """
        if self._fetch is None or self._fetch[0] is not part:
            raise Unheard("part")
        _, fetch, to_begin = self._fetch
        if fetch.found.offer.sha256 != sha256 or not (number.isascii() and number.isdigit()):
            raise Unheard("part")
        try:
            data = fetch.take(int(number[:8]), payload)
        except Unheard as error:
            if error.reason == "hash":
                self._put_off(part, sha256, AGAIN_S)
                self._end_fetch()
            raise
        if data is None:
            return
        self.fetched += 1
        self._end_fetch()
        try:
            if to_begin:
                self._begin_with(part, fetch.found, data)
            else:
                self._take_guest(part, fetch.found, data)
        except Unheard:
            self._put_off(part, sha256, FOR_EVER_S)
            raise
        except OSError as error:
            self._put_off(part, sha256, AGAIN_S)
            raise Unheard("disk", str(error)) from error

    def drop(self, part: Part) -> None:
        """The agent takes part no more."""
        if self._fetch is not None and self._fetch[0] is part:
            self._end_fetch()

    def abandon(self) -> None:
        """The broker is gone, and what was on its way too."""
        self._fetch = None
        self.out.clear()

    def choose(self, parts: Iterable[Part], now_s: float) -> None:
        """The next network to fetch, and guests that are none any more."""
        if self._fetch is not None:
            return
        for part in parts:
            if self._coming is not None and self._coming[0] is part:
                continue
            if self._is_new(part):
                found = next(iter(self._open(part, part.heard.offers(part.digest), now_s)), None)
                if found is not None:
                    self._begin_fetch(part, found, now_s, to_begin=True)
                    return
            wanted = self._wanted(part)
            self._let_go(part, wanted)
            for found in self._open(part, wanted, now_s):
                if self._is_newer(part, found, now_s):
                    self._begin_fetch(part, found, now_s, to_begin=False)
                    return

    def go_on(self, now_s: float) -> None:
        """Ask for what has not come, or give it up."""
        if self._fetch is None:
            return
        part, fetch, _ = self._fetch
        if fetch.is_late(now_s):
            self.refused["late"] += 1
            self._put_off(part, fetch.found.offer.sha256, AGAIN_S)
            self._end_fetch()
            return
        first = fetch.asks(now_s)
        if first is not None:
            name, hub = part.name, fetch.found.hub
            want = encode({"sha256": fetch.found.offer.sha256, "part": first})
            self.out.append(Publish(agent_topic(self._base, name, "want", hub), want))

    def look(self) -> None:
        """A policy to begin with was looked at: tell the hub, or count why not."""
        if self._coming is None or not self._coming[2].done():
            return
        part, found, coming = self._coming
        self._coming = None
        try:
            sha256 = coming.result()
        except Unheard as error:
            self.refused[error.reason] += 1
            seconds = AGAIN_S if error.reason == "disk" else FOR_EVER_S
            self._put_off(part, found.offer.sha256, seconds)
            return
        if self._is_new(part):
            part.namesake = structs.replace(part.namesake, chosen=True)
            self.told.append(Join(part.name, sha256, found.name))

    def _is_new(self, part: Part) -> bool:
        """It has learnt nothing, and nobody chose what it begins with."""
        one = part.namesake
        if one.chosen or one.begun < self._feed_first or not one.agent.learning:
            return False
        return not self._watch.has_learnt(part.name, since=one.begun)

    def _wanted(self, part: Part) -> list[Found]:
        if part.namesake.agent.sharing != "advice":
            return []
        guests = part.namesake.guests
        here = [guest for guest in guests if guest.device != ASKED]
        kept = sum(not part.heard.knows(guest.hub) for guest in here)  # Rule 3
        names = {guest.name for guest in guests}
        return part.heard.wanted(part.digest, names, self._settings.guests_max - kept)

    def invite(self, part: Part) -> None:
        """Have those asked at each step who have no network to give, while they are there."""
        agent, here = part.namesake.agent, part.namesake.guests
        asked = [guest.hub for guest in here if guest.device == ASKED]
        fit: list[str] = []
        if (agent.hubs, agent.sharing) == ("questions", "advice") and can_be_vetted(agent):
            giving = {found.hub for found in part.heard.offers(part.digest)}
            fit = [
                name
                for name, one in part.advisers.items()
                if (one.observations, one.actions) == (agent.observations, agent.actions)
                and name not in giving
            ]
        fit.sort(key=lambda name: name not in asked)  # stable: who has a place keeps it
        fit = fit[: self._settings.advisers_max]
        if fit != asked:
            guests = [guest for guest in here if guest.device != ASKED]
            guests += [Guest(f"{name}/{ASKED}", name, ASKED, 0, "") for name in fit]
            self._set_guests(part, guests)

    def _let_go(self, part: Part, wanted: list[Found]) -> None:
        names = {found.name for found in wanted}
        advised = part.namesake.agent.sharing == "advice"
        guests = [
            guest
            for guest in part.namesake.guests
            if guest.name in names
            or guest.device == ASKED
            or (advised and not part.heard.knows(guest.hub))
        ]
        if guests != part.namesake.guests:
            self._set_guests(part, guests)

    def _open(self, part: Part, found: list[Found], now_s: float) -> list[Found]:
        """Those that may be asked for now."""
        not_before_s = part.not_before_s
        return [one for one in found if not_before_s.get(one.offer.sha256, 0.0) <= now_s]

    def _is_newer(self, part: Part, found: Found, now_s: float) -> bool:
        """It is no guest yet, or has changed since and may be replaced already."""
        guest = next((one for one in part.namesake.guests if one.name == found.name), None)
        sha256, taken_s = part.taken.get(found.name, ("", -FOR_EVER_S))
        if guest is None:
            return True
        if sha256 == found.offer.sha256 or guest.version == found.offer.version:
            return False
        return now_s - taken_s >= self._settings.refresh_s

    # --- fetching -------------------------------------------------------------------------------

    def _begin_fetch(self, part: Part, found: Found, now_s: float, *, to_begin: bool) -> None:
        fetch = Fetch(found, began_s=now_s, limit_s=self._settings.fetch_s)
        self._fetch = part, fetch, to_begin
        self.out.append(Subscribe(self._parts_of(part, found)))
        self.go_on(now_s)

    def _end_fetch(self) -> None:
        assert self._fetch is not None, "only asked while there is one"
        part, fetch, _ = self._fetch
        self._fetch = None
        self.out.append(Subscribe(self._parts_of(part, fetch.found), on=False))

    def _parts_of(self, part: Part, found: Found) -> str:
        name = part.name
        return agent_topic(self._base, name, "part", found.offer.sha256, "+")

    def _put_off(self, part: Part, sha256: str, seconds: float) -> None:
        while len(part.not_before_s) >= REFUSED_MAX:
            del part.not_before_s[next(iter(part.not_before_s))]
        part.not_before_s[sha256] = self._clock.monotonic() + seconds

    def _begin_with(self, part: Part, found: Found, data: bytes) -> None:
        agent = part.namesake.agent
        if can_be_vetted(agent):
            vetted(data, agent)
        self._coming = part, found, self._bring_in(agent, data)

    def _take_guest(self, part: Part, found: Found, data: bytes) -> None:
        sha256 = take_in(data, part.namesake.agent, self._data)
        offer = found.offer
        part.taken[found.name] = offer.sha256, self._clock.monotonic()
        guest = Guest(found.name, found.hub, offer.device, offer.version, sha256)
        others = [one for one in part.namesake.guests if one.name != found.name]
        self._set_guests(part, [*others, guest])

    def _set_guests(self, part: Part, guests: list[Guest]) -> None:
        part.namesake = structs.replace(part.namesake, guests=guests)
        part.taken = {one.name: part.taken[one.name] for one in guests if one.name in part.taken}
        self.told.append(Took(part.name, guests))
        self._prune(part)

    def _prune(self, part: Part) -> None:
        """Remove the files of who has long been no guest."""
        home = guest_path(self._data, part.name, "x").parent
        named = {guest.sha256 for guest in part.namesake.guests}
        files = [path for path in home.glob(f"*{POLICY_SUFFIX}") if path.stem not in named]
        files.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in files[FILES_KEPT:]:
            path.unlink(missing_ok=True)
