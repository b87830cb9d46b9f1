"""Events of every past version as those of today, on their way out of the log.

What is stored is never changed. An upcaster takes rows of one version to the next, so that readers,
segments and rotated files know the newest only. Facts in a payload need none while they only gain
fields with defaults: unknown fields stay in the text, missing ones get their default.

    version 1   payloads of devices stood in the log as they were sent
    version 2   they are sealed with the device's key, so that a device can be forgotten; of a
                device that was, those of version 1 are NULL
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from hub.log.append import PERSONAL
from hub.log.payload_keys import PREFIX, PayloadKeys
from hub.words import EVENT_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable


def upcast(table: pa.Table, keys: PayloadKeys) -> pa.Table:
    """The rows with version `EVENT_VERSION`, in the same order.

    Args:
        table: `columns.SCHEMA`.
        keys: seal what an old version had in clear.
    """
    if not table.num_rows:
        return table
    for version in range(pc.min(table.column("version")).as_py(), EVENT_VERSION):
        old = pc.equal(table.column("version"), version)
        rows = pc.indices_nonzero(old).to_pylist()
        table = UPCASTERS[version](table, rows, keys)
        newer = pc.if_else(old, pa.scalar(version + 1, pa.uint8()), table.column("version"))
        table = _with(table, "version", newer)
    return table


def seal_payloads(table: pa.Table, rows: list[int], keys: PayloadKeys) -> pa.Table:
    """Version 1 to 2."""
    payloads = table.column("payload").to_pylist()
    kinds, devices = table.column("kind"), table.column("device")
    for row in rows:
        text = payloads[row]
        personal = text is not None and kinds[row].as_py() in PERSONAL
        if personal and not text.startswith(PREFIX):
            payloads[row] = keys.seal_old(devices[row].as_py(), text)
    return _with(table, "payload", pa.array(payloads, pa.string()))


def _with(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), name, column)


UPCASTERS: Final[dict[int, Callable[[pa.Table, list[int], PayloadKeys], pa.Table]]] = {
    1: seal_payloads,
}
"""From a version to the next."""
