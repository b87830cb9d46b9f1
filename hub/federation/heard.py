"""What other hubs announced of one agent: which of it is new, and whose networks are wanted.

    heard = Heard(ours="site-a", hubs_max=16)
    heard.take("site-b", announcement)            # raises Unheard
    heard.wanted(digest, guests, count=4)         # offers to be guests, those there are first

Rule 1: within the log it names, a hub's versions only count up. What is older is a replay.
Rule 2: a place that a guest has is kept for as long as its hub offers it, and what is free goes to
    who claims the highest return: a claim only opens the door, the bandit finds out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from hub.errors import Unheard
from hub.topics import HUB_NAME

if TYPE_CHECKING:
    from collections.abc import Collection

    from hub.federation.payloads import Announcement, Offer

PER_HUB_MAX: Final = 2
"""Guests of one hub: one that lies about its returns leaves room for others."""


class Found(NamedTuple):
    """An offer and whose it is."""

    hub: str
    offer: Offer

    @property
    def name(self) -> str:
        """Of the guest that comes of it."""
        return f"{self.hub}/{self.offer.device}"


class Heard:
    """The other hubs of one agent.

    Args:
        ours: this hub's name.
        hubs_max: others that are listened to.
    """

    def __init__(self, ours: str, hubs_max: int) -> None:
        self._ours = ours
        self._hubs_max = hubs_max
        self._hubs: dict[str, Announcement] = {}
        self._gone: set[str] = set()
        """Those that were heard, and give nothing out any more."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._hubs)

    def knows(self, hub: str) -> bool:
        """Whether it has said what it gives out, or that it is nothing any more."""
        return hub in self._hubs or hub in self._gone

    def take(self, hub: str, announcement: Announcement | None) -> None:
        """Another hub says what it gives out; None = nothing any more.

        Raises:
            Unheard: it is a replay, the hub's name is none, or there are too many hubs.
        """
        if not HUB_NAME.fullmatch(hub):
            raise Unheard("name")
        if hub == self._ours:
            return  # the broker tells us what we said
        if announcement is None:
            if self._hubs.pop(hub, None) is not None:
                self._gone.add(hub)
            while len(self._gone) > self._hubs_max:
                self._gone.pop()
            return
        before = self._hubs.get(hub)
        if before is None and len(self._hubs) >= self._hubs_max:
            raise Unheard("hubs", f"more than {self._hubs_max} hubs have this agent")
        same = before is not None and before.log == announcement.log
        if before is not None and same and announcement.version < before.version:
            raise Unheard("old")
        self._hubs[hub] = announcement
        self._gone.discard(hub)

    def offers(self, digest: str, guests: Collection[str] = ()) -> list[Found]:
        """All that fit and whose return is known, or that are guests; the best first."""
        unknown = float("-inf")
        found = [
            (unknown if offer.mean is None else offer.mean, Found(hub, offer))
            for hub, announcement in self._hubs.items()
            if announcement.digest == digest
            for offer in announcement.offers
        ]
        found.sort(key=lambda pair: pair[0], reverse=True)
        return [one for mean, one in found if mean > unknown or one.name in guests]

    def wanted(self, digest: str, guests: Collection[str], count: int) -> list[Found]:
        """Whose networks are to be guests.

        Args:
            digest: what they must fit.
            guests: names of those there are.
            count: places.
        """
        found = self.offers(digest, guests)
        found.sort(key=lambda one: one.name not in guests)  # stable: the best first of each
        wanted: list[Found] = []
        for one in found:
            same = sum(other.hub == one.hub for other in wanted)
            if len(wanted) < count and same < PER_HUB_MAX:
                wanted.append(one)
        return wanted
