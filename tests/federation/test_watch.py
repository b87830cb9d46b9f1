"""How agents do is a fold of the log's events, and what can't be read says nothing."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.facts import Advised, EpisodeEnded, Updated
from hub.federation.payloads import ALL_DEVICES
from hub.federation.watch import EPISODES_MIN, PAIRS_MAX, PAIRS_SHOWN, Watch
from hub.words import EndedBy, Event, Kind


def told(kind: Kind, fact: Any, device: str = "d", seq: int = 1) -> Event:
    payload = msgspec.json.encode(fact).decode()
    return Event(kind, 0, agent="cart", device=device, payload=payload, seq=seq)


def episode(returned: float, device: str = "d") -> Event:
    fact = EpisodeEnded(1, 5, returned, 0, EndedBy.TERMINATED)
    return told(Kind.EPISODE, fact, device)


def advised(adviser: str | None, returned: float, unadvised: float | None) -> Event:
    return told(Kind.ADVICE, Advised(adviser, returned, 0.0, unadvised, 1.0, 1))


def test_a_mean_is_known_after_some_episodes_and_follows_the_newest() -> None:
    watch = Watch()
    for _ in range(EPISODES_MIN - 1):
        watch.fold(episode(10.0))
    assert watch.mean("cart", "d") is None
    watch.fold(episode(10.0))
    assert watch.mean("cart", "d") == 10.0
    for _ in range(60):
        watch.fold(episode(50.0))
    assert watch.mean("cart", "d") == pytest.approx(50.0, abs=0.2)
    for _ in range(60):
        watch.fold(episode(30.0, "e"))
    assert watch.mean("cart", ALL_DEVICES) == pytest.approx(40.0, abs=0.2)
    assert watch.mean("other", ALL_DEVICES) is None


def test_gains_are_means_over_advised_episodes_with_their_interval() -> None:
    watch = Watch()
    for event in (advised(None, 9.0, None), advised("p", 9.0, None), advised(None, 9.0, 1.0)):
        watch.fold(event)
    assert watch.gains("cart").gain is None
    for returned in (31.0, 29.0):
        watch.fold(advised("p", returned, 20.0))
    watch.fold(advised("q", 5.0, 20.0))
    gains = watch.gains("cart")
    assert gains.episodes == 3
    assert gains.gain == pytest.approx(5 / 3)
    first, second = gains.pairs
    assert (first.adviser, first.episodes, first.gain) == ("p", 2, 10.0)
    assert first.within == pytest.approx(1.645)
    assert (second.adviser, second.gain, second.within) == ("q", -15.0, None)


def test_pairs_are_bounded_and_the_mean_of_all_still_counts_everyone() -> None:
    watch = Watch()
    for i in range(PAIRS_MAX + 10):
        watch.fold(advised(f"p{i}", 1.0, 0.0))
    gains = watch.gains("cart")
    assert len(gains.pairs) == PAIRS_SHOWN
    assert gains.episodes == PAIRS_MAX + 10


def test_an_agent_has_learnt_once_something_was_trained_on() -> None:
    watch = Watch()
    nothing = Updated(0, 1, 2, 0, 0, "ab", 0.0)
    watch.fold(told(Kind.UPDATE, nothing, seq=5))
    assert not watch.has_learnt("cart", since=0)
    watch.fold(told(Kind.UPDATE, msgspec.structs.replace(nothing, transitions=8), seq=7))
    assert watch.has_learnt("cart", since=6)
    assert not watch.has_learnt("cart", since=7), "it was restarted since"


@pytest.mark.parametrize("payload", [None, "", "{}", "sealed", '{"type":"advised"}', "[1"])
def test_what_cannot_be_read_says_nothing(payload: str | None) -> None:
    watch = Watch()
    for kind in (Kind.EPISODE, Kind.UPDATE, Kind.ADVICE):
        watch.fold(Event(kind, 0, agent="cart", device="d", payload=payload))
    assert watch.gains("cart").episodes == 0
