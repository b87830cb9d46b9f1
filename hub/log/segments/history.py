"""What is sealed, read in order: catch-up that reaches behind the hot file, and salvage.

    history = History(DATA / "segments")
    history.refresh()                                   # after each seal
    table = history.page(1, 16_384, agent=None, kinds=None)

A page takes from each file the row groups that its seqs touch. Agents share one count of seqs, so
a row group reaches over many pages: it is kept, decoded, until a page has passed its end.
A file is compared with its hash before its first use, so that no damage gets into the log.

One thread calls `page`; `refresh` may be called in another.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hub.log import columns
from hub.log.segments import files
from hub.log.segments.manifest import FILE_NAME, Manifest
from hub.log.segments.whole import NotThere, check_whole, reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hub.log.segments.manifest import Segment

CACHE_BYTES: Final = 128 << 20
"""Of decoded row groups; a reader of all agents needs one of each file of a seal."""
FILES_KNOWN_MAX: Final = 4096
"""Files whose row groups are remembered; a few numbers each."""


class _Group(NamedTuple):
    number: int
    first: int
    last: int


class _Seal(NamedTuple):
    """The retained files of one seal."""

    seq_last: int
    rows: list[Segment]
    secrets: list[Segment]


class _Sealed(NamedTuple):
    """What the manifest said when it was read."""

    hub: str | None
    begins: int
    seq_last: int
    seals: list[_Seal]
    ends: list[int]


class History:
    """The sealed part of one log.

    Args:
        folder: `DATA/segments`, which may be absent.
        cache_bytes: memory for decoded row groups.
    """

    def __init__(self, folder: Path, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._folder = folder
        self._sealed = _Sealed(None, 0, 0, [], [])
        self._version: tuple[int, int] | None = None
        self._groups: dict[str, list[_Group]] = {}
        self._decoded = _Decoded(cache_bytes)
        self._secrets: OrderedDict[str, pa.Table] = OrderedDict()

    def refresh(self) -> None:
        """Look whether something was sealed or dropped since.

        Raises:
            HubFault: the manifest is damaged.
        """
        try:
            stat = (self._folder / FILE_NAME).stat()
            version = (stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            version = None
        if version is None or version != self._version:
            self._sealed = _taken_from(Manifest.read(self._folder))
            self._version = version

    @property
    def hub(self) -> str | None:
        """Whose events these are; None when nothing is sealed."""
        return self._sealed.hub

    @property
    def begins(self) -> int:
        """Seq after which all that was sealed is there; before it only some was kept."""
        return self._sealed.begins

    @property
    def seq_first(self) -> int:
        """From here on all that was sealed is there."""
        return self._sealed.begins + 1

    @property
    def seq_last(self) -> int:
        """All events up to here are sealed, 0 = none."""
        return self._sealed.seq_last

    def page(
        self, first: int, last: int, agent: str | None, kinds: Sequence[int] | None
    ) -> pa.Table:
        """The sealed and retained events with seq `first`..`last`, by seq, in `columns.SCHEMA`.

        Raises:
            NotWhole: a file is damaged or gone; nothing of it was taken.
        """
        try:
            return self._page(first, last, agent, kinds)
        except NotThere:
            self.refresh()  # retention may have been at work: the manifest says so first
        return self._page(first, last, agent, kinds)

    def _page(
        self, first: int, last: int, agent: str | None, kinds: Sequence[int] | None
    ) -> pa.Table:
        parts, secrets = [], []
        for seal in self._seals(first, last):
            secrets += [segment for segment in seal.secrets if _touches(segment, first, last)]
            for segment in seal.rows:
                wanted = agent is None or files.agent_of(segment.path) == agent
                if wanted and _touches(segment, first, last):
                    parts += [part for part in self._parts(segment, first, last) if part.num_rows]
        self._decoded.forget_before(last)
        if not parts:
            return columns.SCHEMA.empty_table()
        table = pa.concat_tables(parts)
        if kinds is not None:
            kept = pc.is_in(table.column("kind"), pa.array(list(kinds), pa.uint8()))
            table = table.filter(kept)
        if len(parts) > 1:
            order = np.argsort(table.column("seq").to_numpy(), kind="stable")
            table = table.combine_chunks().take(pa.array(order))
        return self._with_secrets(table, secrets)

    def _seals(self, first: int, last: int) -> Iterator[_Seal]:
        sealed = self._sealed
        for i in range(bisect_left(sealed.ends, first), len(sealed.seals)):
            yield sealed.seals[i]
            if sealed.ends[i] >= last:
                return

    def _parts(self, segment: Segment, first: int, last: int) -> Iterator[pa.Table]:
        """What each row group of the file has of the seqs."""
        for group in self._groups_of(segment):
            if group.first <= last and group.last >= first:
                key = (segment.path, group.number)
                found = self._decoded.get(key)
                if found is None:
                    found = self._read(segment, [group.number])
                    self._decoded.put(key, found, group.last)
                start, end = np.searchsorted(found.seqs, [first, last + 1])
                yield found.table.slice(int(start), int(end - start))

    def _groups_of(self, segment: Segment) -> list[_Group]:
        groups = self._groups.get(segment.path)
        if groups is None:
            if len(self._groups) >= FILES_KNOWN_MAX:
                self._groups.clear()
            groups = self._groups[segment.path] = self._look_up_groups(segment)
        return groups

    def _look_up_groups(self, segment: Segment) -> list[_Group]:
        check_whole(self._folder, segment)
        with reading(segment):
            metadata = pq.read_metadata(self._folder / segment.path)
            assert metadata.schema.column(0).name == "seq", "as files.COLUMNS has it"
            ranges = [
                metadata.row_group(i).column(0).statistics for i in range(metadata.num_row_groups)
            ]
            return [_Group(i, seqs.min, seqs.max) for i, seqs in enumerate(ranges)]

    def _read(self, segment: Segment, groups: list[int]) -> _Rows:
        with reading(segment):
            file = files.read(self._folder / segment.path, groups)
            table = files.rows(file, files.agent_of(segment.path)).combine_chunks()
            return _Rows(table, table.column("seq").to_numpy())

    def _with_secrets(self, table: pa.Table, segments: list[Segment]) -> pa.Table:
        if not segments:
            return table
        secrets = pa.concat_tables([self._secrets_of(segment) for segment in segments])
        at = pc.index_in(table.column("seq"), secrets.column("seq"))
        column = secrets.column("secret").take(at)
        return table.set_column(table.schema.get_field_index("secret"), "secret", column)

    def _secrets_of(self, segment: Segment) -> pa.Table:
        table = self._secrets.get(segment.path)
        if table is None:
            check_whole(self._folder, segment)
            with reading(segment):
                table = pq.read_table(self._folder / segment.path, use_threads=False)
            self._secrets[segment.path] = table
            if len(self._secrets) > len(self._sealed.seals[:4]):
                self._secrets.popitem(last=False)
        return table


class _Rows(NamedTuple):
    """A decoded row group."""

    table: pa.Table
    seqs: NDArray[np.int64]


class _Decoded:
    """Decoded row groups, those used last, within a bound."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, int], tuple[_Rows, int, int]] = OrderedDict()

    def get(self, key: tuple[str, int]) -> _Rows | None:
        if key not in self._kept:
            return None
        self._kept.move_to_end(key)
        return self._kept[key][0]

    def put(self, key: tuple[str, int], found: _Rows, seq_last: int) -> None:
        size = int(found.table.nbytes)
        self._kept[key] = (found, seq_last, size)
        self._bytes += size
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            _, (_, _, size) = self._kept.popitem(last=False)
            self._bytes -= size

    def forget_before(self, seq: int) -> None:
        """Readers go forward: what ends here has been read."""
        for key in [key for key, (_, last, _) in self._kept.items() if last <= seq]:
            self._bytes -= self._kept.pop(key)[2]


def _taken_from(manifest: Manifest) -> _Sealed:
    seals = [_Seal(seal.seq_last, [], []) for seal in manifest.seals]
    ends = [seal.seq_last for seal in seals]
    for segment in manifest.retained:  # those kept of dropped ones stand in their seal's place
        at = bisect_left(ends, segment.seq_first)
        if at < len(seals):
            seal = seals[at]
            (seal.secrets if files.is_secrets(segment) else seal.rows).append(segment)
    return _Sealed(
        hub=manifest.seals[0].hub if seals else None,
        begins=manifest.dropped_upto,
        seq_last=manifest.seq_last,
        seals=seals,
        ends=ends,
    )


def _touches(segment: Segment, first: int, last: int) -> bool:
    return segment.seq_first <= last and segment.seq_last >= first
