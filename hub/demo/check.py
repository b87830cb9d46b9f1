"""Is every acknowledged step in the log? The devices' own lists against the `events` view. Pure.

A device that numbers its steps is looked up by (device, boot, step) and must be there once. One
that does not is looked up by its own count, which the log keeps in the payload; a repeat of such a
step is another arrival to the hub, so it may stand there more than once.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hub.simulate.progress import Acknowledged

SQL: Final = """
SELECT kind, device, boot, step, action, seq, CAST(payload ->> '$.n' AS BIGINT) AS n
FROM events WHERE kind IN ('observation', 'action') ORDER BY seq
"""
EXAMPLES_MAX: Final = 3
"""Steps named in the verdict; the rest is only counted."""

Place = tuple[str, int, int]
"""Device, boot and step, as the log has them."""


class LoggedStep(Struct, frozen=True):
    """One row of `SQL`."""

    kind: str
    device: str
    boot: int
    step: int
    action: list[float] | None
    seq: int
    n: int | None = None


class Verdict(Struct, frozen=True):
    """What the comparison found; the lists hold acknowledged steps."""

    acknowledged: int
    missing: list[Acknowledged]
    doubled: list[Acknowledged]
    differing: list[Acknowledged]
    """Another action, or another seq, than the device got."""

    @property
    def ok(self) -> bool:
        """Every acknowledged step is in the log as it was acknowledged."""
        return not (self.missing or self.doubled or self.differing)

    def __str__(self) -> str:
        found = self.acknowledged - len(self.missing)
        text = f"{found:,} of {self.acknowledged:,} acknowledged steps are in the log"
        if self.ok:
            return text + ", with the actions the devices got"
        for name in ("missing", "doubled", "differing"):
            steps: list[Acknowledged] = getattr(self, name)
            if steps:
                text += f"; {len(steps):,} {name}: {steps[:EXAMPLES_MAX]}"
        return text


def compare(acknowledged: Iterable[Acknowledged], logged: Iterable[LoggedStep]) -> Verdict:
    """Look every acknowledged step up among the rows of `SQL`."""
    observations: dict[Place, list[int]] = defaultdict(list)
    actions: dict[Place, list[float]] = {}
    arrivals: dict[tuple[str, int], list[Place]] = defaultdict(list)
    for row in logged:
        place = (row.device, row.boot, row.step)
        if row.kind == "action":
            actions[place] = row.action or []
            continue
        observations[place].append(row.seq)
        if row.n is not None:
            arrivals[row.device, row.n].append(place)

    count = 0
    missing, doubled, differing = [], [], []
    for step in acknowledged:
        count += 1
        if step.boot is None:
            # The last arrival is the one that was answered.
            places = arrivals[step.device, step.step][-1:]
        else:
            places = [(step.device, step.boot, step.step)]
        seqs = [seq for place in places for seq in observations.get(place, ())]
        if not seqs:
            missing.append(step)
        elif len(seqs) > 1:
            doubled.append(step)
        elif _differs(step, seqs[0], actions.get(places[0])):
            differing.append(step)
    return Verdict(count, missing, doubled, differing)


def _differs(step: Acknowledged, seq: int, logged: list[float] | None) -> bool:
    if step.seq not in (None, seq):
        return True
    match step.action:
        case None:
            return False  # the episode was over, or the device was told to choose for itself
        case int(choice):
            return logged != [float(choice)]
        case values:
            # The log keeps float32; JSON gave the device the same number in decimal.
            return (
                logged is None
                or len(logged) != len(values)
                or any(
                    abs(a - b) > 1e-6 * max(1.0, abs(a))
                    for a, b in zip(values, logged, strict=True)
                )
            )
