"""What a rule sees: a cause of an alert, and which alert that is."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec import Struct

if TYPE_CHECKING:
    from hub.facts import AlertRaised


class Rule(StrEnum):
    """What is noticed; the names stand in the log, on topics and in metrics."""

    SILENT = "silent"
    SAME_ID = "same_id"
    FALLING = "falling"
    LAG = "lag"
    PAUSED = "paused"
    FAILING = "failing"
    NOT_READY = "not_ready"
    DISK = "disk"
    CLOCK = "clock"
    DAMAGE = "damage"
    ARCHIVE = "archive"


DO: Final = {
    Rule.SILENT: "see whether it has power and its network; 'sheepfold device forget' it if it is "
    "gone for good, or give its agent a --silent-s that is long enough (an episode ends then)",
    Rule.SAME_ID: "see whether two devices have one id, as copies of one card do: give each its "
    "own, 'sheepfold device add' and 'key create --device'; where all came from one address it may "
    "be one device that keeps losing its line or starting anew: look at its network and power",
    Rule.FALLING: "look at its curve and at what changed (devices, rewards); 'sheepfold policy "
    "rollback' brings an older version back; clearing the curve takes what it earns now as usual",
    Rule.LAG: "give it more processor time (--cpu-percent), a smaller network or fewer gradient "
    "steps; until then it learns from less than it sees",
    Rule.PAUSED: "read why; mend its policy or its --safety, then 'sheepfold agent resume' it",
    Rule.FAILING: "read what the hub prints, for it says why; it is started again by itself",
    Rule.NOT_READY: "'sheepfold doctor' says what is wrong; devices are told to come again",
    Rule.DISK: "free some, or keep less: retain_days, hot_days and policies_kept",
    Rule.CLOCK: "see that the machine keeps time (timedatectl); the log's order does not depend on "
    "it, its times do",
    Rule.DAMAGE: "look at the disk (smartctl, dmesg); put a segment back from a backup; 'sheepfold "
    "verify' says whether all is well again",
    Rule.ARCHIVE: "'sheepfold doctor' says more; until then the log's file grows",
}
ENDS: Final[dict[str, str]] = {
    Rule.SILENT: "heard again, or its agent waits for it no more",
    Rule.SAME_ID: "it was left alone since",
}
"""What ended it, where its text alone would read as if it were still so."""


class Subject(NamedTuple):
    """Which alert: one of each is open at most."""

    rule: str
    agent: str = ""
    """Empty = it is the hub's own."""
    device: str = ""
    """Empty = it is about all of the agent."""


class Cause(Struct, frozen=True):
    """What is not as it should be now."""

    subject: Subject
    says: str
    figures: dict[str, float]
    """All finite; a name ends in its unit."""
    raise_s: float = 0.0
    """It must have been there for so long."""
    clear_s: float = 0.0
    """And be gone for so long."""
    replaces: bool = False
    """It is a moment's, and told even where the alert is open and says something else: that is over
    then."""


def still(subject: Subject, raised: AlertRaised, *, clear_s: float = 0.0) -> Cause:
    """The cause of an open alert once more, where nothing says that it is gone."""
    return Cause(subject, raised.says, raised.figures, clear_s=clear_s)


def moment(at_us: int) -> str:
    """For a person, and still true when it is read later: `2026-11-29 14:05:09 UTC`."""
    at = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def span(seconds: float) -> str:
    """For a person: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
