"""The table of packet sizes in docs/device-maker.md is what the encodings really take.

`python -m tests.test_sizes` writes it anew; `make schemas` does.
"""

from __future__ import annotations

import re
import struct
from typing import Final

import msgspec

from hub.intake.mqtt import wire
from tests.architecture.tree import ROOT

DOCUMENT: Final = ROOT / "docs/device-maker.md"
HEAD: Final = "| values | obs |"
DEVICE: Final = "d" * 23
"""The longest id."""
COUNTS: Final = (2, 8, 24, 50)
STEP: Final = 12_345
BUFFER_BYTES: Final = 256
"""What client libraries for small chips hold, PubSubClient above all."""


class Floats(msgspec.Struct):
    """An observation; the floats of a small device have four bytes in MessagePack."""

    s: int
    r: float
    o: list[float]


def packets(count: int) -> dict[str, int]:
    """Bytes of a PUBLISH at QoS 0, by encoding."""
    values = [-12.3457] * count
    document = {"s": STEP, "o": values, "r": -0.5}
    floats = b"".join(b"\xca" + struct.pack(">f", value) for value in values)
    array = bytes((0x90 | count,)) if count < 16 else b"\xdc" + struct.pack(">H", count)
    message = b"\x83\xa1s" + msgspec.msgpack.encode(STEP) + b"\xa1r\xca" + struct.pack(">f", -0.5)
    sent = {
        "obs": msgspec.json.encode(document),
        "obs, bare": msgspec.json.encode(values),
        "obs/mp": message + b"\xa1o" + array + floats,
        "obs/f32": struct.pack(f"<BBHf{count}f", 1 << 4 | 4, count, STEP, -0.5, *values),
    }
    assert len(msgspec.msgpack.decode(sent["obs/mp"], type=Floats).o) == count
    return {
        name: len(wire.publish(f"rl/v1/{DEVICE}/{name.split(',')[0]}", payload))
        for name, payload in sent.items()
    }


def table() -> str:
    """As the document has it."""
    sizes = {count: packets(count) for count in COUNTS}
    rows = ["| values | " + " | ".join(sizes[2]) + " |", "|---" * 5 + "|"]
    rows += [
        f"| {count} | " + " | ".join(map(str, sizes[count].values())) + " |" for count in COUNTS
    ]
    return "\n".join(rows)


def test_the_document_has_the_sizes_of_today() -> None:
    assert table() in DOCUMENT.read_text(), "`make schemas` writes it"


def test_fifty_numbers_as_f32_fit_the_buffer_of_a_small_client() -> None:
    assert packets(50)["obs/f32"] <= BUFFER_BYTES


def main() -> None:
    """Write the table into the document."""
    old = re.compile(rf"^{re.escape(HEAD)}.*\n(?:\|.*\n)+", re.MULTILINE)
    DOCUMENT.write_text(old.sub(f"{table()}\n", DOCUMENT.read_text(), count=1))


if __name__ == "__main__":
    main()
