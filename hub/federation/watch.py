"""How an agent's devices have been doing, and what advice gained them: a fold of the log's events.

watch = Watch()
for event in events: watch.fold(event)            # kinds KINDS, of all agents
watch.mean("heating", "boiler-1"), watch.updates("heating", since=seq), watch.gains("heating")
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.facts import Advised, EpisodeEnded, Updated
from hub.federation.payloads import ALL_DEVICES, Gains, Pair
from hub.words import Kind

if TYPE_CHECKING:
    from hub.words import Event

KINDS: Final = (Kind.EPISODE, Kind.UPDATE, Kind.ADVICE)
WEIGHT: Final = 0.1
"""Of the newest episode in a mean: about the last twenty count."""
EPISODES_MIN: Final = 5
"""Fewer say nothing of a device."""
PAIRS_MAX: Final = 1024
"""Pairs of one agent; more are not told apart from those that were first."""
PAIRS_SHOWN: Final = 32
WITHIN: Final = 1.645
"""Standard errors on each side of a normal's 90 %."""


class _Mean(Struct):
    episodes: int = 0
    mean: float = 0.0

    def add(self, returned: float) -> None:
        self.episodes += 1
        self.mean += max(WEIGHT, 1.0 / self.episodes) * (returned - self.mean)


class _Gain(Struct):
    """Welford's sums (1962): mean and squared deviations."""

    episodes: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, effect: float) -> None:
        self.episodes += 1
        before = effect - self.mean
        self.mean += before / self.episodes
        self.squares += before * (effect - self.mean)

    @property
    def within(self) -> float | None:
        if self.episodes < 2:
            return None
        return WITHIN * math.sqrt(self.squares / (self.episodes - 1) / self.episodes)


_episode: Final = msgspec.json.Decoder(EpisodeEnded)
_advised: Final = msgspec.json.Decoder(Advised)
_updated: Final = msgspec.json.Decoder(Updated)


class Watch:
    """Of all agents."""

    def __init__(self) -> None:
        self._means: dict[str, dict[str, _Mean]] = {}
        self._gains: dict[str, dict[tuple[str, str], _Gain]] = {}
        self._all: dict[str, _Gain] = {}
        self._updated: dict[str, int] = {}

    def fold(self, event: Event) -> None:
        """Take in one event; one without a payload that can be read says nothing."""
        if event.payload is None:
            return
        try:
            self._take(event, event.payload)
        except msgspec.MsgspecError:  # sealed, or of a later hub
            return

    def mean(self, agent: str, device: str) -> float | None:
        """Return of the device's last episodes, the newest counting most; None below some.

        Of `ALL_DEVICES`, the mean over those of which it is known.
        """
        means = self._means.get(agent, {})
        ours = means.values() if device == ALL_DEVICES else [means.get(device, _Mean())]
        known = [one.mean for one in ours if one.episodes >= EPISODES_MIN]
        return sum(known) / len(known) if known else None

    def has_learnt(self, agent: str, *, since: int) -> bool:
        """Whether anything was trained on after this seq."""
        return self._updated.get(agent, 0) > since

    def gains(self, agent: str) -> Gains:
        """The pairs with most episodes, and the mean of all."""
        pairs = self._gains.get(agent, {}).items()
        most = sorted(pairs, key=lambda pair: pair[1].episodes, reverse=True)[:PAIRS_SHOWN]
        total = self._all.get(agent, _Gain())
        return Gains(
            [Pair(*pair, gain.episodes, gain.mean, gain.within) for pair, gain in most],
            total.episodes,
            total.mean if total.episodes else None,
        )

    def _take(self, event: Event, payload: str) -> None:
        agent, device = event.agent, event.device
        if event.kind is Kind.EPISODE:
            means = self._means.setdefault(agent, {})
            means.setdefault(device, _Mean()).add(_episode.decode(payload).total_reward)
        elif event.kind is Kind.UPDATE:
            if _updated.decode(payload).transitions:
                self._updated[agent] = event.seq
        elif event.kind is Kind.ADVICE:
            told = _advised.decode(payload)
            if told.adviser is not None and told.unadvised is not None:
                effect = told.total_reward - told.unadvised
                self._all.setdefault(agent, _Gain()).add(effect)
                gains = self._gains.setdefault(agent, {})
                pair = device, told.adviser
                if pair in gains or len(gains) < PAIRS_MAX:
                    gains.setdefault(pair, _Gain()).add(effect)
