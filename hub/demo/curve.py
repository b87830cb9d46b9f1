"""The learning curve: episode returns over steps, for the terminal and as PNG and SVG.

The only door to plotext and matplotlib.
"""

from __future__ import annotations

from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING, Final

import plotext
from matplotlib.figure import Figure
from msgspec import Struct

from hub.simulate.standing import EPISODES_JUDGED, SOLVED_RETURN

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SQL: Final = 'SELECT steps, "return" AS total_reward FROM episodes ORDER BY ended'
WIDTH_COLUMNS: Final = 78
HEIGHT_ROWS: Final = 18
FIGURE_INCHES: Final = (8.0, 4.5)
PNG_DPI: Final = 150


class EndedEpisode(Struct, frozen=True):
    """One row of `SQL`."""

    steps: int
    total_reward: float


class Curve(Struct, frozen=True):
    """Three columns, one row an episode, in the order they ended."""

    steps: list[float]
    """Taken by all devices together when the episode had ended."""
    returns: list[float]
    means: list[float]
    """Of this and the episodes before it, `EPISODES_JUDGED` in all where there are so many."""


def trace(episodes: Sequence[EndedEpisode]) -> Curve:
    """The curve through these episodes."""
    curve = Curve([], [], [])
    window: deque[float] = deque(maxlen=EPISODES_JUDGED)
    total = 0
    for episode in episodes:
        total += episode.steps
        window.append(episode.total_reward)
        curve.steps.append(float(total))
        curve.returns.append(episode.total_reward)
        curve.means.append(fmean(window))
    return curve


def draw_in_terminal(curve: Curve) -> str:
    """The mean return over steps, in `HEIGHT_ROWS` lines of text without colours."""
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(WIDTH_COLUMNS, HEIGHT_ROWS)
    figure.title(f"mean return of {EPISODES_JUDGED} episodes, over thousands of steps")
    thousands = [steps / 1000 for steps in curve.steps]
    figure.draw(figure.signal(thousands, curve.means, marker="braille").lines())
    return str(figure.build().string(colorless=True))


def save(curve: Curve, folder: Path) -> list[Path]:
    """Write `curve.png` and `curve.svg` and return their paths."""
    figure = Figure(figsize=FIGURE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve.steps, curve.returns, ".", markersize=3, alpha=0.4, label="episode")
    axes.plot(curve.steps, curve.means, label=f"mean of {EPISODES_JUDGED}")
    axes.axhline(SOLVED_RETURN, linestyle=":", color="gray", label=f"solved: {SOLVED_RETURN:.0f}")
    axes.set_xlabel("steps of all devices")
    axes.set_ylabel("return")
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    paths = [folder / "curve.png", folder / "curve.svg"]
    for path in paths:
        figure.savefig(path, dpi=PNG_DPI)
    return paths
