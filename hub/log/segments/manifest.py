"""`DATA/segments/manifest.jsonl`: which events are in which files, one line a seal.

    DATA/segments/manifest.jsonl
    DATA/segments/hub=3f2a…/agent=walker/day=2026-11-21/00000000000000000001-00000000000001000000.parquet
    DATA/segments/hub=3f2a…/agent=_hub/day=2026-11-21/….parquet      events of no agent
    DATA/segments/hub=3f2a…/agent=_hub/day=2026-11-21/….secrets      seq and secret, of all agents

Rule 1: seals join: the next one's `seq_first` is this one's `seq_last` + 1, from 1. With the rows
    of each they prove that nothing is missing.
Rule 2: a line is written when its files are on disk, whole, under their names. A file without a
    line is what a crash left, and nobody reads it.
Rule 3: each line holds the hash of the line before it: none can be changed or taken out unseen.
Rule 4: lines are only ever added; files dropped by retention or merged are said to be so.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.errors import HubFault

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

FOLDER: Final = "segments"
FILE_NAME: Final = "manifest.jsonl"
HUB: Final = "_hub"
"""Stands for events of no agent; no agent can be called so."""


class Segment(Struct, frozen=True):
    """One file."""

    path: str
    """Below `DATA/segments`."""
    agent: str
    """As in the path: `_hub` for events of no agent."""
    day: str
    """Of the hub's clock, UTC, `2026-11-21`."""
    rows: int
    seq_first: int
    seq_last: int
    bytes: int
    sha256: str


class Seal(Struct, frozen=True, tag="seal"):
    """All events of a range of seqs are in these files."""

    hub: str
    seq_first: int
    seq_last: int
    rows: int
    """`seq_last` - `seq_first` + 1, but for `missing`."""
    missing: list[tuple[int, int]]
    """Seqs that were lost before the log was sealed (epochs), first and last of each range."""
    ts_last: int
    """Latest of the events' times, microseconds since 1970 UTC."""
    made: int
    """Microseconds since 1970 UTC."""
    segments: list[Segment]
    previous: str
    """SHA-256 of the line before this one; of nothing for the first."""


class Dropped(Struct, frozen=True, tag="dropped"):
    """Retention removed these files; their events are gone."""

    paths: list[str]
    seq_last: int
    """Only events up to here are among them."""
    made: int
    previous: str
    kept: list[Segment] = []
    """Files with those of the events that are still needed: what declares agents, say."""


Entry = Seal | Dropped

_decode: Final = msgspec.json.Decoder(Entry).decode
encode: Final = msgspec.json.Encoder().encode
"""An entry as its line has it."""


class Manifest:
    """What the file said when it was read.

    Args:
        folder: `DATA/segments`, which may be absent.
        entries: in order.
    """

    def __init__(self, folder: Path, entries: list[Entry], previous: str) -> None:
        self.folder = folder
        self.entries = entries
        self.previous = previous
        """SHA-256 of the last line: what the next one must hold."""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read it; empty when there is none. A torn last line is a crash's and counts as absent.

        Raises:
            HubFault: a line is not one, or does not hold the hash of the one before.
        """
        try:
            text = (folder / FILE_NAME).read_bytes()
        except FileNotFoundError:
            text = b""
        return cls.parse(folder, text)

    @classmethod
    def parse(cls, folder: Path, text: bytes) -> Manifest:
        """The same of bytes that were read.

        Raises:
            HubFault: as `read`.
        """
        entries: list[Entry] = []
        previous = hashlib.sha256().hexdigest()
        whole = text[: text.rfind(b"\n") + 1]
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = _decode(line)
            except msgspec.DecodeError as error:
                raise HubFault(
                    f"{folder / FILE_NAME} line {number} is damaged, or a newer version's: {error}"
                ) from error
            if entry.previous != previous:
                raise HubFault(
                    f"{folder / FILE_NAME} line {number} does not follow the line before it: "
                    "one of them was changed or taken out"
                )
            entries.append(entry)
            previous = hashlib.sha256(line).hexdigest()
        return cls(folder, entries, previous)

    @property
    def seals(self) -> list[Seal]:
        """In order."""
        return [entry for entry in self.entries if isinstance(entry, Seal)]

    @property
    def seq_last(self) -> int:
        """All events up to this one are sealed; 0 = none."""
        return max((seal.seq_last for seal in self.seals), default=0)

    @property
    def retained(self) -> list[Segment]:
        """The files that are to be there, by seq."""
        gone = self.dropped
        sealed = [segment for seal in self.seals for segment in seal.segments]
        left = [segment for segment in sealed if segment.path not in gone]
        return sorted([*left, *self.kept], key=lambda segment: segment.seq_first)

    @property
    def dropped(self) -> set[str]:
        """Paths of the files that are gone, or go as soon as somebody looks."""
        return {
            path for entry in self.entries if isinstance(entry, Dropped) for path in entry.paths
        }

    @property
    def kept(self) -> list[Segment]:
        """Files that stand in for dropped ones."""
        dropped = [entry for entry in self.entries if isinstance(entry, Dropped)]
        return [segment for entry in dropped for segment in entry.kept]

    @property
    def dropped_upto(self) -> int:
        """Seq after which nothing was dropped; 0 = nothing was."""
        return max(
            (entry.seq_last for entry in self.entries if isinstance(entry, Dropped)), default=0
        )

    def sealed_before(self, before_us: int, now_us: int) -> int:
        """Seq up to which all events are sealed and were made before a time; 0 = none.

        Only a prefix counts: when the clock was set back, later events may be older. Times in
        the future were the clock's error, and hold up nothing.
        """
        upto = 0
        for seal in self.seals:
            if before_us <= seal.ts_last <= now_us:
                break
            upto = seal.seq_last
        return upto

    def add(self, entry: Entry) -> str:
        """Append the entry durably; its `previous` must be ours. Returns the line's SHA-256."""
        assert entry.previous == self.previous, "an entry follows the last line"
        line = encode(entry)
        append_lines(self.folder / FILE_NAME, [line])
        self.entries.append(entry)
        self.previous = hashlib.sha256(line).hexdigest()
        return self.previous


def append_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Add whole lines durably, all or none; what a torn write left behind is cut off first.

    Raises:
        OSError: nothing was added.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    added = b"".join(line + b"\n" for line in lines)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with open(fd, "r+b", buffering=0) as file:  # noqa: PTH123 - of the descriptor
        whole = file.read().rfind(b"\n") + 1
        file.truncate(whole)
        file.seek(whole)
        try:
            if file.write(added) != len(added):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fdatasync(fd)
        except OSError:
            file.truncate(whole)  # or its files would be taken away and the line stay
            raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable (fsync(2): a file's own fsync doesn't)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
