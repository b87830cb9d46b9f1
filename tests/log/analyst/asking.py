"""What one kind of people may see, asked without the processes around it.

with Asked(tmp_path) as analyst:            # an admin; Asked(tmp_path, {"walker"}) an owner
    analyst.append(steps(1, 3))             # newer than all files
    analyst.seal()                          # in a file
    analyst.rows("SELECT * FROM events")
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any, Self

import msgspec
import pyarrow as pa

from hub.log import columns
from hub.log.analyst.instance import Instance, Surroundings
from hub.log.analyst.results import WRITERS
from hub.log.analyst.sealed import SealedFiles
from hub.log.segments.manifest import Dropped, Manifest, Seal
from hub.log.segments.write import write

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from hub.log.analyst.messages import ResultForm
    from hub.words import Event

HUB = "0123456789ab"
MEMORY_MB = 64


class Asked:
    """An instance, and the log it is fed from.

    Args:
        data: the data folder.
        agents: whose rows; None = all.
    """

    def __init__(self, data: Path, agents: Collection[str] | None = None) -> None:
        self.data = data
        self.segments = data / "segments"
        self.files = SealedFiles(self.segments)
        self._agents = None if agents is None else frozenset(agents)
        self._events: list[Event] = []
        self.instance = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.instance.close()

    def _open(self) -> Instance:
        around = Surroundings(
            HUB, self.segments, self.data / "keys", self.data / "spill", MEMORY_MB, threads=2
        )
        return Instance.open(around, self._agents, self.files.look())

    def append(self, events: Sequence[Event]) -> None:
        """The log gets more events, and so does the instance."""
        first = len(self._events) + 1
        self._events += events
        rows = pa.Table.from_batches([columns.to_batch(list(events), first)])
        self.instance.add(rows, len(self._events))

    def seal(self) -> None:
        """All events so far are in files; an instance that may not reach them is replaced."""
        seal(self.segments, self._events)
        self.look()

    def look(self) -> None:
        """As before a query."""
        shelf = self.files.look()
        if not self.instance.reaches(shelf):
            self.reopen()
        self.instance.rely_on_files(shelf)

    def reopen(self) -> None:
        """As after a restart, but for the tail."""
        self.instance.close()
        self.instance = self._open()
        self.instance.rely_on_files(self.files.look())

    def ask(self, sql: str, form: ResultForm = "json") -> bytes:
        """The result."""
        with (
            closing(self.instance.statement()) as statement,
            closing(statement.run(sql, rows=2048)) as result,
        ):
            writer = WRITERS[form](result.schema)
            return writer.head() + b"".join(map(writer.rows, result)) + writer.end()

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The result's rows."""
        return [msgspec.json.decode(line) for line in self.ask(sql).splitlines()]


def seal(segments: Path, events: Sequence[Event]) -> None:
    """Seal what is not sealed of these events, whose seqs count from 1."""
    segments.mkdir(exist_ok=True)
    manifest = Manifest.read(segments)
    first = manifest.seq_last + 1
    batch = columns.to_batch(list(events[first - 1 :]), first)
    if batch.num_rows:
        written = write(pa.Table.from_batches([batch]), segments, HUB)
        manifest.add(
            Seal(HUB, first, len(events), batch.num_rows, [], 0, 0, written, manifest.previous)
        )


def drop(segments: Path, agent: str) -> None:
    """Retention: the agent's files go."""
    manifest = Manifest.read(segments)
    paths = [segment.path for segment in manifest.retained if segment.agent == agent]
    manifest.add(Dropped(paths, manifest.seq_last, 0, manifest.previous))
    for path in paths:
        (segments / path).unlink()
