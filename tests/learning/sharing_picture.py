"""What replicas gain, as a picture: of each case the share of a lone learner's steps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from matplotlib.figure import Figure

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

INCHES: Final = (8.0, 4.5)
PNG_DPI: Final = 150


def draw(shares: Mapping[str, tuple[float, float]], folder: Path) -> list[Path]:
    """Write `sharing.png` and `sharing.svg` and return their paths.

    Args:
        shares: of each case the share, and what it is below at 90 %.
        folder: is there.
    """
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.add_subplot()
    names = list(shares)
    found = [share for share, _ in shares.values()]
    above = [bound - share for share, bound in shares.values()]
    axes.barh(names, found, xerr=[[0.0] * len(above), above], capsize=3, height=0.6)
    axes.axvline(1.0, linestyle=":", color="gray", label="alone")
    axes.invert_yaxis()
    axes.set_xlabel("steps of a device, of a lone one's or those said (whisker: 90 % bound)")
    axes.legend()
    paths = [folder / f"sharing.{suffix}" for suffix in ("png", "svg")]
    for path in paths:
        figure.savefig(path, dpi=PNG_DPI, metadata={"Date": None} if path.suffix == ".svg" else {})
    return paths
