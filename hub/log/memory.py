"""The log as a list: the definition the other logs are compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hub.log import recover
from hub.words import Event, Seq

if TYPE_CHECKING:
    from collections.abc import Sequence


class MemoryLog:
    """A `Log` that keeps everything and nothing survives."""

    def __init__(self, hub: str = "memory") -> None:
        self._hub = hub
        self._events: list[Event] = []

    @property
    def hub(self) -> str:
        """The id of the hub that owns this log."""
        return self._hub

    @property
    def last_seq(self) -> int:
        """Seq of the last event, 0 when empty."""
        return len(self._events)

    def append(self, events: Sequence[Event]) -> Seq:
        """Keep the events and return the seq of the first."""
        first = self.last_seq + 1
        self._events += [
            msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(events, first)
        ]
        return Seq(first)

    def read(self, after: int = 0, *, limit: int = 16_384, agent: str | None = None) -> list[Event]:
        """At most `limit` events with seq > `after`, in order; of one agent when named."""
        wanted = (e for e in self._events[after:] if agent is None or e.agent == agent)
        return [event for event, _ in zip(wanted, range(limit), strict=False)]

    def recover(self) -> recover.Recovered:
        """What the hub needs to go on."""
        return recover.fold(self._events)

    def close(self) -> None:
        """Nothing to give back."""
