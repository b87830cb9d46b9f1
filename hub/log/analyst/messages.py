"""What the analyst process, the hub and those who ask say to each other, as msgpack in frames.

    hub -> analyst      Open, once
    analyst -> hub      Listening, once
    client -> analyst   Ask, once; closing the connection cancels it
    analyst -> client   any Chunks, then End or Refused

The hub's end is a socket pair it made itself; clients connect to `analyst.sock`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct

from hub.frames import frame
from hub.settings import AnalystSettings

if TYPE_CHECKING:
    from pathlib import Path

SOCKET_NAME: Final = "analyst.sock"
"""In the data folder, mode 0600: whoever connects says whose rows the query may see."""

ASK_BYTES_MAX: Final = 1 << 20
"""Of one Ask."""

ResultForm = Literal["table", "json", "csv", "arrow", "parquet"]
"""How a result is written: text for people, one object a line, CSV, Arrow IPC stream, Parquet."""


class Open(Struct, frozen=True, tag="open"):
    """First message of the hub."""

    hub: str
    """The log's id."""
    settings: AnalystSettings


class Listening(Struct, frozen=True, tag="listening"):
    """Clients can connect."""


class Ask(Struct, frozen=True, tag="ask"):
    """One read-only SQL statement over the views."""

    sql: str
    form: ResultForm
    after: int
    """The query sees all events up to this seq, at least."""
    agents: list[str] | None = None
    """It sees the events of these agents only; None = all, and those of no agent."""


class Chunk(Struct, frozen=True, tag="chunk"):
    """The next bytes of the result."""

    body: bytes


class End(Struct, frozen=True, tag="end"):
    """The result is whole."""


class Refused(Struct, frozen=True, tag="refused"):
    """There is no result, or no more of it."""

    message: str
    again: bool = False
    """The query is not at fault: the same one may do later."""


ToClient = Chunk | End | Refused

_encoder: Final = msgspec.msgpack.Encoder()
from_hub: Final = msgspec.msgpack.Decoder(Open)
to_hub: Final = msgspec.msgpack.Decoder(Listening)
from_client: Final = msgspec.msgpack.Decoder(Ask)
to_client: Final = msgspec.msgpack.Decoder(ToClient)


def framed(message: Open | Listening | Ask | ToClient) -> bytes:
    """The message ready for the socket."""
    return frame(_encoder.encode(message))


def socket_path(data: Path) -> Path:
    """Where those who ask connect."""
    return data / SOCKET_NAME
