"""The fields that packets of both MQTT versions are made of: read strictly, and written.

Section numbers are of MQTT 3.1.1; MQTT 5 says the same in 1.5 and 4.7.
"""

from __future__ import annotations

from hub.errors import Malformed


class Reader:
    """Takes fields from a packet's body, in order; each raises Malformed where it is none."""

    __slots__ = ("at", "body")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.at = 0

    @property
    def done(self) -> bool:
        """Nothing is left."""
        return self.at >= len(self.body)

    def u8(self) -> int:
        """One byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Two bytes (1.5.2)."""
        return int.from_bytes(self.take(2), "big")

    def packet_id(self) -> int:
        """2.3.1."""
        packet_id = self.u16()
        if packet_id == 0:
            raise Malformed("packet id 0 (2.3.1-1)")
        return packet_id

    def blob(self) -> bytes:
        """Two bytes of length, then so many."""
        return self.take(self.u16())

    def text(self) -> str:
        """UTF-8 without NUL or surrogates (1.5.3)."""
        try:
            text = self.blob().decode()
        except UnicodeDecodeError as error:
            raise Malformed(f"not UTF-8: {error.reason} (1.5.3-1)") from error
        if "\0" in text:
            raise Malformed("NUL in a string (1.5.3-2)")
        return text

    def end(self) -> None:
        """Raises Malformed unless nothing is left."""
        if not self.done:
            raise Malformed(f"{len(self.body) - self.at} bytes too many")

    def take(self, count: int) -> bytes:
        """The next bytes, exactly so many."""
        end = self.at + count
        if end > len(self.body):
            raise Malformed("a field reaches past the end of its packet")
        taken = self.body[self.at : end]
        self.at = end
        return taken


def checked_filter(topic_filter: str) -> str:
    """4.7.1: `#` only last and alone in its level, `+` alone in its level."""
    levels = topic_filter.split("/")
    for i, level in enumerate(levels):
        bad_hash = "#" in level and (level != "#" or i != len(levels) - 1)
        if bad_hash or ("+" in level and level != "+") or not topic_filter:
            raise Malformed(f"topic filter {topic_filter!r} (4.7.1)")
    return topic_filter


def packet_of(first: int, body: bytes) -> bytes:
    """A whole packet; `first` is its type and flags (2.2)."""
    length = len(body)
    if length < 128:
        return bytes((first, length)) + body
    return bytes((first,)) + varint_bytes(length) + body


def varint_bytes(number: int) -> bytes:
    """Seven bits a byte, the lowest first (2.2.3)."""
    made = bytearray()
    while True:
        number, low = divmod(number, 128)
        made.append(low | (0x80 if number else 0))
        if not number:
            return bytes(made)


def text_bytes(text: str) -> bytes:
    """As `Reader.text` reads it."""
    return blob_bytes(text.encode())


def blob_bytes(blob: bytes) -> bytes:
    """As `Reader.blob` reads it."""
    return len(blob).to_bytes(2, "big") + blob
