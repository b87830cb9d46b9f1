"""What the pages share: acts in a person's name, questions to the log, and how a page is made."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from contextlib import aclosing
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.di import NamedDependency
from litestar.exceptions import NotAuthorizedException
from litestar.response import Redirect, Template
from litestar.status_codes import HTTP_303_SEE_OTHER as SEE_OTHER

from bridge.console.access import Sight
from bridge.console.backoff import Backoff
from bridge.console.passwords import Passwords
from bridge.console.rates import Rates
from bridge.console.sessions import Flash, Login, Sessions
from hub.errors import LogUnavailable, OperatorFault, SheepfoldError
from hub.log.analyst.ask import stream
from hub.log.analyst.messages import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar.connection import ASGIConnection, Request

    from bridge.console.mistakes import Mistake
    from hub.control import Act
    from hub.facts import Fact
    from hub.log.analyst.messages import ResultForm
    from hub.processes import Hub
    from hub.registry.fold import Registry
    from hub.words import AgentName

ROOT: Final = "/console"
STATIC: Final = Path(__file__).parent / "static"
VENDOR: Final = STATIC / "vendor"
ASSETS: Final = ("pico.min.css", "htmx.min.js", "hx-sse.min.js", "uPlot.iife.min.js")
SETUP_TOKEN_BYTES: Final = 16
CHORES_MAX: Final = 4
COOKIE_BYTES: Final = 4
ACT_S_MAX: Final = 30.0
"""So long an act may take until it is durable."""
ROWS_BYTES_MAX: Final = 4 << 20
"""Of one question that a page asks."""


class Visit:
    """A person who is logged in, on one request."""

    def __init__(self, login: Login, sessions: Sessions, registry: Registry) -> None:
        self.login = login
        self._sessions = sessions
        self._registry = registry

    @property
    def sight(self) -> Sight:
        """What the person may see now: a request may take long, and its login end meanwhile.

        Raises:
            NotAuthorizedException: the login is over.
        """
        if not self._sessions.holds(self.login):
            raise NotAuthorizedException("Log in again: this login is over.")
        return Sight(self._registry, self._registry.users[self.login.user])


class Desk:
    """The console's own state over a hub."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.settings = hub.settings.console
        self.sessions = Sessions(hub.registry, self.settings, hub.clock)
        self.backoff = Backoff(self.settings, hub.clock)
        self.passwords = Passwords(hub.registry)
        self.rates = Rates(hub)
        self.renew_setup_token()
        self.cookie_secure = self.settings.cookie_secure or bool(hub.settings.tls.certificate)
        """Cookies go over TLS only: the hub speaks it, or a proxy before it does."""
        self._chore = asyncio.Lock()
        self._chores = 0
        self.live_pages = 0
        self.cookie = f"sheepfold-{secrets.token_hex(COOKIE_BYTES)}"
        """Its name: of this process, as sessions are, and not another hub's on this machine."""
        hub_hash = sha256(hub.log.hub.encode()).hexdigest()
        self.known_cookie = f"sheepfold-known-{hub_hash[: 2 * COOKIE_BYTES]}"
        """The same after a restart: it lasts long in a browser, and there should be one."""

    def renew_setup_token(self) -> None:
        """A token for whoever makes the first user; printed at the start while there is none."""
        self.setup_token = secrets.token_urlsafe(SETUP_TOKEN_BYTES)

    def visit(self, login: Login) -> Visit:
        """The person behind a login."""
        return Visit(login, self.sessions, self.hub.registry)

    async def act(self, visit: Visit, act: Act, allowed: Callable[[], object]) -> Any:
        """Have it done in the person's name.

        Raises:
            SheepfoldError: it was refused; the message says what to do.
            NotFoundException: it is not this person's to do.
            NotAuthorizedException: the login is over.
        """

        def still_allowed() -> None:
            _ = visit.sight  # raises
            allowed()

        try:
            async with asyncio.timeout(ACT_S_MAX):
                return await self.hub.control.act(act, visit.sight.name, still_allowed)
        except TimeoutError as error:
            raise LogUnavailable("the log can't commit now; see whether it was done") from error

    async def note(self, fact: Fact, agent: AgentName | None = None) -> None:
        """Log what changes nothing that devices know.

        Raises:
            LogUnavailable: not now.
        """
        try:
            async with asyncio.timeout(ACT_S_MAX):
                await self.hub.control.note(fact, agent)
        except TimeoutError as error:
            raise LogUnavailable("the log can't commit now; try again") from error

    async def ask(self, sight: Sight, sql: str, form: ResultForm) -> bytes:
        """A query's whole result, over what the person may see.

        Raises:
            OperatorFault, LogUnavailable: as `stream`; the former also when it is too much.
        """
        pieces, size = [], 0
        asked = Ask(sql, form, self.hub.log.last_seq, sight.rows())
        async with aclosing(stream(self.hub.data, asked)) as answer:
            async for piece in answer:
                pieces.append(piece)
                size += len(piece)
                if size > ROWS_BYTES_MAX:
                    raise OperatorFault(
                        f"the result has over {ROWS_BYTES_MAX >> 20} MB; add a LIMIT or download it"
                    )
        return b"".join(pieces)

    async def rows(self, sight: Sight, sql: str) -> list[dict[str, Any]]:
        """The same as rows."""
        lines = await self.ask(sight, sql, "json")
        return [msgspec.json.decode(line) for line in lines.splitlines()]

    @contextlib.asynccontextmanager
    async def chore(self) -> AsyncIterator[None]:
        """The turn of something that takes seconds and hundreds of megabytes: one at a time.

        Raises:
            LogUnavailable: too many are waiting.
        """
        if self._chores >= CHORES_MAX:
            raise LogUnavailable("too many files are being made; try again in a minute")
        self._chores += 1
        try:
            async with self._chore:
                yield
        finally:
            self._chores -= 1

    def page(
        self, request: Request[Any, Any, Any], template: str, status: int = 200, **context: Any
    ) -> Template:
        """A page for whoever is there."""
        user, flash = request.user, None
        there = isinstance(user, Visit) and self.sessions.holds(user.login)
        visit = user if there else None
        if visit is not None:
            flash, visit.login.flash = visit.login.flash, None
        usual = {
            "visit": visit,
            "flash": flash,
            "mistake": None,
            "root": ROOT,
            "here": request.url.path,
            "assets": assets_there(),
            "status": self.hub.status() if visit is not None else None,
        }
        return Template(template, context=usual | context, status_code=status)

    def form(
        self,
        request: Request[Any, Any, Any],
        template: str,
        mistake: Mistake | None,
        **context: Any,
    ) -> Template:
        """A page with forms, one of which may have been refused: then with status 422."""
        status = HTTPStatus.OK if mistake is None else HTTPStatus.UNPROCESSABLE_ENTITY
        return self.page(request, template, status, mistake=mistake, **context)


AtDesk = NamedDependency[Desk]
ByVisit = NamedDependency[Visit]
"""What a route is handed; one that takes a visit is about what that person may see."""


def desk_of(request: ASGIConnection[Any, Any, Any, Any]) -> Desk:
    """The desk of the application that is asked."""
    desk = request.app.state.desk
    assert isinstance(desk, Desk), "the application keeps it there"
    return desk


def assets_there() -> bool:
    """Whether `make assets` has brought what is not ours."""
    return all((VENDOR / name).exists() for name in ASSETS)


def back(visit: Visit, path: str, text: str, *, secret: str | None = None) -> Redirect:
    """To a page that says what was done (RFC 9110, 15.4.4)."""
    visit.login.flash = Flash(text, secret=secret)
    return see(path)


def refused(visit: Visit, path: str, error: SheepfoldError) -> Redirect:
    """To a page that says why it was not."""
    visit.login.flash = Flash(str(error), good=False)
    return see(path)


def see(path: str) -> Redirect:
    """303 to a page of the console."""
    return Redirect(ROOT + path, status_code=SEE_OTHER)
