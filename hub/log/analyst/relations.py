"""SQL of the relations an instance has of its own; `views.sql` has what stands on them."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

from hub.words import Kind, Source

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import IntEnum
    from pathlib import Path

TYPES: Final = {
    "hub": "VARCHAR", "seq": "BIGINT", "ts": "TIMESTAMP", "device_ts": "TIMESTAMP",
    "kind": "VARCHAR", "version": "UTINYINT", "agent": "VARCHAR", "device": "VARCHAR",
    "session": "BIGINT", "boot": "BIGINT", "step": "BIGINT", "obs": "FLOAT[]",
    "action": "FLOAT[]", "executed": "FLOAT[]", "reward": "DOUBLE", "terminated": "BOOLEAN",
    "truncated": "BOOLEAN", "first": "BOOLEAN", "policy": "BIGINT", "logprob": "DOUBLE",
    "value": "DOUBLE", "source": "VARCHAR", "reason": "VARCHAR", "latency_us": "BIGINT",
    "payload": "VARCHAR",
}  # fmt: skip
"""Columns of `log`; a sealed file has all but `hub` and `agent`, which its path says."""
NAMES: Final = ", ".join(TYPES)
TAIL: Final = "tail"
"""What is newest, sealed or not."""
UNOWNED: Final = "unowned"
"""Sealed events of no agent, of an admin's instance."""
PAGE: Final = "page"
"""Rows on their way in, as `hub.log.columns` has them but without secrets."""


def tables() -> list[str]:
    """Makes the tables."""
    described = ", ".join(f"{name} {kind}" for name, kind in TYPES.items())
    return [f"CREATE TABLE {table} ({described})" for table in (TAIL, UNOWNED)]


def log_view(paths: Iterable[Path], upto: int) -> str:
    """Makes `log`: the tail, then what the files (in this order) have up to a seq.

    What is in the tail and in a file is taken from the tail.
    """
    parts = [TAIL]
    if listed := ", ".join(text(str(path)) for path in paths):
        # Texts all of them: an agent may be called 123.
        types = "{'hub': VARCHAR, 'agent': VARCHAR, 'day': VARCHAR}"
        parts.append(f"read_parquet([{listed}], hive_partitioning = true, hive_types = {types})")
    parts.append(UNOWNED)
    sealed = [f"{part} WHERE seq <= {upto:d}" for part in parts[1:]]
    rows = " UNION ALL ".join(f"SELECT {NAMES} FROM {part}" for part in (TAIL, *sealed))  # noqa: S608 - ours
    return f"CREATE OR REPLACE VIEW log AS {rows}"


def shortened(upto: int) -> str:
    """Leaves in the tail what is after a seq. DELETE would leave the memory taken."""
    return f"CREATE OR REPLACE TABLE {TAIL} AS FROM {TAIL} WHERE seq > {upto:d}"


def insert(table: str, hub: str) -> str:
    """Adds the rows of `page`, with words for kind and source."""
    given = {"hub": text(hub), "kind": _word("kind", Kind), "source": _word("source", Source)}
    wanted = ", ".join(given.get(name, name) for name in TYPES)
    return f"INSERT INTO {table} SELECT {wanted} FROM {PAGE}"  # noqa: S608 - all of it is ours


@cache
def views() -> str:
    """Makes what people see."""
    return (resources.files("hub.log.analyst") / "views.sql").read_text()


def text(value: str) -> str:
    """As an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def _word(column: str, words: type[IntEnum]) -> str:
    """Says a number of the enum as the sealed files do."""
    cases = " ".join(f"WHEN {word.value} THEN {text(word.name.lower())}" for word in words)
    return f"CASE {column} {cases} ELSE '{column} ' || {column} END"
