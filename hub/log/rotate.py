"""A new hot file without the events that are sealed: how the file stays small.

    draft = Draft.begin(log, upto, settings)    # in the reading thread, however long it takes
    draft.finish(log)                           # in the writing thread, between two commits

    old file   ░░░░░░░░░░░░░░░░░▓▓▓▓▓▓▓▓│▒▒    ░ sealed, up to `upto`  ▓ kept  ▒ came meanwhile
    new file   · ·   ·       · ·▓▓▓▓▓▓▓▓│▒▒    · what recovery needs of the sealed ones

Rule 1: only what is in sealed segments is left behind.
Rule 2: the new file gets its name when it is whole and closed. A crash before that leaves the old
    one in force, a crash after it the new one: the file that begins last counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self

from hub.errors import HubFault, LogUnavailable
from hub.log.duck import SCHEMA_VERSION, DuckFile, sql, wal_of
from hub.log.pages import PageSize
from hub.log.resume import carried
from hub.log.salvage import FILE_NAME, newest, rotated_path
from hub.log.segments.manifest import sync_folder
from hub.log.upcast import upcast

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.log.store import DuckLog
    from hub.settings import LogSettings

DRAFT: Final = "next.duckdb"
PAGE_BYTES: Final = 16 << 20
REST_ROWS: Final = 4096
"""What is left to be copied while commits wait: a few ms."""
CHECKPOINT_BYTES: Final = 64 << 20


class Draft:
    """The new file while it is being filled."""

    def __init__(self, file: DuckFile, settings: LogSettings, upto: int) -> None:
        self._file = file
        self._settings = settings
        self._upto = upto
        self._last = upto
        self._page_size = PageSize(PAGE_BYTES)
        """Up to here it has what the old one has."""

    @classmethod
    def begin(
        cls,
        log: DuckLog,
        upto: int,
        settings: LogSettings,
        *,
        stop: Callable[[], bool] = lambda: False,
    ) -> Self:
        """Fill a new file with all but what is committed during the last moments.

        Args:
            log: the open one.
            upto: the new file begins after it; sealed, and more than the old file's.
            settings: `[log]`.
            stop: the log is being closed, it is not worth going on.

        Raises:
            LogUnavailable: it can't be done now, and nothing has changed.
        """
        assert log.begins < upto <= log.history.seq_last, "only what is sealed is left behind"
        log.settle()  # what is carried along is read from the file
        folder = log.file.path.parent
        remove(folder / DRAFT)
        draft = cls(DuckFile.open(folder / DRAFT, settings), settings, upto)
        try:
            draft._fill(log, stop)
        except HubFault:
            draft._file.abandon()
            remove(folder / DRAFT)
            raise
        return draft

    def finish(self, log: DuckLog) -> None:
        """Copy the rest and put the new file in the old one's place.

        Raises:
            LogUnavailable: the old one is still in force; open the log again.
        """
        with log.filing:
            log.settle()  # else it would come into the new file twice
            self._finish(log)

    def _finish(self, log: DuckLog) -> None:
        old, folder = log.file, log.file.path.parent
        self._copy(log, log.last_seq)
        self._file.checkpoint()
        self._file.close()
        if wal_of(folder / DRAFT).exists():
            # DuckDB says nothing of a checkpoint that fails on closing, and what is in the
            # write-ahead log would stay behind under the draft's name.
            raise LogUnavailable("the new file could not be completed; is the disk full?")
        path = rotated_path(folder, self._upto)
        (folder / DRAFT).rename(path)
        sync_folder(folder)  # CRUCIAL: before the old file goes
        log.file = DuckFile.open(path, self._settings)
        log.begins = self._upto
        old.abandon()
        remove(old.path)

    def _fill(self, log: DuckLog, stop: Callable[[], bool]) -> None:
        self._make(log)
        while self._last + REST_ROWS < log.last_seq:
            if stop():
                raise LogUnavailable("the log is being closed")
            self._copy(log, min(self._last + self._page_size.rows, log.last_seq))
            if self._file.wal_bytes > CHECKPOINT_BYTES:
                self._file.checkpoint()
        self._file.checkpoint()

    def _make(self, log: DuckLog) -> None:
        file, old = self._file, log.file
        file.make({"hub": log.hub, "schema": str(SCHEMA_VERSION), "upto": str(self._upto)})
        rows, running = carried(log, self._upto)
        file.insert_table(upcast(rows, log.keys))
        for row in running.to_pylist():
            file.run(sql("carry"), **row)
        for epoch in old.table("all_epochs").to_pylist():
            file.run(sql("add_epoch"), **epoch)

    def _copy(self, log: DuckLog, last: int) -> None:
        if last > self._last:
            page = log.rows(self._last + 1, last, None, None, reveal=False)
            self._page_size.learn(last - self._last, page.nbytes)
            self._file.insert_table(page)
        self._last = last


def clean(folder: Path) -> None:
    """Remove what a crash during a rotation left: drafts, and files that were replaced."""
    remove(folder / DRAFT)
    current = newest(folder)
    for path in (folder / FILE_NAME, *folder.glob("log-*.duckdb")):
        if path != current and current.exists():
            remove(path)


def remove(path: Path) -> None:
    """Delete a DuckDB file, its write-ahead log first: alone it would be taken for a log."""
    wal_of(path).unlink(missing_ok=True)
    path.unlink(missing_ok=True)
