"""Server-sent events: what changes on a page that is open, at most twice a second.

A stream sends the parts of its page that are not as they were, as HTML that htmx puts in place, and
what a curve has got anew as JSON. It ends when its login does; the page then says that it is not
live any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, get
from litestar.exceptions import NotFoundException, ServiceUnavailableException
from litestar.params import FromPath
from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage

from bridge.console import look_up
from bridge.console.agents import agent_now, overview
from bridge.console.curve import Follow
from bridge.console.desk import AtDesk, ByVisit, Desk, Visit
from bridge.console.devices import heard
from bridge.console.first_steps import connected
from bridge.console.health import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    Part = Callable[[Visit], dict[str, Any]]
    """What a template is given, for whoever is there now."""


@get("/live/agents")
async def live_agents(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> ServerSentEvent:
    """The list of agents."""
    returns = await look_up.recent_returns(desk, visit.sight)
    stream = Stream(request, desk, visit)
    return stream.response("live/agents.html", lambda v: {"rows": overview(desk, v.sight, returns)})


@get("/live/agents/{name:str}")
async def live_agent(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> ServerSentEvent:
    """One agent's page, and its curve."""
    follow = Follow(desk, visit.sight.agent(name).agent.name)
    stream = Stream(request, desk, visit)
    return stream.response(
        "live/agent.html",
        lambda v: agent_now(desk, v.sight.agent(name)),
        follow.news,
        alike=lambda v: v.sight.agent(name).agent.name,
    )


@get("/live/connect/{name:str}")
async def live_connect(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, name: FromPath[str]
) -> ServerSentEvent:
    """Whether a device has connected."""
    visit.sight.agent(name)
    stream = Stream(request, desk, visit)
    return stream.response("live/connect.html", lambda v: connected(desk, v.sight.agent(name)))


@get("/live/devices")
async def live_devices(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> ServerSentEvent:
    """The list of devices."""
    stream = Stream(request, desk, visit)
    return stream.response(
        "live/devices.html",
        lambda v: heard(desk, v.sight),
        alike=lambda v: "" if v.sight.is_admin else v.sight.name,
    )


@get("/live/health")
async def live_health(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit
) -> ServerSentEvent:
    """How the hub is."""
    visit.sight.admin()
    stream = Stream(request, desk, visit)

    def part(v: Visit) -> dict[str, Any]:
        v.sight.admin()
        return now(desk)

    return stream.response("live/health.html", part)


class Stream:
    """One open page."""

    def __init__(self, request: Request[Any, Any, Any], desk: Desk, visit: Visit) -> None:
        if desk.live_pages >= desk.settings.pages_live_max:
            raise ServiceUnavailableException("Too many pages are open to keep this one live.")
        self._engine = request.app.template_engine
        self._desk = desk
        self._login = visit.login

    def response(
        self,
        template: str,
        part: Part,
        news: Callable[[], bytes | None] = lambda: None,
        alike: Callable[[Visit], str] | None = None,
    ) -> ServerSentEvent:
        """The stream, for as long as the page is open.

        `alike`: pages of which it says the same have the same part, which is made once for them.
        """
        return ServerSentEvent(self._events(template, part, news, alike))

    async def _events(
        self,
        template: str,
        part: Part,
        news: Callable[[], bytes | None],
        alike: Callable[[Visit], str] | None,
    ) -> AsyncIterator[ServerSentEventMessage]:
        desk = self._desk
        sent = ""
        desk.live_pages += 1
        try:
            while desk.sessions.holds(self._login) and not desk.hub.stopping.is_set():
                desk.rates.look()
                html = self._html(template, part, alike)
                if html is None:
                    break
                if html != sent:
                    yield ServerSentEventMessage(data=html)
                    sent = html
                points = news()
                if points is not None:
                    yield ServerSentEventMessage(data=points, event="curve")
                await self._pause()
            if not desk.hub.stopping.is_set():  # else the page may come again
                yield ServerSentEventMessage(data="over", event="over")
        finally:
            desk.live_pages -= 1

    def _html(self, template: str, part: Part, alike: Callable[[Visit], str] | None) -> str | None:
        """None when what the page shows is not this person's any more."""
        visit, engine = self._desk.visit(self._login), self._engine
        assert engine is not None, "the application has one"

        def made() -> str:
            return str(engine.get_template(template).render(**part(visit)))

        try:
            if alike is None:
                return made()
            return self._desk.rates.once((template, alike(visit)), made)
        except NotFoundException:
            return None

    async def _pause(self) -> None:
        """Until the next look; a hub that stops does not wait for pages."""
        stopping = self._desk.hub.stopping
        try:
            async with asyncio.timeout(self._desk.settings.live_s):
                await stopping.wait()
        except TimeoutError:
            return


ROUTES: Final = (live_agents, live_agent, live_connect, live_devices, live_health)
