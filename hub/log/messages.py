"""What the log process, the hub and readers say to each other, as msgpack in frames.

    hub -> log      Open, then any of  Append  Query  Recover  Close
    log -> hub      Opened or Failed, then  Committed  Answered  Refused  Restored
    reader -> log   Subscribe, once
    log -> reader   Page, for ever

Only the hub appends, over a socket pair it made itself; readers connect to `log.sock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Raw, Struct

from hub.frames import FRAME_BYTES_MAX, frame
from hub.log.recover import Recovered
from hub.settings import LogSettings
from hub.words import Event, Kind

if TYPE_CHECKING:
    from pathlib import Path

SOCKET_NAME: Final = "log.sock"
"""In the data folder, mode 0600: who may read the folder may read the log."""
BODY_BYTES_MAX: Final = FRAME_BYTES_MAX - 4096
"""Of one answer, so that its frame stays within bounds."""

ResultForm = Literal["table", "json", "csv", "arrow"]
"""How a query's result is written: text for people, one object a line, CSV, Arrow IPC stream."""


class Open(Struct, frozen=True, tag="open"):
    """First message of the hub: open the file with these settings."""

    settings: LogSettings


class Append(Struct, frozen=True, tag="append"):
    """Batches to make durable, in order; none is ever split between two commits."""

    batches: list[Raw]
    """Each an encoded `list[Event]`."""


class Query(Struct, frozen=True, tag="query"):
    """One read-only SQL statement over the views."""

    id: int
    sql: str
    form: ResultForm


class Recover(Struct, frozen=True, tag="recover"):
    """What must the hub know to go on?"""

    id: int


class Close(Struct, frozen=True, tag="close"):
    """Commit what came before this, checkpoint and end."""


class Opened(Struct, frozen=True, tag="opened"):
    """The log can be written."""

    hub: str
    last_seq: int
    """Of the last event that is there; 0 when empty."""
    next_seq: int
    """Of the next event: `last_seq` + 1, unless numbers were lost and are not given again."""
    epoch: int
    """Counts up, from 1, each time the log was found shorter than acknowledged."""
    damage: str | None = None
    """What was lost or moved aside, for a person to read."""


class Failed(Struct, frozen=True, tag="failed"):
    """The log can't be opened; the process ends."""

    message: str


class Committed(Struct, frozen=True, tag="committed"):
    """The `batches` oldest batches are durable; the first event of the first is at `seq_first`."""

    seq_first: int
    batches: int
    duration_us: int
    """From the batches to the disk."""


class Answered(Struct, frozen=True, tag="answered"):
    """The result of a query."""

    id: int
    body: bytes


class Refused(Struct, frozen=True, tag="refused"):
    """The query was not allowed, not understood or too long."""

    id: int
    message: str


class Restored(Struct, frozen=True, tag="restored"):
    """The answer to Recover."""

    id: int
    recovered: Recovered


class Subscribe(Struct, frozen=True, tag="subscribe"):
    """Send every committed event after a seq, then each new one."""

    after: int
    agent: str | None = None
    """None = of all agents."""
    kinds: list[Kind] | None = None
    """None = of all kinds."""


class Page(Struct, frozen=True, tag="page"):
    """The wanted events among `seq_first`..`seq_last`, by seq; maybe none.

    Pages join without a hole: the next one's `seq_first` is this one's `seq_last` + 1.
    """

    seq_first: int
    seq_last: int
    events: list[Event]
    live: bool
    """The reader has all that is committed."""


ToLog = Open | Append | Query | Recover | Close
ToHub = Opened | Failed | Committed | Answered | Refused | Restored

_encoder: Final = msgspec.msgpack.Encoder()
to_log: Final = msgspec.msgpack.Decoder(ToLog)
to_hub: Final = msgspec.msgpack.Decoder(ToHub)
from_reader: Final = msgspec.msgpack.Decoder(Subscribe)
to_reader: Final = msgspec.msgpack.Decoder(Page)
events_of: Final = msgspec.msgpack.Decoder(list[Event])


def encode_events(events: list[Event]) -> bytes:
    """The body of one batch of an Append."""
    return _encoder.encode(events)


def framed(message: ToLog | ToHub | Subscribe | Page) -> bytes:
    """The message ready for the socket."""
    return frame(_encoder.encode(message))


def socket_path(data: Path) -> Path:
    """Where readers of the log in a data folder connect."""
    return data / SOCKET_NAME
