"""What devices sent besides numbers, on its way into the log and out of it.

stored = sealed(events, keys)       # by the key of its device
table = revealed(table, keys)       # as it was sent, NULL where the device was forgotten
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import structs

from hub.log.append import PERSONAL
from hub.log.payload_keys import PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hub.log.payload_keys import PayloadKeys
    from hub.words import Event


def sealed(events: Sequence[Event], keys: PayloadKeys) -> Sequence[Event]:
    """The events as they are stored.

    Raises:
        OSError: a new device's key can't be kept.
    """
    personal = [e.payload is not None and e.kind in PERSONAL for e in events]
    if True not in personal:
        return events
    return [
        structs.replace(event, payload=keys.seal(event.device, event.payload))
        if seal and event.payload is not None
        else event
        for seal, event in zip(personal, events, strict=True)
    ]


def revealed(table: pa.Table, keys: PayloadKeys) -> pa.Table:
    """The rows with payloads as they were sent."""
    at = table.schema.get_field_index("payload")
    hidden = pc.starts_with(table.column(at), PREFIX)
    if not pc.any(hidden).as_py():
        return table
    texts = table.column(at).to_pylist()
    for row in pc.indices_nonzero(pc.fill_null(hidden, fill_value=False)).to_pylist():
        texts[row] = keys.reveal(table.column("device")[row].as_py(), texts[row])
    return table.set_column(at, "payload", pa.array(texts, pa.string()))
