"""*Log*, a page to ask it in SQL, and *Trail*, what people did."""

from __future__ import annotations

import itertools
from contextlib import aclosing
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar import Request, get, post
from litestar.response import Response, Template

from bridge.console.desk import AtDesk, ByVisit
from bridge.console.take_along import MEDIA, file_of
from hub.errors import LogUnavailable, OperatorFault
from hub.log.analyst.ask import stream
from hub.log.analyst.guard import VIEWS
from hub.log.analyst.messages import Ask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bridge.console.access import Sight
    from bridge.console.desk import Desk

ROWS_SHOWN: Final = 500
"""Of a result, in the table."""
ROWS_DRAWN_MAX: Final = 5_000
BYTES_DRAWN_MAX: Final = 1 << 20
"""Of a result, in the chart; whichever is reached first, but never less than the table has."""
TRAIL_SHOWN: Final = 200
EXAMPLES: Final[dict[str, str]] = {
    "Learning curve": "SELECT ended,\n"
    '    avg("return") OVER (ORDER BY ended ROWS 19 PRECEDING) AS mean\n'
    "FROM episodes WHERE agent = '{agent}' ORDER BY ended",
    "Why the fallback answered": "SELECT reason, count(*) AS times FROM events\n"
    "WHERE kind = 'action' AND source = 'fallback' GROUP BY reason ORDER BY times DESC",
    "Last actions, explained": "SELECT ts, device, action, policy, logprob, value, source,\n"
    "    reason, latency_us\n"
    "FROM events WHERE kind = 'action' ORDER BY seq DESC LIMIT 50",
    "What was refused": "SELECT ts, device, reason, payload ->> 'message' AS message FROM events\n"
    "WHERE kind = 'refused' AND source IS NULL ORDER BY seq DESC LIMIT 50",
    "Steps a minute": "SELECT time_bucket(INTERVAL 1 MINUTE, ts) AS minute, count(*) AS steps\n"
    "FROM events WHERE kind = 'observation' GROUP BY minute ORDER BY minute",
    "Who gains by whose advice": "SELECT device, adviser, count(*) AS episodes,\n"
    "    avg(effect) AS gain FROM advice GROUP BY ALL ORDER BY gain DESC",
    "Whom the guard looks after": "SELECT ts, device, decision, own, shared, flock,\n"
    "    relation, peers\n"
    "FROM guard ORDER BY seq DESC LIMIT 50",
}
TRAIL: Final = """
SELECT ts, operator, act, subject, agent FROM operators
WHERE act <> 'alert' ORDER BY seq DESC LIMIT {limit}
"""


@get("/log")
async def log_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """The form, with examples about an agent of the person's."""
    agents = visit.sight.agents()
    shown = examples(agents[0].agent.name if agents else "NAME")
    chosen = request.query_params.get("example", "")
    sql = shown.get(str(chosen), next(iter(shown.values())))
    return _page(request, desk, sql, shown)


@post("/log")
async def ask(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Response[Any]:
    """A query's first rows, as a table and, where they are numbers in a row, as a chart."""
    form = await request.form()
    sql = str(form.get("query", ""))
    agents = visit.sight.agents()
    shown = examples(agents[0].agent.name if agents else "NAME")
    began = desk.hub.clock.monotonic()
    try:
        names, rows, more = await first_rows(desk, visit.sight, sql)
    except OperatorFault as fault:
        return _page(request, desk, sql, shown, HTTPStatus.UNPROCESSABLE_ENTITY, error=str(fault))
    except LogUnavailable as fault:
        return _page(request, desk, sql, shown, HTTPStatus.SERVICE_UNAVAILABLE, error=str(fault))
    took_ms = (desk.hub.clock.monotonic() - began) * 1000
    result = {
        "names": names,
        "rows": rows[:ROWS_SHOWN],
        "more": more or len(rows) > ROWS_SHOWN,
        "chart": chart(names, rows),
        "drawn": len(rows) if more else None,
    }
    return _page(request, desk, sql, shown, result=result, took_ms=took_ms)


@post("/log/download")
async def download(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Response[Any]:
    """The whole result as a file."""
    form = await request.form()
    wanted = str(form.get("form", "csv"))
    for known in MEDIA:
        if known == wanted:
            return await file_of(desk, visit.sight, str(form.get("query", "")), known, "result")
    raise OperatorFault(f"a file is one of {', '.join(MEDIA)}")


@get("/trail")
async def trail(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """What people did, newest first: of an owner what was done to the own agents."""
    rows = await desk.rows(visit.sight, TRAIL.format(limit=TRAIL_SHOWN))
    return desk.page(request, "trail.html", rows=rows, shown=TRAIL_SHOWN)


def examples(agent: str) -> dict[str, str]:
    """Queries to begin with."""
    return {name: sql.replace("{agent}", agent) for name, sql in EXAMPLES.items()}


async def first_rows(
    desk: Desk, sight: Sight, sql: str
) -> tuple[list[str], list[dict[str, Any]], bool]:
    """Names of the columns, the rows that a chart may have, and whether there are more.

    Raises:
        OperatorFault, LogUnavailable: as `stream`.
    """
    rows: list[dict[str, Any]] = []
    rest, size = b"", 0
    asked = Ask(sql, "json", desk.hub.log.last_seq, sight.rows())
    async with aclosing(stream(desk.hub.data, asked)) as pieces:
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if len(rows) >= (ROWS_DRAWN_MAX if size < BYTES_DRAWN_MAX else ROWS_SHOWN):
                    return list(rows[0]), rows, True
                rows.append(msgspec.json.decode(line))
                size += len(line)
    return list(rows[0]) if rows else [], rows, False


def chart(names: list[str], rows: list[dict[str, Any]]) -> str | None:
    """JSON for a chart: the first column a time or number that only grows, the others numbers.

    None when it is not so.
    """
    if len(rows) < 2 or len(names) < 2:
        return None
    first = [_place(row[names[0]]) for row in rows]
    if any(x is None for x in first):
        return None
    places = [x for x in first if x is not None]
    if any(b < a for a, b in itertools.pairwise(places)):
        return None
    numbers = [n for n in names[1:] if all(_is_number(row[n]) or row[n] is None for row in rows)]
    if not numbers:
        return None
    is_time = isinstance(rows[0][names[0]], str)
    data = {
        "names": numbers,
        "time": is_time,
        "data": [places, *([row[n] for row in rows] for n in numbers)],
    }
    return msgspec.json.encode(data).decode()


def _place(value: object) -> float | None:
    """On the axis: a number, or the seconds of a time of the log."""
    if _is_number(value):
        return float(value)  # type: ignore[arg-type]  # a number, as was looked at
    if not isinstance(value, str):
        return None
    try:
        return datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _page(
    request: Request[Any, Any, Any],
    desk: Desk,
    sql: str,
    shown: Mapping[str, str],
    status: HTTPStatus = HTTPStatus.OK,
    **found: Any,
) -> Template:
    nothing = {"result": None, "error": None, "took_ms": None}
    context = nothing | found | {"sql": sql, "examples": shown, "rows_shown": ROWS_SHOWN}
    context["views"] = VIEWS
    return desk.page(request, "log.html", status, **context)


ROUTES: Final = (log_page, ask, download, trail)
