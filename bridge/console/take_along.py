"""What people take along: an agent's events and episodes as files, and the result of a query."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from litestar import get
from litestar.params import FromPath
from litestar.response import Response, Stream

from bridge.console.desk import AtDesk, ByVisit, Desk
from hub.log.analyst.ask import stream
from hub.log.analyst.messages import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bridge.console.access import Sight
    from hub.log.analyst.messages import ResultForm

MEDIA: Final[dict[ResultForm, tuple[str, str]]] = {
    "csv": ("text/csv; charset=utf-8", "csv"),
    "parquet": ("application/vnd.apache.parquet", "parquet"),
    "json": ("application/x-ndjson", "ndjson"),
    "arrow": ("application/vnd.apache.arrow.stream", "arrow"),
}
EVENTS: Final = "SELECT * FROM events WHERE agent = '{agent}' ORDER BY seq"
EPISODES: Final = "SELECT * FROM episodes WHERE agent = '{agent}' ORDER BY ended"


@get("/agents/{name:str}/events.csv")
async def events_csv(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Response[Any]:
    """All events of an agent."""
    visit.sight.agent(name)
    return await file_of(desk, visit.sight, EVENTS.format(agent=name), "csv", f"{name}-events")


@get("/agents/{name:str}/events.parquet")
async def events_parquet(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Response[Any]:
    """The same as Parquet."""
    visit.sight.agent(name)
    return await file_of(desk, visit.sight, EVENTS.format(agent=name), "parquet", f"{name}-events")


@get("/agents/{name:str}/episodes.csv")
async def episodes_csv(desk: AtDesk, visit: ByVisit, name: FromPath[str]) -> Response[Any]:
    """All finished episodes of an agent."""
    visit.sight.agent(name)
    sql = EPISODES.format(agent=name)
    return await file_of(desk, visit.sight, sql, "csv", f"{name}-episodes")


async def file_of(desk: Desk, sight: Sight, sql: str, form: ResultForm, name: str) -> Response[Any]:
    """A result as it comes. One that fails half way is cut off, so that nobody takes it for whole.

    Raises:
        OperatorFault, LogUnavailable: it does not even begin.
    """
    media_type, suffix = MEDIA[form]
    pieces = stream(desk.hub.data, Ask(sql, form, desk.hub.log.last_seq, sight.rows()))
    first = await anext(pieces, b"")  # until now an error has a page of its own

    async def whole() -> AsyncIterator[bytes]:
        async with aclosing(pieces):
            yield first
            async for piece in pieces:
                yield piece

    headers = {"content-disposition": f'attachment; filename="{name}.{suffix}"'}
    return Stream(whole(), media_type=media_type, headers=headers)


ROUTES: Final = (events_csv, events_parquet, episodes_csv)
