"""A visit is judged when something is seen or done, not only when its request began."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from litestar.exceptions import HTTPException, NotAuthorizedException

from bridge.console.body import BodyInTime
from bridge.console.desk import Desk
from bridge.console.policies import pruned
from hub.control import Control
from hub.facts import PolicyChosen
from hub.histogram import Seen
from hub.intake.mapping.bound import check_mapping
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.messages import policy_path
from hub.registry.acts import Acts
from hub.registry.user_acts import CreateUser
from hub.words import AgentName, User
from tests.commands.control_room import Archive, Ledger
from tests.intake.fakes import Policies

if TYPE_CHECKING:
    from pathlib import Path

    from bridge.console.desk import Visit
    from hub.processes import Hub
    from tests.bridge.rooms import Rooms

HASH: Final = b"of an admin's password"


def visit_of(rooms: Rooms, name: str) -> tuple[Desk, Visit]:
    rooms.registry.users[name] = User(name, "admin")
    rooms.registry.passwords[name] = HASH
    desk = Desk(cast("Hub", rooms))
    login = desk.sessions.find(desk.sessions.open(name, HASH))
    assert login is not None
    return desk, desk.visit(login)


def control_of(rooms: Rooms) -> Control:
    acts = Acts(
        rooms.registry, rooms.clock.now_us, bytes, read_parameters, Policies(), check_mapping
    )
    log = cast("Any", Ledger())
    return Control(acts, rooms.registry, log, Archive(log), print, print, print, dict, Seen)


async def test_an_admin_who_is_removed_while_an_act_waits_does_not_do_it(rooms: Rooms) -> None:
    desk, visit = visit_of(rooms, "mallory")
    desk.hub.control = control_of(rooms)
    other = CreateUser("other", "admin", "correct horse")
    acting = asyncio.create_task(desk.act(visit, other, visit.sight.admin))
    await asyncio.sleep(0)  # the password is being hashed
    del rooms.registry.users["mallory"], rooms.registry.passwords["mallory"]
    with pytest.raises(NotAuthorizedException):
        await acting
    assert rooms.registry.users == {}


async def test_a_login_that_is_over_sees_nothing_more_on_a_request_that_goes_on(
    rooms: Rooms,
) -> None:
    _, visit = visit_of(rooms, "mallory")
    assert visit.sight.rows() is None
    rooms.registry.passwords["mallory"] = b"of another"
    with pytest.raises(NotAuthorizedException):
        _ = visit.sight


async def test_a_body_that_never_ends_is_not_waited_for() -> None:
    messages: list[Any] = [{"type": "http.request", "body": b"name=", "more_body": True}]

    async def receive() -> Any:
        return messages.pop() if messages else await asyncio.get_running_loop().create_future()

    async def form(_scope: Any, receive: Any, _send: Any) -> None:
        while (await receive())["more_body"]:
            pass

    async def send(_message: Any) -> None: ...

    with pytest.raises(HTTPException) as refused:
        await BodyInTime(0.05).handle(cast("Any", {}), receive, send, cast("Any", form))
    assert refused.value.status_code == 408


async def test_a_browser_that_is_known_keeps_one_cookie_over_restarts(rooms: Rooms) -> None:
    first, again = (Desk(cast("Hub", rooms)) for _ in range(2))
    assert first.known_cookie == again.known_cookie
    assert first.cookie != again.cookie


async def test_versions_chosen_while_another_chore_ran_keep_their_files(
    rooms: Rooms, tmp_path: Path
) -> None:
    desk, visit = visit_of(rooms, "ann")
    rooms.make_agent("cart")
    desk.hub.control, desk.hub.data = control_of(rooms), tmp_path
    home = policy_path(tmp_path, AgentName("cart"), "x").parent
    home.mkdir(parents=True)
    for i, name in enumerate(("chosen", "unwanted", "newer", "newest")):
        file = home / f"{name}.safetensors"
        file.touch()
        os.utime(file, ns=(10**18 + i, 10**18 + i))
    async with desk.chore():
        pruning = asyncio.create_task(pruned(desk, visit, AgentName("cart")))
        await asyncio.sleep(0)
        rooms.registry.chosen[AgentName("cart")] = {
            1: PolicyChosen(1, "chosen", "promoted", None, None, None, "ann")
        }
    assert await pruning == 1
    assert not (home / "unwanted.safetensors").exists()
