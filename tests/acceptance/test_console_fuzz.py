"""Nonsense in every form and address of the console, by people who are logged in.

`make fuzz` is the large form; a failure names the seed and the request that makes it happen again.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import pytest

from tests.acceptance.devices import Http
from tests.acceptance.nonsense import TEXTS, Fuzz
from tests.acceptance.people import Person, add_user
from tests.acceptance.routes import filled, pages

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3600)]

SEED: Final = 20_261_129
OF_REQUESTS: Final = 15
"""The console gets one for so many of `--requests`: its pages take longer than a step."""
BESIDE: Final = ("/live/", "{form", "/account", "delete-older")
"""Of the addresses: what never ends, what starts a process each time, and one's own password."""
AGENTS: Final = 8
"""Some of them will be deleted."""
QUERY_MAX: Final = 1000
"""Characters of a field in an address: httpx sends none above 65,536 in all."""
FIELDS: Final = (
    "name", "algorithm", "observations", "actions", "sharing", "fallback", "safety", "owner",
    "deadline_ms", "missing_reward", "cpu_percent", "devices_max", "p.gamma", "p.n_steps", "show",
    "kind", "agent", "device", "origins", "sessions", "rate", "role", "query", "form", "file",
    "next",
)  # fmt: skip
"""Of all forms; what a form does not have it has to leave alone."""
GOOD: Final = (
    "a0", "a1", "PPO", "SAC", "DQN", "external", "2", "[[4], -1.0, 1.0]", "shared", "advice",
    "hold", "device", "publishable", "operator", "https://museum.example", "owner", "SELECT 1 AS a",
    "FROM events", "csv", "zip", "promote", "rollback", "pause", "0", "1.5", "nan", "-1", "1e999",
)  # fmt: skip


async def test_no_form_or_address_of_the_console_makes_it_fail(hub: RealHub, requests: int) -> None:
    fuzz, key = Fuzz(SEED, [], ["x"]), hub.make_agent("honest")
    values = Values(fuzz, [f"a{number}" for number in range(AGENTS)])
    add_user(hub, "root", "admin")
    add_user(hub, "ann")
    for number, name in enumerate(values.agents):
        hub.make_agent(name)
        hub.change(name, owner=("ann", "root")[number % 2])
    found = [one for one in await pages() if not any(part in one[1] for part in BESIDE)]
    seen: Counter[int] = Counter()
    with Person(hub) as root, Person(hub) as ann:
        for person, name in ((root, "root"), (ann, "ann")):
            assert person.log_in(name).status_code == 303
        tokens = {person: {"_csrf_token": person.token()} for person in (root, ann)}
        for number in range(requests // OF_REQUESTS):
            person, (method, path) = fuzz.one((root, root, ann)), fuzz.one(found)
            where = filled(path, values)
            form = {fuzz.one(FIELDS): text(fuzz) for _ in range(int(fuzz.random.integers(8)))}
            if method == "POST":
                answer = person.http.post(where, data=form | tokens[person])
            else:
                form = {name: value[:QUERY_MAX] for name, value in form.items()}
                answer = person.http.get(where, params=form)
            what = f"seed {SEED}, request {number}: {method} {where} {form}"
            seen[answer.status_code] += 1
            assert answer.status_code < 500 or answer.status_code == 503, f"{what}: {answer.text}"
            assert "Traceback" not in answer.text, what
        assert {200, 303, 404, 422} <= set(seen), seen
        assert "honest" in root.see("/agents")
    with Http(hub.ready.http) as http:
        assert http.step(key, {"device": "d", "o": [0, 0, 0, 0]})[0] == 200


class Values(dict[str, str]):
    """Of an address's parameters: mostly something that exists."""

    def __init__(self, fuzz: Fuzz, names: list[str]) -> None:
        super().__init__()
        self._fuzz = fuzz
        self.agents = names

    def __missing__(self, name: str) -> str:
        if name == "version":
            return str(self._fuzz.one((0, 1, 2**31, 2**64, -1)))
        if self._fuzz.often(0.3):  # a longer address httpx would not send
            return quote(
                text(self._fuzz)[:QUERY_MAX].replace("/", "") or "x", safe="", errors="replace"
            )
        good = {"name": self.agents, "what": BUTTONS, "how": ("promote", "rollback")}
        return str(self._fuzz.one(good.get(name, ("x",))))


BUTTONS: Final = ("pause", "resume", "learn", "rest", "clear", "restart", "delete")


def text(fuzz: Fuzz) -> str:
    """Of a field: good somewhere, a document, or characters."""
    if fuzz.often(0.5):
        return str(fuzz.one(GOOD))
    if fuzz.often(0.5):
        return str(fuzz.one(TEXTS))
    return fuzz.body().decode("utf-8", "replace")
