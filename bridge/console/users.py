"""*Users*, for admins: who may log in, and as what."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final, cast

from litestar import Request, get, post
from litestar.params import FromPath
from litestar.response import Redirect, Template

from bridge.console.desk import AtDesk, ByVisit, Desk, back, refused
from bridge.console.mistakes import Mistake, mistake_of, typed
from hub.errors import OperatorFault
from hub.registry.user_acts import CreateUser, RemoveUser, SetPassword

if TYPE_CHECKING:
    from typing import Literal

ROLES: Final = ("owner", "admin")
FIELDS: Final = {"name": "user", "role": "role", "password": "password"}
"""By what messages call them."""


@get("/users")
async def users_page(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Template:
    """All users, and how many agents each owns."""
    visit.sight.admin()
    return _page(request, desk)


@post("/users")
async def add(request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit) -> Redirect | Template:
    """A new user, with a password that an admin chose; the user can choose another."""
    visit.sight.admin()
    form = await typed(request)
    name, role = form.get("name", ""), form.get("role", "")
    try:
        if role not in ROLES:
            raise OperatorFault(f"a role is {' or '.join(ROLES)}")
        known = cast("Literal['owner', 'admin']", role)
        act = CreateUser(name, known, form.get("password", ""))
        await desk.act(visit, act, visit.sight.admin)
    except OperatorFault as fault:
        return _page(request, desk, mistake_of("add", form, fault, FIELDS))
    return back(visit, "/users", f"User {name} may log in.")


@post("/users/{user:str}/password")
async def set_password(
    request: Request[Any, Any, Any], desk: AtDesk, visit: ByVisit, user: FromPath[str]
) -> Redirect | Template:
    """Another password, for somebody who has forgotten it; ends all of the user's logins."""
    visit.sight.admin()
    form = await typed(request)
    try:
        act = SetPassword(user, form.get("password", ""))
        await desk.act(visit, act, visit.sight.admin)
    except OperatorFault as fault:
        return _page(request, desk, mistake_of(f"password of {user}", form, fault, FIELDS))
    return back(visit, "/users", f"User {user} has another password.")


@post("/users/{user:str}/remove")
async def remove(desk: AtDesk, visit: ByVisit, user: FromPath[str]) -> Redirect:
    """The user and the user's keys may do nothing any more; oneself stays."""
    visit.sight.admin()
    try:
        if user == visit.sight.name:
            raise OperatorFault("you can't remove yourself; another admin can")
        await desk.act(visit, RemoveUser(user), visit.sight.admin)
    except OperatorFault as fault:
        return refused(visit, "/users", fault)
    return back(visit, "/users", f"User {user} may not log in any more.")


def _page(request: Request[Any, Any, Any], desk: Desk, mistake: Mistake | None = None) -> Template:
    registry = desk.hub.registry
    owned = Counter(spec.agent.owner for spec in registry.agents.values())
    rows = [(user, owned[user.name]) for _, user in sorted(registry.users.items())]
    return desk.form(request, "users.html", mistake, rows=rows)


ROUTES: Final = (users_page, add, set_password, remove)
