"""A log that only answers Fetch, events of any kind, and a data folder with segments."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from hypothesis import strategies as st

from hub.frames import receive_frame
from hub.log import columns
from hub.log.address import listen
from hub.log.messages import Fetch, Rows, framed, from_reader, socket_path
from hub.log.segments.manifest import FILE_NAME, FOLDER, Manifest
from hub.log.segments.seal import seal
from hub.words import Event, Floats, Kind, Source
from tests.log.events import NOW_US

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from hub.log.segments.manifest import Seal

HUB_ID: Final = "3f2a00000001"
DAY_US: Final = 86_400_000_000


class ManualClock:
    """Stands still until it is set."""

    def __init__(self, now_us: int = NOW_US) -> None:
        self.us = now_us
        self.seconds = 0.0

    def now_us(self) -> int:
        return self.us

    def monotonic(self) -> float:
        return self.seconds

    def go_on(self, seconds: float) -> None:
        """Both hands."""
        self.us += int(seconds * 1_000_000)
        self.seconds += seconds


def table_of(events: Sequence[Event], *, lost: Sequence[int] = ()) -> pa.Table:
    """The log's rows, seqs from 1; those of `lost` are not there."""
    table = pa.Table.from_batches([columns.to_batch(events, 1)])
    return table.filter(pc.invert(pc.is_in(table.column("seq"), pa.array(lost, pa.int64()))))


class FakeLog:
    """Serves a table on `DATA/log.sock`, a few seqs a page; ends when told after `pages_max`."""

    def __init__(
        self,
        data: Path,
        table: pa.Table,
        *,
        last: int | None = None,
        page_rows: int = 7,
        pages_max: int = 1_000_000,
    ) -> None:
        self.table = table
        self.last = table.num_rows if last is None else last
        self._page_rows = page_rows
        self._pages_left = pages_max
        self._listening = listen(socket_path(data))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        while body := receive_frame(connection):
            wanted = from_reader.decode(body)
            assert isinstance(wanted, Fetch)
            if self._pages_left == 0:
                return
            self._pages_left -= 1
            last = min(wanted.after + self._page_rows, self.last)
            seqs = self.table.column("seq")
            page = self.table.filter(
                pc.and_(pc.greater(seqs, wanted.after), pc.less_equal(seqs, last))
            )
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, page.schema) as stream:
                stream.write_table(page)
            rows = Rows(wanted.after + 1, last, sink.getvalue().to_pybytes(), last >= self.last)
            connection.sendall(framed(rows))


def sealed(
    data: Path,
    events: Sequence[Event],
    *,
    to: int | None = None,
    lost: Sequence[int] = (),
    **options: Any,
) -> list[Seal]:
    """Seal a log of these events; what was sealed before stays."""
    with FakeLog(data, table_of(events, lost=lost), last=len(events)):
        to = len(events) if to is None else to
        return list(seal(data, to, HUB_ID, clock=ManualClock(), **options))


def flip_a_bit(path: Path, at: int = 100) -> None:
    """As a disk does, unseen."""
    whole = bytearray(path.read_bytes())
    whole[at] ^= 1
    path.write_bytes(whole)


def rewrite(data: Path, change: Callable[[Seal], Seal]) -> None:
    """Another manifest, whose hashes are right."""
    folder = data / FOLDER
    seals = Manifest.read(folder).seals
    (folder / FILE_NAME).unlink()
    manifest = Manifest.read(folder)
    for old in seals:
        manifest.add(msgspec.structs.replace(change(old), previous=manifest.previous))


def with_bytes_of(path: Path, seal: Seal) -> Seal:
    """The seal as it were if the file had been so when it was sealed."""
    written = path.read_bytes()
    sha256 = hashlib.sha256(written).hexdigest()
    segments = [
        msgspec.structs.replace(segment, bytes=len(written), sha256=sha256)
        if path.match(f"*{segment.path}")
        else segment
        for segment in seal.segments
    ]
    return msgspec.structs.replace(seal, segments=segments)


INT64: Final = st.integers(-(2**63) + 1, 2**63 - 1)
TEXT: Final = st.text(st.characters(codec="utf-8"), max_size=9)
VECTORS: Final = st.none() | st.binary(max_size=5).map(lambda data: Floats(data * 4))
DAYS: Final = st.sampled_from([0, 1, -1, 19_000, -719_529, 2_932_896 + 365, 19_001])
"""Since 1970: days that are next to each other, in the year -1, and after 9999."""
TIMES: Final = INT64 | DAYS.map(lambda day: day * DAY_US) | DAYS.map(lambda day: day * DAY_US - 1)

events: Final = st.builds(
    Event,
    kind=st.sampled_from(Kind),
    ts=TIMES,
    agent=st.sampled_from(["", "walker", "heater", "_hub"]) | TEXT,
    device=TEXT,
    session=INT64,
    boot=INT64,
    step=st.none() | INT64,
    obs=VECTORS,
    action=VECTORS,
    executed=VECTORS,
    reward=st.none() | st.floats(),
    terminated=st.none() | st.booleans(),
    truncated=st.none() | st.booleans(),
    first=st.none() | st.booleans(),
    policy=st.none() | INT64,
    logprob=st.none() | st.floats(),
    value=st.none() | st.floats(),
    source=st.none() | st.sampled_from(Source),
    reason=st.none() | TEXT,
    latency_us=st.none() | INT64,
    device_ts=st.none() | TIMES,
    payload=st.none() | TEXT,
    secret=st.none() | st.binary(max_size=5),
    version=st.integers(1, 255),
)
"""Everything the columns can hold, and a path."""
