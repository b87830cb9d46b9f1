"""Logins that end, and waits that do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

import pytest

from bridge.console.backoff import Backoff
from bridge.console.desk import Desk
from bridge.console.login import matched_hash
from bridge.console.passwords import Passwords
from bridge.console.sessions import OF_USER_MAX, Sessions
from hub.registry.access import hash_password
from hub.registry.fold import Registry
from hub.settings import ConsoleSettings
from tests.bridge.rooms import HandClock

if TYPE_CHECKING:
    from hub.processes import Hub
    from tests.bridge.rooms import Rooms

IDLE_S: Final = 100.0
ABSOLUTE_S: Final = 1000.0
FREE: Final = 3
WAIT_S_MAX: Final = 8.0
SETTINGS: Final = ConsoleSettings(
    session_idle_s=IDLE_S,
    session_s_max=ABSOLUTE_S,
    sessions_max=3,
    login_free=FREE,
    login_wait_s_max=WAIT_S_MAX,
)


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.passwords = {"ann": b"hash of ann's", "ben": b"hash of ben's"}
    return registry


@pytest.fixture
def sessions(registry: Registry, clock: HandClock) -> Sessions:
    return Sessions(registry, SETTINGS, clock)


def opened(sessions: Sessions, user: str) -> str:
    return sessions.open(user, f"hash of {user}'s".encode())


def test_a_login_by_a_password_that_was_changed_meanwhile_is_none(
    sessions: Sessions, registry: Registry
) -> None:
    registry.passwords["ann"] = b"hash of another"
    del registry.passwords["ben"]
    for user in ("ann", "ben"):
        assert sessions.find(opened(sessions, user)) is None


async def test_a_password_that_is_right_is_told_by_its_hash(registry: Registry) -> None:
    hashed = registry.passwords["ann"] = hash_password("correct horse")
    passwords = Passwords(registry)
    assert await passwords.right("ann", "correct horse") == hashed
    assert await passwords.right("ann", "wrong") is None
    assert await passwords.right("nobody", "a password that nobody has") is None


def test_a_login_is_found_by_its_cookie_and_by_no_other(sessions: Sessions) -> None:
    token = opened(sessions, "ann")
    found = sessions.find(token)
    assert found is not None
    assert found.user == "ann"
    for other in (None, "", token[:-1], token + "x", "é\ud800"):
        assert sessions.find(other) is None


def test_a_login_ends_when_it_was_idle_for_too_long(sessions: Sessions, clock: HandClock) -> None:
    token = opened(sessions, "ann")
    clock.seconds += IDLE_S
    assert sessions.find(token) is not None  # used: the time begins anew
    clock.seconds += IDLE_S + 1
    assert sessions.find(token) is None


def test_a_login_ends_however_much_it_is_used(sessions: Sessions, clock: HandClock) -> None:
    token = opened(sessions, "ann")
    while clock.seconds <= ABSOLUTE_S - IDLE_S / 2:
        assert sessions.find(token) is not None
        clock.seconds += IDLE_S / 2
    clock.seconds = ABSOLUTE_S + 1
    assert sessions.find(token) is None


@pytest.mark.parametrize("event", ["removed", "another password", "left"])
def test_a_page_that_stays_open_notices_that_its_login_is_over(
    sessions: Sessions, registry: Registry, event: str
) -> None:
    token = opened(sessions, "ann")
    login = sessions.find(token)
    assert login is not None
    assert sessions.holds(login)
    if event == "removed":
        del registry.passwords["ann"]
    elif event == "another password":
        registry.passwords["ann"] = b"hash of another"
    else:
        sessions.close(token)
    assert not sessions.holds(login)
    assert sessions.find(token) is None


def test_one_login_too_many_ends_the_one_unused_for_longest(sessions: Sessions) -> None:
    first, second, third = (opened(sessions, "ann") for _ in range(3))
    sessions.find(first)
    fourth = opened(sessions, "ben")
    there = [sessions.find(token) is not None for token in (first, second, third, fourth)]
    assert there == [True, False, True, True]


def test_many_logins_of_one_user_end_that_users_own_only(
    registry: Registry, clock: HandClock
) -> None:
    sessions = Sessions(registry, ConsoleSettings(sessions_max=OF_USER_MAX + 1), clock)
    ben = opened(sessions, "ben")
    anns = [opened(sessions, "ann") for _ in range(OF_USER_MAX + 5)]
    assert sessions.find(ben) is not None
    assert [sessions.find(ann) is not None for ann in anns[4:6]] == [False, True]


def test_a_browser_is_known_for_its_user_only(sessions: Sessions, registry: Registry) -> None:
    cookie = sessions.known("ann")
    assert sessions.is_known(cookie, "ann")
    forged = "ben." + cookie.partition(".")[2]
    for other, name in ((cookie, "ben"), (forged, "ben"), (None, "ann"), ("", ""), ("x.é", "x")):
        assert not sessions.is_known(other, name)
    assert not Sessions(registry, SETTINGS, HandClock()).is_known(cookie, "ann")


def test_the_first_mistakes_cost_nothing_and_the_next_a_wait_that_doubles(clock: HandClock) -> None:
    backoff = Backoff(SETTINGS, clock)
    waits = []
    for _ in range(8):
        backoff.failed(["name ann"])
        waits.append(backoff.wait_s(["name ann"]))
        clock.seconds += waits[-1]
    assert waits == [0, 0, 1, 2, 4, WAIT_S_MAX, WAIT_S_MAX, WAIT_S_MAX]


def test_a_wait_ends_by_itself_and_is_forgotten_after(clock: HandClock) -> None:
    backoff = Backoff(SETTINGS, clock)
    for _ in range(1000):
        backoff.failed(["name ann"])
    assert backoff.wait_s(["name ann"]) == WAIT_S_MAX
    assert backoff.wait_s(["name ben"]) == 0
    clock.seconds += WAIT_S_MAX
    assert backoff.wait_s(["name ann"]) == 0
    clock.seconds += WAIT_S_MAX + 1
    backoff.failed(["name ann"])
    assert backoff.wait_s(["name ann"]) == 0, "long ago"


def test_the_longest_wait_of_several_counts_and_the_right_password_ends_it(
    clock: HandClock,
) -> None:
    backoff = Backoff(SETTINGS, clock)
    for _ in range(4):
        backoff.failed(["name ann", "address a"])
    assert backoff.wait_s(["name ann", "address b"]) == backoff.wait_s(["address a"]) > 0
    backoff.passed(["name ann"])
    assert backoff.wait_s(["name ann"]) == 0
    assert backoff.wait_s(["address a"]) > 0


async def test_wrong_passwords_all_at_once_wait_as_those_one_by_one_do(
    rooms: Rooms, clock: HandClock
) -> None:
    desk = Desk(cast("Hub", rooms))
    desk.backoff = backoff = Backoff(SETTINGS, clock)
    rooms.registry.passwords["ann"] = hash_password("correct horse")
    tries = [asyncio.create_task(matched_hash(desk, ["name ann"], "ann", "x")) for _ in range(FREE)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in tries)
    assert backoff.wait_s(["name ann"]) > 0
    await asyncio.gather(*tries)
    assert backoff.wait_s(["name ann"]) > 0


async def test_the_right_password_counts_for_nothing(rooms: Rooms, clock: HandClock) -> None:
    desk = Desk(cast("Hub", rooms))
    desk.backoff = backoff = Backoff(SETTINGS, clock)
    rooms.registry.passwords["ann"] = hash_password("correct horse")
    for _ in range(FREE + 1):
        assert await matched_hash(desk, ["address a"], "ann", "correct horse") is not None
        assert backoff.wait_s(["address a"]) == 0


def test_what_is_taken_back_leaves_the_failures_after_it(clock: HandClock) -> None:
    backoff = Backoff(SETTINGS, clock)
    right = backoff.failed(["address a"])
    for _ in range(FREE):
        backoff.failed(["address a"])
    wait_s = backoff.wait_s(["address a"])
    backoff.take_back(right)
    assert backoff.wait_s(["address a"]) == wait_s > 0


def test_strangers_do_not_fill_the_log(clock: HandClock) -> None:
    backoff = Backoff(SETTINGS, clock)
    logged = [backoff.may_be_logged() for _ in range(100)]
    assert sum(logged) == 30
    clock.seconds += 60
    assert backoff.may_be_logged()
