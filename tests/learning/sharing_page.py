"""The generated half of `docs/sharing.md`: what the runs in `bench/` come to, beside the aims.

python -m tests.learning.sharing_page       # writes it anew

The aims are those that the project set itself before it had any figure of its own.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from tests.bench.table import table
from tests.learning.joining import NEWCOMERS, WAYS, Joined, joined_share
from tests.learning.sharing import CASES, MODES, Book

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.learning.joining import Share
    from tests.learning.sharing import Mode, Verdict

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "sharing.md"
BEGIN: Final = "<!-- generated from bench/sharing.json and bench/joining.json -->"
END: Final = "<!-- end of what is generated -->"
SEEDS_MIN: Final = 5
"""Fewer say nothing about a bound."""
BEYOND: Final = 0.10
"""The bound may be so much further than the aim."""
AIMS: Final = {
    "alike": 0.54,
    "one reversed": 0.60,
    "pole lengths": 0.75,
    "Pendulum": 0.63,
    "one paid at random": 1.05,
    "one paid the reverse": 1.05,
}
"""Shares of the steps that are needed beside, of one policy for all."""
NONE_FAILS: Final = ("alike", "one reversed")
"""With one policy; elsewhere no more may fail than alone."""
ADVICE_AIM: Final = 1.05
JOINING_AIM: Final = 0.80
NAMES: Final[dict[Mode, str]] = {
    "shared": "one policy, `guard=off`",
    "guarded": "one policy",
    "advice": "advice",
    "random advice": "advice as Shepherd",
    "lone": "alone",
}


def generated(book: Book, joined: Sequence[Joined]) -> str:
    """Both tables."""
    heads = ["case", "way", "seeds", "steps", "share", "90 % bound", "failed", "aim", "reached"]
    rows = [
        _row(name, mode, one, book)
        for name, mode in product(CASES, MODES)
        if mode != "lone" and (one := book.verdict(name, mode)) is not None
    ]
    newcomers = [
        _joined_row(newcomer, mode, share)
        for newcomer, mode in product(NEWCOMERS, WAYS)
        if (share := joined_share(joined, newcomer, mode)) is not None
    ]
    late = ["newcomer", "way", "seeds", "its return", "the peers'", "share", "90 % bound"]
    late += ["aim", "reached"]
    return "\n".join([*table(heads, rows), "", *table(late, newcomers)])


def with_generated(page: str, text: str) -> str:
    """The page with that in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def runs(folder: Path) -> tuple[Book, list[Joined]]:
    """What was run."""
    joined = msgspec.json.decode((folder / "joining.json").read_bytes(), type=list[Joined])
    return Book(folder / "sharing.json"), joined


def _row(name: str, mode: Mode, one: Verdict, book: Book) -> list[str]:
    aim = AIMS.get(name) if mode in ("shared", "guarded") else ADVICE_AIM
    if mode == "random advice":
        aim = None
    honest = sum(replica.pay == "true" for replica in CASES[name].replicas)
    reached = aim is not None and one.share <= aim and one.bound <= aim + BEYOND
    fail = 0 if name in NONE_FAILS and mode != "advice" else one.lone_failed
    reached = reached and one.failed <= fail
    if mode == "advice":
        shepherds = book.verdict(name, "random advice")
        reached = reached and shepherds is not None and one.share <= shepherds.share
    return [
        name,
        NAMES[mode],
        str(one.seeds),
        f"{one.steps:,.0f} of {one.lone_steps:,.0f}",
        f"{one.share:.0%}",
        f"{one.bound:.0%}",
        f"{one.failed} of {one.seeds * honest}, beside {one.lone_failed}",
        "" if aim is None else f"{aim:.0%}",
        _judged(aim, one.seeds, reached=reached),
    ]


def _joined_row(newcomer: str, mode: Mode, one: Share) -> list[str]:
    aim = JOINING_AIM if (newcomer, mode) == ("alike", "guarded") else None
    reached = aim is not None and one.share >= aim and one.bound >= aim - BEYOND
    return [
        newcomer,
        NAMES[mode],
        str(one.seeds),
        f"{one.joiner:.0f}",
        f"{one.peers:.0f}",
        f"{one.share:.0%}",
        f"{one.bound:.0%}",
        "" if aim is None else f"{aim:.0%}",
        _judged(aim, one.seeds, reached=reached),
    ]


def _judged(aim: float | None, seeds: int, *, reached: bool) -> str:
    if aim is None:
        return ""
    if seeds < SEEDS_MIN:
        return "too few seeds"
    return "yes" if reached else "**no**"


def main() -> int:
    """Write it."""
    PAGE.write_text(with_generated(PAGE.read_text(), generated(*runs(ROOT / "bench"))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
