"""What the rest of the hub asks of the log, whatever keeps it.

Rule 1: a seq is given by one writer, gapless from 1, and never reused.
Rule 2: `append` returns only when the events are on disk; a batch is there whole or not at all.
Rule 3: nothing is ever changed or removed.

    log = DuckLog.open(folder)
    first = log.append([event, event])      # durable now
    for event in log.read(after=first - 1): ...
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from hub.errors import HubFault
from hub.words import FLOAT_BYTES, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.words import Event, Seq

INT64_MAX: Final = (1 << 63) - 1
PERSONAL: Final = frozenset({Kind.OBSERVATION, Kind.REWARD, Kind.REFUSED})
"""Kinds whose payload is what a device or person sent, or quotes it: kept by the device's key."""


class Log(Protocol):
    """An append-only sequence of Events. `tests/contracts/log_contract.py` holds for every one."""

    @property
    def hub(self) -> str:
        """The id of the hub that owns this log; every event carries it in the views."""
        ...

    @property
    def last_seq(self) -> int:
        """Seq of the last durable event, 0 when empty."""
        ...

    def append(self, events: Sequence[Event]) -> Seq:
        """Make the events durable, in order, and return the seq of the first.

        Raises:
            LogUnavailable: nothing of the batch was kept; try the same batch again.
        """
        ...

    def read(self, after: int = 0, *, limit: int = 16_384, agent: str | None = None) -> list[Event]:
        """At most `limit` events with seq > `after`, in order; of one agent when named."""
        ...

    def close(self) -> None:
        """Give the files back. What was appended stays."""
        ...


def check_fits(event: Event) -> None:
    """Make sure the log's columns can hold the event, before it joins a batch with others.

    Raises:
        HubFault: they can't. Whoever made it let a number through that should have been refused.
    """
    numbers = (event.step or 0, event.boot, event.session, event.ts, event.device_ts or 0)
    if max(numbers) > INT64_MAX or min(numbers) < -INT64_MAX:
        raise HubFault(f"device {event.device!r}: step, boot or time is beyond 64 bits: {numbers}")
    if event.payload is not None and not event.device and event.kind in PERSONAL:
        raise HubFault(f"{event.kind.name}: its payload is somebody's, and no device is named")
    for floats in (event.obs, event.action, event.executed):
        if floats is not None and len(floats) % FLOAT_BYTES:
            raise HubFault(f"device {event.device!r}: {len(floats)} bytes are no float32 vector")
