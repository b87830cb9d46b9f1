"""What the log process, the hub and readers say to each other, as msgpack in frames.

    hub -> log      Open, then any of  Append  Recover  Rotate  Forget  Close
    log -> hub      Opened or Failed, then  Committed  Stalled  Restored  Rotated  Forgotten
    reader -> log   Token over TCP; then Subscribe, once, or Fetch, again and again
    log -> reader   Rows while it catches up, then Page, for ever; or Rows, one for each Fetch

Only the hub appends, over a socket pair it made itself; readers connect to `log.sock`, those on
other machines over TCP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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


class Open(Struct, frozen=True, tag="open"):
    """First message of the hub: open the file with these settings."""

    settings: LogSettings


class Append(Struct, frozen=True, tag="append"):
    """Batches to make durable, in order; none is ever split between two commits."""

    batches: list[Raw]
    """Each an encoded `list[Event]`."""


class Recover(Struct, frozen=True, tag="recover"):
    """What must the hub know to go on?"""

    id: int


class Rotate(Struct, frozen=True, tag="rotate"):
    """Go on in a new file without the events up to `upto`, which are all in sealed segments."""

    id: int
    upto: int


class Forget(Struct, frozen=True, tag="forget"):
    """Destroy the key of the device's payloads, once what was appended before is committed."""

    id: int
    device: str


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
    feed_port: int | None = None
    """Where readers on other machines connect; None = nowhere."""


class Failed(Struct, frozen=True, tag="failed"):
    """The log can't be opened; the process ends."""

    message: str


class Committed(Struct, frozen=True, tag="committed"):
    """The `batches` oldest batches are durable; the first event of the first is at `seq_first`."""

    seq_first: int
    batches: int
    duration_us: int
    """From the batches to the disk."""


class Stalled(Struct, frozen=True, tag="stalled"):
    """Nothing can be committed for now; what was sent is kept and tried again."""

    reason: str | None
    """For a person to read; None = it goes on."""


class Restored(Struct, frozen=True, tag="restored"):
    """The answer to Recover."""

    id: int
    recovered: Recovered


class Rotated(Struct, frozen=True, tag="rotated"):
    """The answer to Rotate, whether it was done or there was no need."""

    id: int
    begins: int
    """Seq after which the file begins now."""
    reader_position: int | None
    """Of the connected reader that is furthest behind."""


class Forgotten(Struct, frozen=True, tag="forgotten"):
    """The answer to Forget: nobody can read those payloads any more."""

    id: int


class Token(Struct, frozen=True, tag="token"):
    """First message over TCP: the content of `DATA/feed.token`."""

    token: str


class Fetch(Struct, frozen=True, tag="fetch"):
    """Send one page of rows as they are stored: payloads stay sealed."""

    after: int
    agent: str | None = None
    """None = of all agents."""


class Subscribe(Struct, frozen=True, tag="subscribe"):
    """Send every committed event after a seq, then each new one."""

    after: int
    agent: str | None = None
    """None = of all agents."""
    kinds: list[Kind] | None = None
    """None = of all kinds."""


class Rows(Struct, frozen=True, tag="rows"):
    """The wanted events among `seq_first`..`seq_last` as an Arrow IPC stream of the log's columns.

    As with Page there is no hole between one and the next.
    """

    seq_first: int
    seq_last: int
    rows: memoryview
    """Read where it lies: a page is too large to be copied for nothing."""
    live: bool
    """The reader has all that is committed."""


class Page(Struct, frozen=True, tag="page"):
    """The wanted events among `seq_first`..`seq_last`, by seq; maybe none.

    Pages join without a hole: the next one's `seq_first` is this one's `seq_last` + 1.
    """

    seq_first: int
    seq_last: int
    events: list[Event]
    live: bool
    """The reader has all that is committed."""


ToLog = Open | Append | Recover | Rotate | Forget | Close
ToHub = Opened | Failed | Committed | Stalled | Restored | Rotated | Forgotten
FromReader = Token | Subscribe | Fetch
ToReader = Rows | Page

_encoder: Final = msgspec.msgpack.Encoder()
to_log: Final = msgspec.msgpack.Decoder(ToLog)
to_hub: Final = msgspec.msgpack.Decoder(ToHub)
from_reader: Final = msgspec.msgpack.Decoder(FromReader)
to_reader: Final = msgspec.msgpack.Decoder(ToReader)
events_of: Final = msgspec.msgpack.Decoder(list[Event])


def encode_events(events: list[Event]) -> bytes:
    """The body of one batch of an Append."""
    return _encoder.encode(events)


def framed(message: ToLog | ToHub | FromReader | ToReader) -> bytes:
    """The message ready for the socket."""
    return frame(_encoder.encode(message))


def socket_path(data: Path) -> Path:
    """Where readers of the log in a data folder connect."""
    return data / SOCKET_NAME
