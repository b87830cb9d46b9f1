"""How far a command is, on stderr; and where a fold of the log may be cancelled.

with Meter("backup", clock) as meter:
    backup(data, target, told=meter.bytes)

with Progress(count, clock) as progress:
    fold(events, told=progress.at)
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

if TYPE_CHECKING:
    from rich.progress import TaskID

    from hub.clock import Clock

PROGRESS_S: Final = 1.0
"""Between two lines, where nobody watches."""
REFRESH_S: Final = 0.1
"""Of the bar in a terminal."""
BYTES_PER_MB: Final = 1_000_000


class Meter:
    """A bar where a person watches, else a line a second; both with the time that is left.

    What takes less than a second says nothing elsewhere than in a terminal.

    Args:
        command: the first word of a line.
        clock: the machine's.
        console: where to; None = stderr.
    """

    def __init__(self, command: str, clock: Clock, console: Console | None = None) -> None:
        self._command = command
        self._clock = clock
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._what: str | None = None
        self._began = self._said = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
            )
            # Drawn when something is said: a thread of its own would be one more that torch meets.
            self._bar = Bar(*columns, console=self._console, auto_refresh=False, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._command, total=None, said="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def bytes(self, what: str, done: int, of: int, /) -> None:
        """So many bytes are `what`; fits `hub.log.segments.told.Told`."""
        self.at(done / BYTES_PER_MB, of / BYTES_PER_MB, f"MB {what}", digits=1)

    def at(self, done: float, of: float, what: str, *, note: str = "", digits: int = 0) -> None:
        """So much is done, of how much; time is counted from the first word of each `what`."""
        now = self._clock.monotonic()
        if what != self._what:  # what had to be loaded before it says nothing of the rate
            self._what, self._began, self._said = what, now, now
        if now - self._said < (PROGRESS_S if self._bar is None else REFRESH_S):
            return
        self._said = now
        rate = done / (now - self._began)
        left = f"{max(0.0, of - done) / rate:.0f} s left" if rate else "?"
        said = f"{done:.{digits}f} of {of:.{digits}f} {what}, {note}"
        said += f"{rate:.{digits}f} {what.split()[0]}/s, {left}"
        if self._bar is None or self._task is None:
            self._console.print(f"{self._command}: {said}", markup=False)
        else:
            self._bar.update(self._task, total=of, completed=done, said=said, refresh=True)


class Progress:
    """Says how far a fold is; its time begins with the first event.

    Ctrl-C takes effect between two events: within one, torch might be the one that hears of it, and
    swallow it. A second Ctrl-C is not put off.

    Args:
        count: of the events that go in. Other agents' events lie between them, here many and
            there few, so seqs would not say how far it is.
        clock: the machine's.
    """

    def __init__(self, count: int, clock: Clock) -> None:
        self._count = count
        self._meter = Meter("rebuild", clock)
        self._events = 0
        self._cancelled = False
        self._handler: Any = None

    def __enter__(self) -> Self:
        self._handler = signal.signal(signal.SIGINT, self._cancel)
        self._meter.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._meter.__exit__()
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
        self._events += 1
        self._meter.at(self._events, self._count, "events", note=f"up to seq {seq}, ")
