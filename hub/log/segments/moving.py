"""A stopped hub goes to another machine: all that it is in one folder, and its old place says so.

    move(data, target)              # `restore(target, elsewhere, fill)` goes on from there

Unlike a backup it takes the keys of what devices sent besides numbers along.

Rule 1: the old place is given up last, when all of it is in the new one: killed before, it still is
    the hub, and the move can be done again.
Rule 2: nothing of the old place is taken away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from hub.errors import OperatorFault
from hub.log.moved import FILE_NAME, Moved, check_not_moved, read_moved
from hub.log.segments import backup
from hub.log.segments.manifest import append_lines, sync_folder
from hub.log.segments.told import nobody

if TYPE_CHECKING:
    from pathlib import Path

    from hub.log.segments.told import Told


def move(data: Path, target: Path, told: Told = nobody) -> backup.Backup:
    """Copy all of it durably, and give the old place up.

    Args:
        data: the data folder; no hub runs on it, and all that it has is sealed.
        target: absent, empty, or an earlier backup of this log; once moved, only where it went.
        told: hears how far it is.

    Raises:
        OperatorFault: it was moved to another folder already, or would go into itself.
        OperatorFault, HubFault, OSError: as `backup.backup`.
    """
    went = read_moved(data)
    if went is not None and went.to != str(target.resolve()):
        check_not_moved(data)
    if target.resolve().is_relative_to(data.resolve()):
        raise OperatorFault(f"{target} is inside the folder that is moved; choose one outside it")
    made = backup.backup(data, target, told)
    keys = backup.copy_keys(data, target)
    draft = data / f"{FILE_NAME}.new"
    draft.unlink(missing_ok=True)
    append_lines(draft, [msgspec.json.encode(Moved(str(target.resolve()), made.seq_last))])
    draft.rename(data / FILE_NAME)
    sync_folder(data)
    return structs.replace(made, keys=keys)
