"""What Shepherd's admin pages have, field by field and action by action, in the console.

docs/shepherd.md is the list; each test is named after its row.
"""

from __future__ import annotations

import csv
import html
import io
import re
import zipfile
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from hub import control
from tests.acceptance.devices import Http
from tests.acceptance.people import PASSWORD, Person, add_user
from tests.acceptance.real_hub import RealHub, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

pytestmark = pytest.mark.acceptance

ALGORITHMS: Final = ("PPO", "A2C", "DQN", "SAC", "TD3", "DDPG", "BDPI")
"""Shepherd's, by its manual."""
DECLARED: Final = {
    "name": "herd",
    "algorithm": "PPO",
    "observations": "[[2], -1.0, 1.0]",
    "actions": "3",
    "cpu_percent": "80",
    "p.n_steps": "64",
    "p.batch_size": "32",
}


class Desk(NamedTuple):
    """Ann is at the console, her agent's device has stepped."""

    hub: RealHub
    ann: Person
    key: str


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """An agent made by the form, and two episodes of its device in Shepherd's protocol."""
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data")
    hub.start()
    add_user(hub, "root", "admin")
    for name in ("ann", "bob"):
        add_user(hub, name)
    with Person(hub) as ann:
        ann.log_in("ann")
        made = ann.send("/new-agent", **DECLARED)
        assert made.status_code == 303, made.text
        key = shown_secret(ann.see("/agents/herd/connect"))
        with Http(hub.ready.http) as http:
            session = http.shepherd("login_user", {"apikey": key, "device": "ewe-1"})["session_key"]
            for step in range(6):
                said = {"session_key": session, "obs": [0, 0], "reward": 1.5, "done": step % 3 == 2}
                assert "action" in http.shepherd("env", said)
        yield Desk(hub, ann, key)
    hub.end()


def shown_secret(page: str) -> str:
    """The key that a page shows this once."""
    found = re.search(r'id="secret" readonly value="([^"]+)"', page)
    assert found is not None
    return found[1]


def field(page: str, name: str) -> str:
    """The tag of a form's field."""
    found = re.search(rf'<(?:input|textarea|select)[^>]* name="{re.escape(name)}"[^>]*>', page)
    assert found is not None, f"there is no field {name}"
    return html.unescape(found[0])


def show(desk: Desk) -> dict[str, object]:
    """The agent as the hub has it."""
    shown: dict[str, object] = desk.hub.ask(control.Show("agent", "herd"))
    return shown


def refused(desk: Desk, **typed: str) -> httpx.Response:
    """The form once more, since something in it can't be."""
    answer = desk.ann.send("/new-agent", **(DECLARED | {"name": "other"} | typed))
    assert answer.status_code == 422
    return answer


# --- models and fields ------------------------------------------------------------------------


def test_user_is_added_by_an_admin_and_may_log_in(desk: Desk) -> None:
    with Person(desk.hub) as root, Person(desk.hub) as eve:
        root.log_in("root")
        root.send("/users", name="eve", role="owner", password=PASSWORD)
        assert eve.log_in("eve").status_code == 303


def test_algorithm_name_is_in_the_list_without_being_entered(desk: Desk) -> None:
    page = desk.ann.see("/algorithms")
    assert [name for name in ALGORITHMS if f">{name}</a>" not in page] == []


def test_algorithm_can_continuous_actions_is_said_and_kept_to(desk: Desk) -> None:
    rows = desk.ann.see("/algorithms").split("<tr>")
    (dqn,) = (row for row in rows if ">DQN</a>" in row)
    (sac,) = (row for row in rows if ">SAC</a>" in row)
    assert ("Box" in dqn, "Box" in sac) == (False, True)
    assert "DQN" in refused(desk, algorithm="DQN", actions="[[1], -1.0, 1.0]").text


def test_parameter_name_is_a_field_with_help(desk: Desk) -> None:
    page = desk.ann.see("/new-agent")
    assert "about-gae_lambda" in field(page, "p.gae_lambda")
    assert 'id="about-gae_lambda"' in page


def test_parameter_algo_decides_which_fields_there_are(desk: Desk) -> None:
    forms = [desk.ann.see(f"/new-agent?algorithm={name}") for name in ("PPO", "SAC")]
    assert ['name="p.gae_lambda"' in form for form in forms] == [True, False]
    assert ['name="p.tau"' in form for form in forms] == [False, True]


@pytest.mark.parametrize(("name", "wrong"), [("n_steps", "1.5"), ("gamma", "much"), ("gamma", "7")])
def test_parameter_t_is_checked(desk: Desk, name: str, wrong: str) -> None:
    page = refused(desk, **{f"p.{name}": wrong}).text
    assert f'value="{wrong}"' in field(page, f"p.{name}"), "what was typed stays"
    assert name in page[page.index('role="alert"') :][:300]


def test_parameter_default_value_stands_in_its_field(desk: Desk) -> None:
    assert 'placeholder="0.8"' in field(desk.ann.see("/new-agent"), "p.gae_lambda")


def test_parametervalue_agent_is_the_one_whose_form_it_was(desk: Desk) -> None:
    found = desk.hub.value("SELECT parameters ->> 'n_steps' FROM agents WHERE agent = 'herd'")
    assert found == "64"


def test_parametervalue_param_is_one_of_the_algorithms(desk: Desk) -> None:
    assert show(desk)["parameters"] == {"n_steps": "64", "batch_size": "32"}


def test_parametervalue_value_is_shown_and_changed(desk: Desk) -> None:
    page = "/agents/herd/edit"
    assert 'value="32"' in field(desk.ann.see(page), "p.batch_size")
    desk.ann.send(page, **{"p.batch_size": "16"})
    assert 'value="16"' in field(desk.ann.see(page), "p.batch_size")
    desk.ann.send(page, **{"p.batch_size": "32"})


def test_agent_owner_and_admins_see_it_and_nobody_else(desk: Desk) -> None:
    assert show(desk)["owner"] == "ann"
    with Person(desk.hub) as bob:
        bob.log_in("bob")
        assert bob.get("/agents/herd").status_code == 404
        assert "herd" not in bob.see("/keys")


def test_agent_algo_is_shown(desk: Desk) -> None:
    assert 'value="PPO" readonly' in field(desk.ann.see("/agents/herd/edit"), "algorithm")


def test_agent_name_is_in_the_list_and_checked(desk: Desk) -> None:
    assert ">herd</a>" in desk.ann.see("/agents")
    assert "must match" in refused(desk, name="Two Words").text


def test_agent_enable_learning_is_a_button(desk: Desk) -> None:
    for button, learns in (("rest", False), ("learn", True)):
        desk.ann.send(f"/agents/herd/{button}")
        assert show(desk)["learning"] is learns


@pytest.mark.parametrize(
    "space", ["4", "[[28], 0.0, 1.0]", '[[2], [0, -1], ["inf", 1]]', '{"multi_discrete": [3, 4]}']
)
def test_agent_action_space_is_shepherds_json(desk: Desk, space: str) -> None:
    said = desk.ann.http.get("/check-space", params={"actions": space}).text
    assert 'class="fine"' in said


@pytest.mark.parametrize(
    "space", ["4", '{"distance": [[16], 0.0, 1.0], "camera": [[80, 80, 3], 0, 255]}']
)
def test_agent_observation_space_is_shepherds_json(desk: Desk, space: str) -> None:
    said = desk.ann.http.get("/check-space", params={"observations": space}).text
    assert 'class="fine"' in said


def test_agent_creation_time_is_in_the_log(desk: Desk) -> None:
    assert desk.hub.value("SELECT now() - created < INTERVAL 1 HOUR FROM agents")


def test_agent_last_activity_time_is_beside_each_device(desk: Desk) -> None:
    assert desk.hub.value("SELECT now() - last_seen < INTERVAL 1 HOUR FROM devices")
    assert re.search(r"ewe-1</th>.*?(now|ago)</td>", desk.ann.see("/agents/herd"), re.DOTALL)


def test_agent_max_percent_cpu_usage_is_set_by_the_form(desk: Desk) -> None:
    assert show(desk)["cpu_percent"] == 80
    assert 'value="80"' in field(desk.ann.see("/agents/herd/edit"), "cpu_percent")


def test_agent_parameters_are_in_its_settings(desk: Desk) -> None:
    page = desk.ann.see("/agents/herd/edit")
    assert 'value="64"' in field(page, "p.n_steps")


def test_agent_learning_curve_is_on_its_page(desk: Desk) -> None:
    assert 'data-url="/console/agents/herd/curve"' in desk.ann.see("/agents/herd")


def test_agent_special_actions_are_on_its_pages(desk: Desk) -> None:
    page = desk.ann.see("/agents/herd")
    for action in ("clear", "restart", "episodes.csv", "policies"):
        assert f"/console/agents/herd/{action}" in page
    assert "/console/agents/herd/policies/delete-older" in acting(desk)


def test_episodereturn_agent_is_in_the_view(desk: Desk) -> None:
    assert desk.hub.sql("SELECT DISTINCT agent FROM episodes") == [{"agent": "herd"}]


def test_episodereturn_datetime_is_when_it_ended(desk: Desk) -> None:
    assert desk.hub.value("SELECT bool_and(ended >= started) FROM episodes")


def test_episodereturn_ret_is_what_the_device_was_rewarded(desk: Desk) -> None:
    assert desk.hub.sql('SELECT DISTINCT "return" AS r FROM episodes') == [{"r": 3.0}]


def test_apikey_agent_is_said_beside_it(desk: Desk) -> None:
    assert '<a href="/console/agents/herd">herd</a>' in desk.ann.see("/keys")


def test_apikey_key_is_made_by_a_button_shown_once_and_opens_the_agent(desk: Desk) -> None:
    desk.ann.send("/keys", kind="device", agent="herd")
    key = shown_secret(desk.ann.see("/keys"))
    assert key not in desk.ann.see("/keys")
    with Http(desk.hub.ready.http) as http:
        assert http.shepherd("login_user", {"apikey": key})["ok"] is True


# --- actions ---------------------------------------------------------------------------------


def acting(desk: Desk) -> str:
    """The page of the agent's policies, once there is one."""
    until(lambda: "acts</span>" in desk.ann.see("/agents/herd/policies"), "a version")
    return desk.ann.see("/agents/herd/policies")


def test_endpoint_send_curve_is_the_curve_as_numbers(desk: Desk) -> None:
    points = desk.ann.get("/agents/herd/curve").json()["points"]
    assert [(device, total, steps) for device, _, _, total, steps in points[:2]] == [
        ("ewe-1", 3.0, 2)
    ] * 2


def test_endpoint_export_curve_csv_has_a_line_for_each_episode(desk: Desk) -> None:
    text = desk.ann.get("/agents/herd/episodes.csv").text
    assert [row["return"] for row in csv.DictReader(io.StringIO(text))][:2] == ["3.0", "3.0"]


def test_endpoint_generate_zip_is_a_version_as_sb3_saves_it(desk: Desk) -> None:
    acting(desk)
    body = desk.ann.get("/agents/herd/policies/0/zip").content
    assert "policy.pth" in zipfile.ZipFile(io.BytesIO(body)).namelist()


def test_endpoint_delete_zip_removes_files_that_nobody_needs(desk: Desk) -> None:
    acting(desk)
    assert desk.ann.send("/agents/herd/policies/delete-older").status_code == 303
    assert "Files removed" in desk.ann.see("/agents/herd/policies")


def test_endpoint_delete_curve_hides_it_and_the_log_keeps_it(desk: Desk) -> None:
    before = desk.hub.value("SELECT count(*) FROM episodes")
    desk.ann.send("/agents/herd/clear")
    assert desk.ann.get("/agents/herd/curve").json()["points"] == []
    assert desk.hub.value("SELECT count(*) FROM episodes") == before


def test_endpoint_kill_processes_begins_anew_and_ends_session_keys(desk: Desk) -> None:
    with Http(desk.hub.ready.http) as http:
        session = http.shepherd("login_user", {"apikey": desk.key})["session_key"]
        seed = show(desk)["seed"]
        desk.ann.send("/agents/herd/restart")
        assert show(desk)["seed"] != seed
        said = {"session_key": session, "obs": [0, 0], "reward": 0, "done": False}
        assert "was restarted" in http.shepherd("env", said)["error"]
