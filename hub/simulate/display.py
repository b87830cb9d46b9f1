"""What a person sees while the devices learn: a table that stays in place, or plain lines."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING, Final, Protocol

from rich.live import Live
from rich.table import Table

from hub.simulate.standing import EPISODES_JUDGED

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from rich.console import Console

    from hub.simulate.standing import Standing

PLAIN_LINE_S: Final = 5.0
REFRESHES_PER_S: Final = 4
STEPS_WIDTH: Final = 9
"""Wide enough for a million: columns that grow make the table jump."""
LINES_AROUND: Final = 10
"""Of a screen, that are no devices: title, head, rules, totals, and what was said before."""
DEVICES_IN_LINE: Final = 8
"""More are told by their least, median and greatest return."""


class Display(Protocol):
    """Shows a standing."""

    def show(self, standing: Standing, *, now: float) -> None:
        """As it is now."""
        ...


def open_display(
    console: Console, protocols: Mapping[str, str], *, title: str
) -> AbstractContextManager[Display]:
    """A table where the console is a terminal, else a line every few seconds.

    Args:
        console: to show it on.
        protocols: of each device.
        title: of the table.
    """
    return TableDisplay(console, protocols, title) if console.is_terminal else LineDisplay(console)


class TableDisplay:
    """One row a device, redrawn in place."""

    def __init__(self, console: Console, protocols: Mapping[str, str], title: str) -> None:
        self._console = console
        self._protocols = protocols
        self._title = title
        self._live = Live(console=console, refresh_per_second=REFRESHES_PER_S)

    def __enter__(self) -> TableDisplay:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, standing: Standing, *, now: float) -> None:
        """As it is now."""
        table = Table(title=self._title, caption=_totals(standing, now), caption_justify="left")
        table.add_column("device")
        table.add_column("protocol")
        table.add_column("steps", justify="right", min_width=STEPS_WIDTH)
        table.add_column("repeats", justify="right")
        table.add_column(f"return (mean of {EPISODES_JUDGED})", justify="right")
        shown = max(1, self._console.height - LINES_AROUND)
        for device, protocol in list(self._protocols.items())[:shown]:
            table.add_row(
                device,
                protocol,
                f"{standing.steps[device]:,}",
                f"{standing.repeats[device]:,}",
                _mean(standing, device),
            )
        if len(self._protocols) > shown:
            table.add_row(f"and {len(self._protocols) - shown:,} more")
        self._live.update(table)


class LineDisplay:
    """Plain lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, standing: Standing, *, now: float) -> None:
        """As it is now, when the last line is old enough."""
        if now < self._next:
            return
        self._next = now + PLAIN_LINE_S
        self._console.out(f"{_totals(standing, now)}  [{_each(standing)}]", highlight=False)


def _totals(standing: Standing, now: float) -> str:
    mean = standing.mean_return
    parts = [
        f"{now - standing.started:5.1f} s",
        f"{standing.total_steps:,} steps",
        f"{standing.actions_per_s:,.0f} actions/s",
        f"p50 {_ms(standing.latency_ms(0.5))}",
        f"p99 {_ms(standing.latency_ms(0.99))}",
        f"policy {'-' if standing.policy is None else standing.policy}",
        f"return {'-' if mean is None else f'{mean:.1f}'}"
        + ("" if standing.solved_return is None else f" of {standing.solved_return:.0f}"),
    ]
    return "  ".join(parts)


def _each(standing: Standing) -> str:
    """The return of each device, or how they spread."""
    if len(standing.steps) <= DEVICES_IN_LINE:
        return "  ".join(f"{device} {_mean(standing, device)}" for device in standing.steps)
    means = sorted(fmean(returns) for returns in standing.returns.values() if returns)
    if not means:
        return f"{len(standing.steps):,} devices"
    low, middle, high = means[0], means[len(means) // 2], means[-1]
    return f"{len(standing.steps):,} devices, {low:.1f} to {high:.1f}, median {middle:.1f}"


def _mean(standing: Standing, device: str) -> str:
    returns = standing.returns[device]
    return f"{fmean(returns):.1f}" if returns else "-"


def _ms(latency_ms: float | None) -> str:
    return "-" if latency_ms is None else f"{latency_ms:.1f} ms"
