"""How far a fold of the log is, on stderr; and where it may be cancelled.

with Progress(count, clock) as progress:
    fold(events, told=progress.at)
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, Self

import click

if TYPE_CHECKING:
    from hub.clock import Clock

PROGRESS_S: Final = 1.0


class Progress:
    """Says once a second how far it is; its time begins with the first event.

    Ctrl-C takes effect between two events: within one, torch might be the one that hears of it, and
    swallow it. A second Ctrl-C is not put off.

    Args:
        count: of the events that go in. Other agents' events lie between them, here many and
            there few, so seqs would not say how far it is.
        clock: the machine's.
    """

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._clock = clock
        self._began: float | None = None
        self._said = 0.0
        self._events = 0
        self._cancelled = False
        self._handler: Any = None

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGINT, self._cancel)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        signal.signal(signal.SIGINT, self._handler)
        if self._cancelled and kind is None:
            raise KeyboardInterrupt

    def _cancel(self, *_: object) -> None:
        if self._cancelled:
            raise KeyboardInterrupt
        self._cancelled = True

    def at(self, seq: int) -> None:
        """An event comes next.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        if self._cancelled:
            raise KeyboardInterrupt
        now = self._clock.monotonic()
        if self._began is None:  # what had to be loaded before it says nothing of the rate
            self._began = self._said = now
        self._events += 1
        if now - self._said < PROGRESS_S:
            return
        self._said = now
        rate = self._events / (now - self._began)
        left = max(0, self._count - self._events)
        click.echo(
            f"rebuild: {self._events} of {self._count} events, up to seq {seq}, "
            f"{rate:.0f} events/s, {left / rate:.0f} s left",
            err=True,
        )
