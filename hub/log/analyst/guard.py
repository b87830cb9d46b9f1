"""Which SQL of other people may run on the log: one SELECT over the views, nothing else.

DuckDB has no users, and its settings alone don't make a connection read-only. Each of these fences
stops something that gets through the others:

1. one statement, SELECT or EXPLAIN of one: `COMMIT; DELETE …` would leave the transaction
2. a read-only transaction: `WITH d AS (DELETE … RETURNING …) FROM d` calls itself a SELECT
3. every table of the parse tree is one of `VIEWS`, or a WITH of a plain name: a text in FROM is a
   file to DuckDB, wherever a WITH of that name does not reach
4. every table function is on a list: `query_table('log')` names a table in a string
5. some functions are not for people: `reveal` would decrypt what comes from elsewhere

Around them, in `instance.py`: one instance holds only what its people may see, reaches only their
files, is locked, and has limits of memory; `desk.py` and `process.py` bound time, size and the
process. This guards against colleagues; strangers need an operating system between them and the
log.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VIEWS: Final = (
    "events",
    "transitions",
    "episodes",
    "agents",
    "devices",
    "policies",
    "advice",
    "gains",
    "guests",
    "guard",
    "operators",
    "alerts",
)
TABLE_FUNCTIONS: Final = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
"""They read their arguments only."""
FUNCTIONS_REFUSED: Final = frozenset(
    {
        "current_setting", "currval", "get_block_size", "getenv", "getvariable",
        "json_serialize_plan", "nextval", "pg_get_constraintdef", "pg_get_viewdef", "reveal",
        "setval", "sleep_ms", "write_log",
    }
)  # fmt: skip
"""They do more than compute with their arguments: plan other SQL, name files, wait, write."""
SQL_CHARACTERS_MAX: Final = 65_536

QUERY_NODES: Final = frozenset(
    {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
)
"""Parts of a statement that only read; DuckDB has DELETE_QUERY_NODE and such beside them."""
OWN_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""What a WITH may be called: never a file."""

_EXPLAIN: Final = re.compile(r"\s*explain\b", re.IGNORECASE)


def check(tree: Any, hidden: Iterable[str]) -> None:
    """Look through a parse tree, as `json_serialize_sql` gives it.

    Args:
        tree: the decoded JSON.
        hidden: names of all tables and views but `VIEWS`. No WITH may take one of these, or a name
            might be the WITH's in one place and the table's in another.

    Raises:
        OperatorFault: it changes something, or names a table or function that is not for queries.
    """
    nodes = list(_objects(tree))
    own = {entry["key"].lower() for node in nodes for entry in _with_entries(node)}
    taken = {name.lower() for name in hidden}
    for name in own:
        if name in taken or not OWN_NAME.fullmatch(name):
            raise OperatorFault(f"WITH {name}: this name is taken or no plain one, choose another")
    for node in nodes:
        _check_node(node, own)


def limit(tree: Any) -> int | None:
    """At most so many rows the statement asks for; None where it says no number.

    Args:
        tree: as `check` takes it.
    """
    for modifier in tree["statements"][0]["node"].get("modifiers", ()):
        if modifier.get("limit_type") == "ROW_COUNT" and "literal" in modifier.get("limit", {}):
            rows = modifier["limit"]["literal"]["text"]
            return int(rows) if rows.isdecimal() else None
    return None


def explained(sql: str) -> str:
    """The statement that an EXPLAIN is about, to be checked as if it stood alone.

    With ANALYZE or options what is left is no SELECT any more, so these are refused with it.
    """
    match = _EXPLAIN.match(sql)
    return sql if match is None else sql[match.end() :]


def _check_node(node: dict[str, Any], own: set[str]) -> None:
    kind = str(node.get("type", ""))
    if kind.endswith("_NODE") and kind not in QUERY_NODES:
        raise OperatorFault(f"{kind.partition('_')[0]} is not possible here, the log is read-only")
    if "table_name" in node:
        # SHOW looks into the catalog, not at a WITH: its own names must not open it.
        _check_table(node["qualified_name"]["path"], set() if kind == "SHOW_REF" else own)
    if kind == "TABLE_FUNCTION":
        _check_table_function(node["function"]["function_name"])
    elif node.get("function_name", "").lower() in FUNCTIONS_REFUSED:
        raise OperatorFault(f"the function {node['function_name']!r} is not allowed here")


def _check_table(path: list[str], own: set[str]) -> None:
    if len(path) != 1 or path[0].lower() not in own | set(VIEWS):
        name = ".".join(path)
        raise OperatorFault(f"there is no view {name!r}; there are: {', '.join(VIEWS)}")


def _check_table_function(name: str) -> None:
    if name.lower() not in TABLE_FUNCTIONS:
        allowed = ", ".join(sorted(TABLE_FUNCTIONS))
        raise OperatorFault(f"the table function {name!r} is not allowed, only: {allowed}")


def _with_entries(node: dict[str, Any]) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = node.get("cte_map", {}).get("map", [])
    return entries


def _objects(tree: Any) -> Iterator[dict[str, Any]]:
    """Each JSON object of the tree; without recursion, however deep it is."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
