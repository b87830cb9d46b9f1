"""The console without a browser: who gets in, what each person sees, and what the buttons do."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Final

import httpx
import pyarrow.parquet as pq
import pytest

from bridge.console.log import examples
from hub import control
from hub.registry.user_acts import RemoveUser
from tests.acceptance.devices import Http
from tests.acceptance.people import PASSWORD, Person, add_user
from tests.acceptance.real_hub import QUICK_PPO, RealHub, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS: Final = "[console]\nlogin_free = 3\nlogin_wait_s_max = 30.0\nupload_mb_max = 1\n"
ADMIN: Final = "root"
PAGES: Final = {"kind": "publishable", "origins": "https://museum.example"}
WRONG: Final = 5
"""Tries of somebody who does not know the password."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub with an admin, and two owners with an agent and a device each."""
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data", SETTINGS)
    hub.start()
    add_user(hub, ADMIN, "admin")
    for owner in ("alice", "bob"):
        add_user(hub, owner)
        key = hub.make_agent(f"agent-of-{owner}")
        hub.change(f"agent-of-{owner}", owner=owner)
        with Http(hub.ready.http) as http:
            step_through(http, key, f"device-of-{owner}")
    yield hub
    hub.end()


def step_through(http: Http, key: str, device: str) -> None:
    """Two short episodes."""
    for step in range(6):
        said = {"device": device, "s": step, "o": [0, 0, 0, 0], "r": 1.0, "d": int(step % 3 == 2)}
        status, answer = http.step(key, said)
        assert status == 200, answer


@pytest.fixture
def person(hub: RealHub) -> Iterator[Callable[[str], Person]]:
    """People who have logged in, by name."""
    people: list[Person] = []

    def enter(name: str) -> Person:
        people.append(Person(hub))
        assert people[-1].log_in(name).status_code == 303
        return people[-1]

    yield enter
    for one in people:
        one.http.close()


# --- who gets in ---------------------------------------------------------------------------


def test_the_right_password_lets_in_and_the_log_says_who(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    alice = person("alice")
    assert "agent-of-alice" in alice.see("/agents")
    cookies = [
        header
        for response in (alice.send("/login", name="alice", password=PASSWORD),)
        for header in response.headers.get_list("set-cookie")
    ]
    assert all("HttpOnly" in cookie and "SameSite=strict" in cookie for cookie in cookies)
    assert "logged_in" in acts_of(hub, "alice")
    assert alice.send("/logout").status_code == 303
    assert alice.get("/agents").headers["location"].startswith("/console/login")
    assert acts_of(hub, "alice")[-1] == "logged_out"


def acts_of(hub: RealHub, operator: str) -> list[str]:
    rows = hub.sql(f"SELECT act FROM operators WHERE operator = '{operator}' ORDER BY seq")
    return [row["act"] for row in rows]


def test_a_wrong_password_and_an_unknown_name_are_told_the_same(hub: RealHub) -> None:
    with Person(hub) as stranger:
        answers = [stranger.log_in("nobody-here", "wrong"), stranger.log_in("bob", "wrong")]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert all("do not belong together" in answer.text for answer in answers)
    refused = "SELECT subject FROM operators WHERE act = 'login_refused' ORDER BY seq"
    assert [row["subject"] for row in hub.sql(refused)][-2:] == ["nobody-here", "bob"]


def test_guessing_has_to_wait_and_the_person_whose_name_it_is_does_not(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")  # his browser is known from now on
    bob.send("/logout")
    with Person(hub, transport=httpx.HTTPTransport(local_address="127.0.0.77")) as stranger:
        answers = [stranger.log_in("bob", "wrong").status_code for _ in range(WRONG)]
        assert answers[0] == 401
        assert answers[-1] == 429
        assert stranger.log_in("bob").status_code == 429, "not even the right one is looked at"
    assert bob.log_in("bob").status_code == 303


def test_a_form_without_its_token_does_nothing(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    alice = person("alice")
    for fields in ({}, {"_csrf_token": "0" * 128}):
        answer = alice.http.post("/agents/agent-of-alice/pause", data=fields)
        assert answer.status_code == 403
    assert hub.ask(control.Show("agent", "agent-of-alice"))["status"] == "active"


def test_another_password_ends_the_other_logins(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    add_user(hub, "carol")
    here, there = person("carol"), person("carol")
    fields = {"password": PASSWORD, "new": "another one 123", "again": "another one 123"}
    assert here.send("/account", **fields | {"password": "wrong"}).status_code == 422
    assert here.send("/account", **fields | {"again": "typed otherwise"}).status_code == 422
    assert here.send("/account", **fields).status_code == 303
    assert here.get("/agents").status_code == 200
    assert there.get("/agents").status_code == 303
    hub.ask(RemoveUser("carol"))
    assert here.get("/agents").status_code == 303


def test_it_leads_nobody_to_another_site(hub: RealHub) -> None:
    for wanted in ("//evil.example/", "https://evil.example", "/console//evil.example", "\\\\evil"):
        with Person(hub) as alice:
            answer = alice.send("/login", name="alice", password=PASSWORD, next=wanted)
            assert answer.headers["location"] == "/console/"


# --- what each sees --------------------------------------------------------------------------


def test_an_admin_sees_all(person: Callable[[str], Person]) -> None:
    page = person(ADMIN).see("/agents")
    assert "agent-of-alice" in page
    assert "agent-of-bob" in page


def test_every_answer_says_what_the_browser_may_do(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    alice = person("alice")
    for path in ("/agents", "/login", "/nothing", "/static/console.css", "/agents/agent-of-bob"):
        headers = alice.get(path).headers
        policy = headers.get("content-security-policy", "")
        if path == "/nothing":
            continue  # no route of the console: a problem document, no page
        assert "default-src 'none'" in policy, path
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"


# --- what the buttons do -----------------------------------------------------------------------


def test_buttons_change_the_agent_in_the_persons_name(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    alice = person("alice")
    for button, field, value in (
        ("pause", "status", "paused"),
        ("resume", "status", "active"),
        ("rest", "learning", False),
        ("learn", "learning", True),
    ):
        assert alice.send(f"/agents/agent-of-alice/{button}").status_code == 303
        assert hub.ask(control.Show("agent", "agent-of-alice"))[field] == value
    assert acts_of(hub, "alice")[-4:] == ["agent_made"] * 4


def test_restart_forgets_the_policy_and_delete_hides_the_agent(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    hub.make_agent("doomed")
    hub.change("doomed", owner="alice")
    alice = person("alice")
    seed = hub.ask(control.Show("agent", "doomed"))["seed"]
    alice.send("/agents/doomed/restart")
    assert hub.ask(control.Show("agent", "doomed"))["seed"] != seed
    alice.send("/agents/doomed/delete")
    assert alice.get("/agents/doomed").status_code == 404


def test_clearing_the_curve_hides_its_points_and_keeps_the_log(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    alice = person("alice")
    assert len(alice.get("/agents/agent-of-alice/curve").json()["points"]) == 2
    alice.send("/agents/agent-of-alice/clear")
    assert alice.get("/agents/agent-of-alice/curve").json()["points"] == []
    assert hub.value("SELECT count(*) FROM episodes WHERE agent = 'agent-of-alice'") == 2


def test_an_agents_events_are_taken_along_as_csv_and_parquet(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    wanted = hub.value("SELECT count(*) FROM events WHERE agent = 'agent-of-bob'")
    rows = list(csv.DictReader(io.StringIO(bob.get("/agents/agent-of-bob/events.csv").text)))
    table: Any = pq.read_table(io.BytesIO(bob.get("/agents/agent-of-bob/events.parquet").content))
    assert len(rows) >= wanted
    assert table.num_rows >= wanted
    assert set(table["agent"].to_pylist()) == {"agent-of-bob"}


def test_an_older_version_acts_again_and_the_files_of_others_go(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    """Two versions: the first that the trainer makes, and the same once more, promoted."""
    alice = person("alice")
    until(lambda: "acts</span>" in alice.see("/agents/agent-of-alice/policies"), "a version")
    acts = hub.ask(control.Show("agent", "agent-of-alice"))["policy"]
    answer = alice.send(f"/agents/agent-of-alice/policies/{acts}/promote")
    assert answer.status_code == 303
    assert hub.ask(control.Show("agent", "agent-of-alice"))["policy"] == acts + 1
    alice.send("/agents/agent-of-alice/policies/delete-older")
    assert "checkpoints_deleted" in acts_of(hub, "alice")
    file = alice.get(f"/agents/agent-of-alice/policies/{acts + 1}/safetensors")
    assert file.headers["content-disposition"] == (
        f'attachment; filename="agent-of-alice-v{acts + 1}.safetensors"'
    )
    assert len(file.content) > 1000


def test_a_policy_is_taken_in_from_a_file_and_vetted_first(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    page = "/agents/agent-of-bob/policies"
    until(lambda: "acts</span>" in bob.see(page), "a version")
    acts = hub.ask(control.Show("agent", "agent-of-bob"))["policy"]
    file = bob.get(f"{page}/{acts}/zip").content

    def upload(to: Person, body: bytes, **fields: str) -> httpx.Response:
        data = {"_csrf_token": to.token(), **fields}
        return to.http.post(f"{page}/import", data=data, files={"file": ("mine.zip", body)})

    assert upload(person("alice"), file).status_code == 404
    assert upload(bob, file, _csrf_token="0" * 128).status_code == 403
    upload(bob, b"nonsense")
    assert "&#39;mine.zip&#39;" in bob.see(page)
    assert bob.http.post(f"{page}/import", data={"_csrf_token": bob.token()}).status_code == 303
    assert "choose a file" in bob.see(page)
    assert upload(bob, bytes(2 << 20)).status_code == 303
    assert "the file has over 1 MB" in bob.see(page)
    assert hub.ask(control.Show("agent", "agent-of-bob"))["policy"] == acts
    assert upload(bob, file).status_code == 303
    assert "policy acts, as version" in bob.see(page)
    assert hub.ask(control.Show("agent", "agent-of-bob"))["policy"] == acts + 1
    assert "imported by bob" in bob.see(page)


# --- the other pages -----------------------------------------------------------------------------


def shown_secret(person: Person, path: str) -> str:
    """What stands on a page this once."""
    found = re.search(r'id="secret" readonly value="([^"]+)"', person.see(path))
    assert found is not None
    return found[1]


def test_a_keys_secret_is_shown_once_and_opens_until_it_is_revoked(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    bob.send("/keys", kind="device", agent="agent-of-bob", device="device-of-bob")
    secret = shown_secret(bob, "/keys")
    assert secret not in bob.see("/keys")
    with Http(hub.ready.http) as http:
        said = {"device": "device-of-bob", "o": [0, 0, 0, 0]}
        assert http.step(secret, said)[0] == 200
        key_id = secret.partition(".")[0]
        assert bob.send(f"/keys/{key_id}/revoke").status_code == 303
        assert http.step(secret, said)[0] == 401


def test_a_persons_own_key_asks_for_that_person(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    bob.send("/keys", kind="operator")
    headers = {"Authorization": f"Bearer {shown_secret(bob, '/keys')}"}
    with Http(hub.ready.http) as http:
        query = {"query": "SELECT DISTINCT agent FROM events"}
        status, answer = http.ask("POST", "/v1/sql", query, headers)
    assert (status, answer) == (200, {"agent": "agent-of-bob"})


def test_a_key_for_web_pages_has_origins_and_a_quota_and_can_be_revoked(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    bob = person("bob")
    wanted = {"kind": "publishable", "agent": "agent-of-bob", "sessions": "7", "rate": "2.5"}
    assert bob.send("/keys", **wanted | {"agent": "agent-of-alice"}).status_code == 404
    bob.send("/keys", **wanted, origins="https://museum.example, http://localhost:8080")
    secret = shown_secret(bob, "/keys")
    page = bob.see("/keys")
    assert "pages of https://museum.example, http://localhost:8080" in page
    assert "7 sessions at once, 2.5 messages a second" in page
    with Http(hub.ready.http) as http:
        login = ("POST", "/shepherd/login_user/", {"apikey": secret})
        headers = {"Origin": "https://museum.example"}
        assert "ok" in http.ask(*login, headers)[1]
        bob.send(f"/keys/{secret.partition('.')[0]}/revoke")
        assert "ok" not in http.ask(*login, headers)[1]


def test_an_admin_adds_a_user_gives_another_password_and_removes_it(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    root = person(ADMIN)
    root.send("/users", name="dave", role="owner", password=PASSWORD)
    dave = person("dave")
    root.send("/users/dave/password", password="another one 123")
    assert dave.get("/agents").status_code == 303
    root.send("/users/dave/remove")
    assert "dave" not in hub.ask(control.Show("users"))
    root.send(f"/users/{ADMIN}/remove")
    assert "can&#39;t remove yourself" in root.see("/users")
    refused = root.send("/users", name="eve", role="god", password=PASSWORD)
    assert "a role is owner or admin" in refused.text
    assert PASSWORD not in refused.text


def test_a_device_is_added_moved_and_forgotten(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    hub.make_agent("second-of-bob")
    hub.change("second-of-bob", owner="bob")
    bob = person("bob")
    for agent in ("agent-of-bob", "second-of-bob"):
        bob.send("/devices", device="wanderer", agent=agent)
        assert {"device": "wanderer", "agent": agent} in hub.ask(control.Show("devices"))
    bob.send("/devices/forget", device="wanderer")
    assert all(row["device"] != "wanderer" for row in hub.ask(control.Show("devices")))


@pytest.mark.parametrize(
    ("path", "typed", "field", "said"),
    [
        ("/devices", {"device": "Two Words"}, "device", "must match"),
        ("/devices", {"device": "device-of-alice"}, "device", "belongs to somebody else"),
        ("/devices/forget", {"device": "nowhere"}, "device", "there is no device"),
        ("/keys", {"kind": "device", "device": "hub"}, "device", "must match"),
        ("/keys", PAGES | {"origins": "museum"}, "origins", "is no origin"),
        ("/keys", PAGES | {"sessions": "many"}, "sessions", "a whole number"),
        ("/keys", PAGES | {"sessions": "0"}, "sessions", "are 1 to"),
        ("/keys", PAGES | {"rate": "-1"}, "rate", "are above 0"),
        ("/new-agent", {"name": "Two Words"}, "name", "must match"),
        ("/new-agent", {"name": "agent-of-bob"}, "name", "exists"),
        ("/new-agent", {"name": "x", "deadline_ms": "soon"}, "deadline_ms", "a whole number"),
        ("/new-agent", {"name": "x", "actions": "[2"}, "actions", "is not JSON"),
        ("/new-agent", {"name": "x", "fallback": "7"}, "fallback", "fallback"),
        ("/new-agent", {"name": "x", "safety": '{"rule": 1}'}, "safety", "safety"),
        ("/new-agent", {"name": "x", "p.gamma": "2"}, "p.gamma", "gamma"),
        ("/agents/agent-of-bob/edit", {"memory_mb": "-1"}, "memory_mb", "memory_mb is"),
    ],
)
def test_a_refused_form_keeps_what_was_typed_and_says_why_at_the_field(
    person: Callable[[str], Person], path: str, typed: dict[str, str], field: str, said: str
) -> None:
    page = person("bob").send(path, **({"agent": "agent-of-bob"} | typed))
    assert page.status_code == 422
    (message,) = re.findall(r'id="mistake" role="alert">([^<]+)<', page.text)
    assert said in html.unescape(message)
    pattern = rf'<(?:input|textarea)[^>]* name="{field}"[^>]*aria-invalid="true"[^>]*>([^<]*)'
    (found,) = re.finditer(pattern, page.text)
    assert typed[field] in html.unescape(found[0])


def test_a_query_is_answered_with_the_rows_one_may_see_and_a_chart(
    person: Callable[[str], Person],
) -> None:
    bob = person("bob")
    page = bob.send("/log", query="SELECT range AS x, range * 2 AS y FROM range(600)").text
    assert "First 500 rows" in page
    assert drawn(page) == 600
    assert "of the first" not in page
    page = bob.send("/log", query="SELECT range AS x, range * 2 AS y FROM range(6000)").text
    assert drawn(page) == 5000
    assert "of the first 5,000 rows" in page
    page = bob.send("/log", query="SELECT DISTINCT agent FROM events ORDER BY agent").text
    assert "agent-of-bob" in page
    assert "agent-of-alice" not in page
    refused = bob.send("/log", query="DROP TABLE events")
    assert refused.status_code == 422
    assert "DROP TABLE events" in refused.text  # what was typed stays
    file = bob.send("/log/download", query="SELECT 1 AS a", form="csv")
    assert file.text == "a\r\n1\r\n"


def drawn(page: str) -> int:
    """Points of the chart on a page."""
    found = re.search(r'data-chart="([^"]+)"', page)
    assert found is not None
    places: list[float] = json.loads(html.unescape(found[1]))["data"][0]
    return len(places)


def test_an_agent_whose_trainer_was_killed_is_shown_as_failing_and_why(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    def trainer() -> int:
        return int(hub.ask(control.Status())["processes"].get("trainer-agent-of-bob", 0))

    until(lambda: trainer() > 0, "the trainer runs")
    bob = person("bob")
    assert "failing" not in bob.see("/agents")
    os.kill(trainer(), signal.SIGKILL)
    until(lambda: "failing" in bob.see("/agents"), "it is noticed")
    page = bob.see("/agents/agent-of-bob")
    assert "The trainer of this agent ended once" in page
    assert "killed by signal 9" in page


def test_a_box_has_a_density_where_choices_have_a_probability(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    key = hub.make_agent("motor", actions=[[1], -1.0, 1.0])
    with Http(hub.ready.http) as http:
        step_through(http, key, "motor-1")
    root = person(ADMIN)
    assert "Log density" in root.see("/agents/motor")
    assert "Probability" in root.see("/agents/agent-of-bob")


def test_a_device_that_trails_its_peers_is_shown_with_the_evidence(
    hub: RealHub, person: Callable[[str], Person]
) -> None:
    guarded = {**QUICK_PPO, "guard_episodes": "5"}
    key = hub.make_agent("flock", parameters=guarded)
    alice = person(ADMIN)
    assert "Guard of the shared policy" not in alice.see("/agents/flock")
    with Http(hub.ready.http) as http:
        for step in range(45):
            for device, reward in (("good-1", 1.0), ("good-2", 1.0), ("poor", 0.0)):
                said = {"device": device, "s": step, "o": [0, 0, 0, 0], "r": reward}
                assert http.step(key, said | {"d": int(step % 3 == 2)})[0] == 200
    until(lambda: "own policy on trial" in alice.see("/agents/flock"), "the guard decides")
    page = alice.see("/agents/flock")
    assert "Its last 5 episodes earned 0.00 on average" in page
    assert "median is 2.00" in page


def test_the_trail_says_who_did_what(person: Callable[[str], Person]) -> None:
    page = person(ADMIN).see("/trail")
    assert "logged in" in page
    assert "agent made" in page


def test_every_example_of_the_log_page_is_answered(person: Callable[[str], Person]) -> None:
    alice = person("alice")
    for sql in examples("agent-of-alice").values():
        assert alice.send("/log", query=sql).status_code == 200, sql


def test_the_first_account_is_made_by_whoever_has_the_link_that_the_hub_printed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    hub = RealHub(tmp_path_factory.mktemp("new") / "data")
    hub.start()
    try:
        fields = {"name": "first", "password": PASSWORD, "again": PASSWORD}
        with Person(hub) as stranger:  # at the machine, or so it looks through a tunnel
            assert stranger.send("/setup", **fields).status_code == 403
            assert stranger.send("/setup", **fields, token="guessed").status_code == 403
        file = hub.data / "first-account.url"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        link = file.read_text().strip()
        assert link in hub.says.read_text()
        fields["token"] = link.partition("token=")[2]
        with Person(hub) as person:
            assert person.get("/login").headers["location"] == "/console/setup"
            assert f'value="{fields["token"]}"' in person.http.get(link).text
            assert person.send("/setup", **fields | {"again": "typo"}).status_code == 422
            assert person.send("/setup", **fields).headers["location"] == "/console/new-agent"
            assert not file.exists()
            assert "New agent" in person.see("/new-agent")
            made = {"name": "heating", "algorithm": "PPO", "observations": "2", "actions": "2"}
            person.send("/new-agent", **made)
            python = snippets_of(person.see("/agents/heating/connect"))["Python"]
        with Person(hub) as late:
            assert late.send("/setup", **fields | {"name": "second"}).status_code == 403
        run_snippet(python)
        until(lambda: hub.value("SELECT count(*) FROM events WHERE device = 'python-1'"), "a step")
    finally:
        hub.end()


def snippets_of(page: str) -> dict[str, str]:
    """The lines for each language, with the key filled in."""
    found = re.findall(r'aria-label="(\w+)"><code>(.*?)</code>', page, re.DOTALL)
    assert len(found) == 6
    return {language: html.unescape(code) for language, code in found}


def run_snippet(code: str) -> None:
    """As a person would, until it has printed what to do once."""
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert '"a"' in process.stdout.readline().replace("'", '"')
        process.kill()
