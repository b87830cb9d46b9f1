"""What is in the file that was just opened, and what should be: filled up, counted, said.

Everything here inserts rows that have their seqs already, or a row of `epochs`; nothing is changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from hub.errors import NEWER, LogUnavailable
from hub.log import columns
from hub.log.duck import SCHEMA_VERSION, DuckFile, sql
from hub.log.pages import PageSize
from hub.log.salvage import last_of_broken, readable_pages
from hub.words import EVENT_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from hub.clock import Clock
    from hub.log.segments.history import History
    from hub.settings import LogSettings
    from hub.words import Event

PAGE_BYTES: Final = 16 << 20


class Stock(NamedTuple):
    """Where the file's log ends."""

    last_seq: int
    next_seq: int
    epoch: int


def make_or_upgrade(file: DuckFile, hub: str, begins: int) -> dict[str, str]:
    """What the file says of its log; it gets its tables when it has none, or those it lacks.

    Args:
        file: just opened.
        hub: id of the log, if it is new.
        begins: seq after which it is to begin, if it is new.

    Raises:
        LogUnavailable: a newer Sheepfold made it.
    """
    meta = file.meta()
    if not meta:
        file.make({"hub": hub, "schema": str(SCHEMA_VERSION), "upto": str(begins)})
        return file.meta()
    found = int(meta["schema"])
    if found > SCHEMA_VERSION:
        raise LogUnavailable(
            f"{file.path} has schema {found}, made by a newer Sheepfold; this one knows "
            f"{SCHEMA_VERSION} and older. {NEWER}"
        )
    for version in range(found + 1, SCHEMA_VERSION + 1):
        for statement in ("BEGIN", sql(f"upgrade_{version}"), "COMMIT"):
            file.run(statement)
        file.checkpoint()
    return file.meta()


def fill(file: DuckFile, history: History, begins: int) -> list[str]:
    """Take from segments what the file lacks; for a person, what that was."""
    (extent,) = file.table("extent", begins=begins).to_pylist()
    last = max(extent["last"], begins)
    taken = 0
    if extent["last"] == 0 and begins:  # what retention kept of dropped segments
        taken += _insert(file, history.page(1, begins, None, None))
    size = PageSize(PAGE_BYTES)
    while last < history.seq_last:
        first, last = last + 1, min(last + size.rows, history.seq_last)
        page = history.page(first, last, None, None)
        size.learn(last - first + 1, page.nbytes)
        taken += _insert(file, page)
    if taken:
        file.checkpoint()
        return [f"{taken} events up to {history.seq_last} were taken from the segments"]
    return []


def fill_from_broken(file: DuckFile, broken: Path, settings: LogSettings, last: int) -> list[str]:
    """Take what still reads of a file that was moved aside, after the end of this one.

    Args:
        file: to be filled.
        broken: to be read.
        settings: `[log]`.
        last: seq that it is known to reach at least.
    """
    last = max(last, last_of_broken(broken, settings))
    (extent,) = file.table("extent", begins=0).to_pylist()
    taken = sum(
        _insert(file, page) for page in readable_pages(broken, settings, extent["last"] + 1, last)
    )
    return [f"{taken} events were read from {broken}"] if taken else []


def fill_from_journal(file: DuckFile, entries: list[tuple[int, list[Event]]], begins: int) -> int:
    """Take what the file lacks; the last seq that there is then.

    Args:
        file: to be filled.
        entries: first seq and events of each commit, by seq.
        begins: seq after which the file begins; what came before is sealed.
    """
    (extent,) = file.table("extent", begins=begins).to_pylist()
    last = max(int(extent["last"]), begins)
    first = last + 1
    missing: list[Event] = []
    for entry_first, events in entries:
        new = events[max(0, last + 1 - entry_first) :]
        if new and entry_first > last + 1:  # a hole, and so another batch
            _insert_events(file, first, missing)
            first, missing = entry_first, []
        missing += new
        last = max(last, entry_first + len(events) - 1)
    _insert_events(file, first, missing)
    return last


def _insert_events(file: DuckFile, first: int, events: list[Event]) -> None:
    """One commit of all: of thousands of one step each, a start would take seconds."""
    if events:
        file.insert(columns.to_batch(events, first))


def check_versions(file: DuckFile) -> None:
    """Refuse events that this version would misread; the file has all that there is.

    Raises:
        LogUnavailable: a newer Sheepfold wrote one.
    """
    (newest,) = file.table("newest").to_pylist()
    if newest["version"] > EVENT_VERSION:
        raise LogUnavailable(
            f"event {newest['seq']} has version {newest['version']}, written by a newer Sheepfold; "
            f"this one knows {EVENT_VERSION} and older. {NEWER}"
        )


def given(file: DuckFile, last: int) -> int:
    """The last seq that was given, as far as the file knows, which ends with `last`.

    What was lost before and said then counts: those seqs are not given again.
    """
    (epochs,) = file.table("epochs", first=1, last=last).to_pylist()
    return max(int(epochs["given"]), last)


def take(file: DuckFile, begins: int, acknowledged: int, damage: list[str], clock: Clock) -> Stock:
    """Compare what is there with what was acknowledged; begin a new epoch if it is less.

    Args:
        file: filled up.
        begins: seq after which it begins.
        acknowledged: last seq that was, 0 = unknown.
        damage: what was found already; what is lost is added, and dated in `epochs`.
        clock: dates the epoch.
    """
    (extent,) = file.table("extent", begins=begins).to_pylist()
    last = max(extent["last"], begins)
    epochs = file.table("epochs", first=begins + 1, last=last).to_pylist()[0]
    epoch = epochs["epoch"]
    if extent["rows"] != last - begins - epochs["lost"]:
        for hole in file.table("holes", begins=begins).to_pylist():
            epoch += 1
            lost = f"events {hole['lost_first']} to {hole['seq_first'] - 1} are gone"
            damage.append(lost)
            _begin_epoch(file, epoch, hole, damage, clock)
    given = max(epochs["given"], last)
    if acknowledged > given:
        damage.append(
            f"events {given + 1} to {acknowledged} were acknowledged and are gone; the next is "
            f"{acknowledged + 1}. Restore a backup beside this log to look for them"
        )
        epoch += 1
        hole = {"lost_first": given + 1, "seq_first": acknowledged + 1}
        _begin_epoch(file, epoch, hole, damage, clock)
        given = acknowledged
    return Stock(last, given + 1, epoch)


def _begin_epoch(
    file: DuckFile, epoch: int, hole: dict[str, Any], damage: list[str], clock: Clock
) -> None:
    file.run(
        sql("add_epoch"),
        epoch=epoch,
        began=clock.now_us(),
        lost_first=hole["lost_first"],
        seq_first=hole["seq_first"],
        reason="; ".join(damage),
    )


def _insert(file: DuckFile, page: pa.Table) -> int:
    file.insert_table(page)
    return int(page.num_rows)
