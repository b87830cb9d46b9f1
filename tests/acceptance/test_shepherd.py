"""Shepherd's protocol row by row – endpoints, fields, errors – against a real hub."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from hub import control
from tests.acceptance.devices import Http, Mqtt, bearer
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

OBS: Final = [0.0, 0.0, 0.0, 0.0]
DELAYED_ACK_S: Final = 0.040
"""What a small answer in two segments costs with Nagle's algorithm on (RFC 1122, 4.2.3.2)."""


class Client:
    """A login, and the fields of one step after the other."""

    def __init__(self, http: Http, key: str, **more: Any) -> None:
        self._http = http
        login = http.shepherd("login_user", {"apikey": key, **more})
        assert login["ok"] is True
        self.session_key = login["session_key"]

    def env(self, **fields: Any) -> Any:
        usual = {"obs": OBS, "reward": 0.0, "done": False, "info": {}}
        return self._http.shepherd("env", {"session_key": self.session_key} | usual | fields)


def rows(hub: RealHub, agent: str, kind: str = "observation") -> list[dict[str, Any]]:
    where = f"agent = '{agent}' AND kind = '{kind}'"
    return hub.sql(f"SELECT * FROM events WHERE {where} ORDER BY seq")


def test_endpoint_login_user_gives_ok_and_a_session_key(hub: RealHub, http: Http) -> None:
    login = http.shepherd("login_user", {"apikey": hub.make_agent("login")})
    assert (login["ok"], type(login["session_key"])) == (True, str)


def test_endpoint_env_gives_an_action_and_logs_what_was_sent(hub: RealHub, http: Http) -> None:
    client = Client(http, hub.make_agent("env"))
    first = client.env()["action"]
    assert first in (0, 1)
    client.env(obs=[1, 2, 3, 4], reward=0.5, info={"room": "attic"})
    assert client.env(done=True, reward=-1) == {"action": None}
    seen = rows(hub, "env")
    assert [row["reward"] for row in seen] == [None, 0.5, -1.0]
    assert [row["terminated"] for row in seen] == [False, False, True]
    assert seen[1]["obs"] == [1.0, 2.0, 3.0, 4.0]
    assert msgspec.json.decode(seen[1]["payload"]) == {"room": "attic"}
    assert rows(hub, "env", "action")[0]["action"] == [float(first)]


def test_field_apikey_opens_its_own_agent_only(hub: RealHub, http: Http) -> None:
    for agent in ("phone-a", "phone-b"):
        Client(http, hub.make_agent(agent)).env()
    assert [len(rows(hub, agent)) for agent in ("phone-a", "phone-b")] == [1, 1]


def test_field_ok_is_there_only_where_the_login_is_good(hub: RealHub, http: Http) -> None:
    assert http.shepherd("login_user", {"apikey": hub.make_agent("good")})["ok"] is True
    assert "ok" not in http.shepherd("login_user", {"apikey": "wrong"})


def test_field_reward_is_for_the_action_before(hub: RealHub, http: Http) -> None:
    client = Client(http, hub.make_agent("reward"))
    for reward in (9.0, 0.25, -1):
        client.env(reward=reward)
    sent = hub.sql("SELECT action, reward FROM transitions WHERE agent = 'reward' ORDER BY seq")
    assert [row["reward"] for row in sent] == [0.25, -1.0]  # before the first there was no action


def test_field_done_ends_the_episode_and_gets_a_null_action(hub: RealHub, http: Http) -> None:
    client = Client(http, hub.make_agent("done"))
    client.env()
    assert client.env(done=True) == {"action": None}
    ended = hub.sql("SELECT steps, ended_by FROM episodes WHERE agent = 'done'")
    assert ended == [{"steps": 1, "ended_by": "terminated"}]


def test_field_info_is_kept_with_the_observation(hub: RealHub, http: Http) -> None:
    Client(http, hub.make_agent("info")).env(info={"room": "attic", "people": [1, 2]})
    (row,) = rows(hub, "info")
    assert msgspec.json.decode(row["payload"]) == {"room": "attic", "people": [1, 2]}


def test_several_api_keys_of_one_agent_are_accepted(hub: RealHub, http: Http) -> None:
    keys = [hub.make_agent("twokeys"), hub.ask_key("twokeys")]
    clients = [Client(http, key) for key in keys]
    for client in clients:
        client.env()
    assert len({row["device"] for row in rows(hub, "twokeys")}) == 2


def test_field_session_key_is_reused_after_done(hub: RealHub, http: Http) -> None:
    client = Client(http, hub.make_agent("reuse"))
    for _ in range(3):
        assert client.env()["action"] in (0, 1)
        assert client.env(done=True) == {"action": None}
    ended = hub.sql("SELECT ended_by FROM episodes WHERE agent = 'reuse'")
    assert [row["ended_by"] for row in ended] == ["terminated"] * 3


def test_field_obs_null_ends_the_episode_and_gets_a_null_action(hub: RealHub, http: Http) -> None:
    client = Client(http, hub.make_agent("null"))
    client.env()
    assert client.env(obs=None) == {"action": None}
    assert client.env()["action"] in (0, 1)
    ended = hub.sql("SELECT ended_by FROM episodes WHERE agent = 'null' AND ended IS NOT NULL")
    assert [row["ended_by"] for row in ended] == ["reset"]


@pytest.mark.parametrize(
    ("name", "observations", "value", "flat"),
    [
        ("scalar", 5, 3, [3]),
        ("list", [[3], "-inf", "inf"], [1, 2.5, -3], [1, 2.5, -3]),
        ("image", [[2, 2], 0, 255], [[0, 255], [7, 8]], [0, 255, 7, 8]),
        ("dict", {"pose": [[2], -1, 1], "mode": 4}, {"mode": 3, "pose": [0, 1]}, [3, 0, 1]),
    ],
)
def test_field_obs_may_be_a(
    hub: RealHub, http: Http, name: str, observations: Any, value: Any, flat: list[float]
) -> None:
    agent = f"obs-{name}"
    algorithm = {} if name != "image" else {"algorithm": "external", "deadline_ms": 50}
    more: Any = algorithm | ({"parameters": {}} if algorithm else {})
    client = Client(http, hub.make_agent(agent, observations=observations, **more))
    assert client.env(obs=value)["action"] in (0, 1)
    assert [row["obs"] for row in rows(hub, agent)] == [flat]


@pytest.mark.parametrize(("name", "actions"), [("int", 3), ("list", [[2], -1, 1])])
def test_field_action_is_an(hub: RealHub, http: Http, name: str, actions: Any) -> None:
    action = Client(http, hub.make_agent(f"act-{name}", actions=actions)).env()["action"]
    if name == "int":
        assert action in (0, 1, 2)
    else:
        assert all(-1 <= component <= 1 for component in action)
        assert len(action) == 2


def test_field_error_of_an_unknown_apikey_is_a_sentence(http: Http) -> None:
    login = http.shepherd("login_user", {"apikey": "wrong"})
    assert set(login) == {"error"}
    assert "not accepted" in login["error"]


def test_error_of_an_unknown_session_key(http: Http) -> None:
    answer = http.shepherd("env", {"session_key": "wrong", "obs": OBS})
    assert answer == {"error": "this session_key is not known; log in again"}


def test_error_of_a_wrong_observation_names_what_is_expected(hub: RealHub, http: Http) -> None:
    answer = Client(http, hub.make_agent("wrong")).env(obs=[1, 2, 3])
    assert answer == {"error": "obs has 3 values, agent expects 4"}


def test_restart_of_the_agent_invalidates_its_session_keys(hub: RealHub, http: Http) -> None:
    key = hub.make_agent("anew")
    client = Client(http, key)
    client.env()
    hub.ask(control.RestartAgent("anew"))
    assert "agent 'anew' was restarted" in client.env()["error"]
    assert Client(http, key).env()["action"] in (0, 1)


def test_error_of_a_body_that_is_too_large_or_no_json_is_in_the_protocols_shape(
    hub: RealHub, http: Http
) -> None:
    for body, said in ((b"{" + b" " * (1 << 20), "the body has over"), (b"{no", "not JSON")):
        status, answer = http.ask("POST", "/shepherd/env/", body)
        assert (status, set(answer)) == (200, {"error"})
        assert said in answer["error"]
        http.close()


def test_pages_of_any_origin_may_ask_first_and_read_the_answer(http: Http) -> None:
    page = {"Origin": "https://museum.example", "Access-Control-Request-Method": "POST"}
    for path in ("/shepherd/login_user/", "/shepherd/env/", "/v1/step", "/v1/env/d/step"):
        status, _ = http.ask("OPTIONS", path, None, page)
        assert (status, http.headers["access-control-allow-origin"]) == (204, "*"), path
        http.ask("POST", path, b"{}", page)
        assert http.headers["access-control-allow-origin"] == "*", path


@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_a_new_connection_for_each_request_waits_for_no_acknowledgement(
    hub: RealHub, http: Http, version: str
) -> None:
    """What Nagle's algorithm holds back comes 40 ms later, each time: one sooner tells enough."""
    client = Client(http, hub.make_agent(f"once-{version[-1]}", deadline_ms=5))
    took = []
    for _ in range(20):
        body = msgspec.json.encode(
            {"session_key": client.session_key, "obs": OBS, "reward": 0, "done": False}
        )
        head = f"POST /shepherd/env/ {version}\r\nHost: hub\r\nConnection: close\r\n"
        began = time.perf_counter()
        with socket.create_connection((HOST, hub.ready.http), 10) as line:
            # In two writes, as many a small client does.
            line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
            line.sendall(body)
            answer = b"".join(iter(lambda: line.recv(4096), b""))
        took.append(time.perf_counter() - began)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b'{"action":' in answer
    assert min(took) < DELAYED_ACK_S


def test_a_page_steps_with_a_publishable_key_and_can_do_nothing_else(
    hub: RealHub, http: Http
) -> None:
    hub.make_agent("page")
    made = hub.command(
        "key", "create", "page", "--publishable", "--origin", "https://museum.example",
        "--sessions", "2", "--rate", "50",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = msgspec.json.decode(made.stdout)["api_key"]
    page = {"Origin": "https://museum.example"}
    status, login = http.ask("POST", "/shepherd/login_user/", {"apikey": key}, page)
    assert (status, login["ok"]) == (200, True)
    step = {"session_key": login["session_key"], "obs": OBS, "reward": 0, "done": False}
    status, answer = http.ask("POST", "/shepherd/env/", step, page)
    assert (status, answer["action"] in (0, 1)) == (200, True)
    assert http.ask("POST", "/v1/sql", {"query": "SELECT 1"}, page | bearer(key))[0] == 401
    with pytest.raises(InvalidStatus):
        connect(f"ws://{HOST}:{hub.ready.http}/v1/ws", additional_headers=bearer(key))
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("http-1", key) in (4, 5)
    listed = [msgspec.json.decode(line) for line in hub.command("key", "list").stdout.splitlines()]
    (shown,) = (each for each in listed if each["id"] == key.partition(".")[0])
    assert shown["publishable"] == {
        "origins": ["https://museum.example"], "sessions_max": 2, "messages_per_s": 50.0
    }  # fmt: skip
    for wrong in (["--origin", "https://a.example"], ["--publishable"]):
        assert hub.command("key", "create", "page", *wrong).returncode in (1, 2)
