"""Opening a log: what stands in its folder, and what of it the file has to take in first.

    hot file ◀── segments        what it lacks of what is sealed
             ◀── a broken file   what still reads of one that was moved aside
             ◀── journal         the newest commits

Then what is there is held against what was acknowledged (`stock.take`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from hub.errors import HubFault, LogUnavailable
from hub.log import rotate, salvage, stock
from hub.log.acknowledged import Acknowledged
from hub.log.journal import FILE_NAME as JOURNAL
from hub.log.journal import Journal
from hub.log.payload_keys import FOLDER as KEYS
from hub.log.payload_keys import PayloadKeys
from hub.log.segments.history import History
from hub.log.segments.manifest import FOLDER as SEGMENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.log.duck import DuckFile
    from hub.log.journal import Left
    from hub.settings import LogSettings


class State(Struct, frozen=True):
    """Where the log stands."""

    last_seq: int
    """Of the last event that is there."""
    next_seq: int
    """Of the next event; higher than `last_seq` + 1 after numbers were lost."""
    epoch: int
    damage: str | None
    """What was lost or moved aside when it was opened, for a person to read."""


class Parts(NamedTuple):
    """What an open log is made of."""

    file: DuckFile
    acknowledged: Acknowledged
    journal: Journal
    history: History
    keys: PayloadKeys
    hub: str
    """Id of the log's hub."""
    begins: int
    """Seq after which the file begins."""
    state: State


def open_parts(
    folder: Path,
    settings: LogSettings,
    clock: Clock,
    new_hub: Callable[[], str],
    random_bytes: Callable[[int], bytes],
) -> Parts:
    """Open all of it, mend what is broken, and take into the file what only the others have.

    Raises:
        LogDamaged: a block that is broken shows only now.
        LogUnavailable: it can't be opened now.
    """
    mark = Acknowledged.read(folder)
    history = History(folder / SEGMENTS)
    opened = salvage.open_file(folder, settings, clock)
    file, damage = opened.file, opened.damage
    rotate.clean(folder)
    acknowledged = 0 if mark is None else mark.seq
    keys = PayloadKeys(folder / KEYS, random_bytes)
    try:
        _clean(keys)
        damage += _look(history, file)
        given = (mark and mark.hub) or history.hub or _hub_of(opened, settings) or new_hub()
        meta = stock.make_or_upgrade(file, given, history.begins)
        begins = int(meta.get("upto", "0"))
        _check_same_hub(folder, meta["hub"], history)
        damage += stock.fill(file, history, begins)
        if opened.broken is not None:
            last = max(acknowledged, history.seq_last)
            damage += stock.fill_from_broken(file, opened.broken, settings, last)
        left = Journal.read(folder, meta["hub"])
        last = stock.fill_from_journal(file, left.entries, begins)
        stock.check_versions(file)
        if stock.given(file, last) < acknowledged:
            damage += _kept_aside(folder / JOURNAL, left, last, clock)
        if begins > history.seq_last:
            damage.append(
                f"events {history.seq_last + 1} to {begins} are sealed, and the manifest of "
                f"{folder / SEGMENTS} does not say so; put it back from a backup"
            )
        found = stock.take(file, begins, acknowledged, damage, clock)
        journal = Journal.open(folder, meta["hub"])
    except HubFault:
        file.abandon()
        raise
    side_file = Acknowledged.open(folder, meta["hub"])
    side_file.write(found.next_seq - 1)
    salvage.salvaged(folder)
    state = State(found.last_seq, found.next_seq, found.epoch, "; ".join(damage) or None)
    return Parts(file, side_file, journal, history, keys, meta["hub"], begins, state)


def _hub_of(opened: salvage.Opened, settings: LogSettings) -> str | None:
    """Whose log the folder holds, if its broken file is all that says so."""
    broken = opened.broken
    return None if broken is None else salvage.hub_of_broken(broken, settings)


def _look(history: History, file: DuckFile) -> list[str]:
    """Read the manifest; what is wrong with it, for a person.

    Raises:
        LogUnavailable: it is damaged, and there is no file that could stand for the log.
    """
    try:
        history.refresh()
    except HubFault as fault:
        if not file.meta():
            raise LogUnavailable(f"{fault}; put it back from a backup") from fault
        return [f"{fault}; nothing is sealed until it is put back from a backup"]
    return []


def _kept_aside(path: Path, left: Left, last: int, clock: Clock) -> list[str]:
    """Copy a journal that ends too early before it is written on; for a person, where that is.

    Raises:
        LogUnavailable: it can't be copied.
    """
    if not path.exists():
        return []
    try:
        aside = salvage.keep_aside(path, clock)
    except OSError as error:
        raise LogUnavailable(f"{path} can't be kept aside: {error}") from error
    return [f"the journal holds nothing after event {last} (ends: {left.ends}); a copy is {aside}"]


def _clean(keys: PayloadKeys) -> None:
    try:
        keys.clean()
    except OSError as error:
        raise LogUnavailable(f"a key that was destroyed can't be removed: {error}") from error


def _check_same_hub(folder: Path, hub: str, history: History) -> None:
    if history.hub not in (None, hub):
        raise LogUnavailable(
            f"{folder / SEGMENTS} holds segments of hub {history.hub}, and the log is hub {hub}'s; "
            "put one of them elsewhere"
        )
