"""Runs that take hours: kept in a file as they are made, and gone on with where they were stopped.

options = long_run("tests.learning.sharing", list(CASES), seeds=20).parse_args(arguments)
runs = Runs(options.out / "sharing.json", Run, is_current=lambda made: …)
for case in in_time(wanting, options.minutes):
    runs.add(run(case))
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Made = TypeVar("Made", bound=msgspec.Struct)
Wanted = TypeVar("Wanted")


class Runs(Generic[Made]):
    """A file of runs.

    Args:
        path: of the file, which may be absent.
        kind: of a run.
        is_current: whether it counts; one of other parameters does not.

    Attributes:
        made: in the order in which they were.
    """

    def __init__(self, path: Path, kind: type[Made], is_current: Callable[[Made], bool]) -> None:
        self._path = path
        self.made: list[Made] = []
        if path.exists():
            runs = msgspec.json.decode(path.read_bytes(), type=list[kind])  # type: ignore[valid-type]
            self.made = [made for made in runs if is_current(made)]

    def add(self, made: Made) -> None:
        """Keep a run; the file is whole at any time."""
        self.made.append(made)
        draft = self._path.with_suffix(".new")
        draft.write_bytes(msgspec.json.format(msgspec.json.encode(self.made), indent=1) + b"\n")
        draft.replace(self._path)


def long_run(prog: str, names: Sequence[str], *, seeds: int) -> argparse.ArgumentParser:
    """What can be said to all of them."""
    parser = argparse.ArgumentParser(prog=prog)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="then stop")
    parser.add_argument("--seeds", type=int, default=seeds, help="of each, at most")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--out", type=Path, default=Path("bench"))
    return parser


def in_time(wanted: Iterable[Wanted], minutes: float) -> Iterator[Wanted]:
    """Each of them, until the time is over."""
    until = time.perf_counter() + 60 * minutes
    for one in wanted:
        if time.perf_counter() > until:
            return
        yield one
