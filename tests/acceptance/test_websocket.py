"""`/v1/ws`: the native messages, one a frame, over a real hub's socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from hub.registry import key_acts
from hub.words import EXTERNAL
from tests.acceptance.devices import Http, bearer
from tests.acceptance.real_hub import HOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

ZEROS: Final = [0, 0, 0, 0]
ANSWER_S_MAX: Final = 10


def opened(hub: RealHub, key: str | None, **headers: str) -> ClientConnection:
    """A connection; without a key none is shown yet."""
    shown = {} if key is None else bearer(key)
    return connect(f"ws://{HOST}:{hub.ready.http}/v1/ws", additional_headers=shown | headers)


def tell(socket: Connection, document: Any) -> Any:
    """One frame, and the next that comes back."""
    socket.send(document if isinstance(document, str | bytes) else msgspec.json.encode(document))
    return hear(socket)


def hear(socket: Connection) -> Any:
    return msgspec.json.decode(socket.recv(ANSWER_S_MAX))


def test_each_observation_is_answered_with_its_action_and_seq(hub: RealHub) -> None:
    key = hub.make_agent("ws")
    with opened(hub, key) as socket:
        given = []
        for step in range(5):
            answer = tell(socket, {"device": "ws-1", "s": step, "o": ZEROS, "r": 1})
            assert (answer["s"], answer["device"], answer["a"] in (0, 1)) == (step, "ws-1", True)
            given.append(answer["seq"])
        assert tell(socket, {"device": "ws-1", "s": 5, "o": ZEROS, "d": 1})["a"] is None
    where = "device = 'ws-1' AND kind = 'observation' AND step < 5"
    seqs = hub.sql(f"SELECT seq FROM events WHERE {where} ORDER BY seq")
    assert given == [row["seq"] for row in seqs]


def test_a_first_frame_without_a_key_is_told_what_it_must_be(hub: RealHub) -> None:
    with opened(hub, None) as socket:
        answer = tell(socket, {"device": "ws-1", "s": 0, "o": ZEROS})
        assert answer["status"] == 401
        assert "the first frame must" in answer["detail"]
        with pytest.raises(ConnectionClosed):
            socket.recv(ANSWER_S_MAX)


def test_a_field_that_no_message_has_is_told_beside_the_answer(hub: RealHub) -> None:
    with opened(hub, hub.make_agent("ws-misspelt")) as socket:
        first = tell(socket, {"device": "ws-odd", "s": 0, "o": ZEROS, "rewrad": 1})
        assert "no field 'rewrad'" in first["detail"]
        assert hear(socket)["s"] == 0
        assert tell(socket, {"device": "ws-odd", "s": 1, "o": ZEROS, "rewrad": 1})["s"] == 1


def test_a_text_or_binary_frame_may_be_in_long_names(hub: RealHub) -> None:
    with opened(hub, hub.make_agent("ws-long")) as socket:
        assert tell(socket, '{"device":"wl","step":7,"obs":[0,0,0,0],"done":false}')["s"] == 7
        assert tell(socket, b'{"device":"wl","step":8,"obs":[0,0,0,0]}')["s"] == 8


def test_a_repeat_over_http_gets_the_action_given_over_the_socket(hub: RealHub, http: Http) -> None:
    key = hub.make_agent("ws-twice")
    said = {"device": "wt", "s": 0, "b": 1, "o": ZEROS}
    with opened(hub, key) as socket:
        answer = tell(socket, said)
    assert http.step(key, said)[1] == {k: v for k, v in answer.items() if k != "device"}


def test_a_persons_reward_adds_to_the_next_observations(hub: RealHub) -> None:
    with opened(hub, hub.make_agent("ws-reward")) as socket:
        tell(socket, {"device": "wr", "s": 0, "o": ZEROS})
        assert set(tell(socket, {"device": "wr", "r": 2.5})) == {"seq", "device"}
        tell(socket, {"device": "wr", "s": 1, "o": ZEROS, "r": 1})
    last = "SELECT reward FROM events WHERE device = 'wr' AND kind = 'observation' AND step = 1"
    assert hub.value(last) == 3.5


def test_the_first_frame_shows_the_key_where_no_header_can(hub: RealHub) -> None:
    with opened(hub, None) as socket:
        assert tell(socket, {"key": hub.make_agent("ws-key")}) == {"ok": 1}
        assert tell(socket, {"device": "wk", "s": 0, "o": ZEROS})["s"] == 0


@pytest.mark.parametrize("first", ['{"key":"wrong"}', '{"key":5}', "{}", "no", "[]"])
def test_without_an_accepted_key_it_is_closed_with_the_reason(hub: RealHub, first: str) -> None:
    with opened(hub, None) as socket:
        refused = tell(socket, first)
        assert (refused["status"], refused["code"]) == (401, "auth")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(ANSWER_S_MAX)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1008


def test_a_wrong_key_in_a_header_is_refused_before_it_opens(hub: RealHub) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(hub, "wrong")
    assert refused.value.response.status_code == 401
    assert b"not accepted" in (refused.value.response.body or b"")


def test_who_shows_no_key_in_time_is_closed(new_hub: Callable[[str], RealHub]) -> None:
    hub = new_hub("[mqtt]\nconnect_timeout_s = 0.2\n")
    hub.start()
    with opened(hub, None) as socket:
        assert "no key came within 0.2 s" in hear(socket)["detail"]
        with pytest.raises(ConnectionClosed):
            socket.recv(ANSWER_S_MAX)


@pytest.mark.parametrize(
    ("frame", "status", "code"),
    [
        ("{", 400, "payload"),
        ("[1]", 400, "payload"),
        ('{"o":[0,0,0,0]}', 400, "payload"),
        ('{"device":"wb","s":3}', 400, "payload"),
        ('{"device":"wb","o":[0,0,0]}', 422, "shape"),
        ('{"device":"wb","o":[0,0,0,"x"]}', 422, "type"),
        ('{"device":"wb","r":"much"}', 422, "type"),
        ('{"device":"hub","o":[0,0,0,0]}', 403, "auth"),
        ('{"device":"wb","env":"reset"}', 422, "type"),
        ('{"device":"wb","env":"fly"}', 400, "payload"),
        ('{"device":"wb","env":[1]}', 400, "payload"),
        (b"\xff\xfe", 400, "payload"),
        ("[" * 5000, 400, "payload"),
    ],
)
def test_what_is_refused_costs_one_frame(
    hub: RealHub, bad: str, frame: str | bytes, status: int, code: str
) -> None:
    with opened(hub, bad) as socket:
        refused = tell(socket, frame)
        assert (refused["status"], refused["code"]) == (status, code), refused
        assert len(refused["detail"]) > 10
        assert "a" in tell(socket, {"device": "wb", "o": ZEROS})


@pytest.fixture(scope="module")
def bad(hub: RealHub) -> str:
    """The key of the agent that is sent nonsense."""
    return hub.make_agent("ws-bad")


def test_a_frame_over_the_limit_closes_the_socket(hub: RealHub) -> None:
    with opened(hub, hub.make_agent("ws-large")) as socket:
        socket.send(" " * (1 << 20) + "{}")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(ANSWER_S_MAX)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


def test_a_revoked_key_closes_the_socket_at_once(hub: RealHub) -> None:
    key = hub.make_agent("ws-gone")
    with opened(hub, key) as socket:
        tell(socket, {"device": "wg", "s": 0, "o": ZEROS})
        hub.ask(key_acts.RevokeKey(key.partition(".")[0]))
        assert hear(socket)["status"] == 401
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(ANSWER_S_MAX)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_the_newest_connection_speaks_for_a_device(hub: RealHub) -> None:
    key = hub.make_agent("ws-new")
    with opened(hub, key) as old, opened(hub, key) as new:
        tell(old, {"device": "wn", "s": 0, "b": 1, "o": ZEROS})
        tell(new, {"device": "wn", "s": 1, "b": 1, "o": ZEROS})
        assert "a newer connection speaks for device 'wn'" in hear(old)["detail"]
        refused = tell(old, {"device": "wn", "s": 2, "b": 1, "o": ZEROS})
        assert (refused["status"], refused["device"]) == (403, "wn")
        assert tell(old, {"device": "wo", "s": 0, "o": ZEROS})["a"] in (0, 1)
        assert tell(new, {"device": "wn", "s": 2, "b": 1, "o": ZEROS})["a"] in (0, 1)


def test_a_remote_learner_acts_for_devices_over_the_same_socket(hub: RealHub) -> None:
    key = hub.make_agent("ws-far", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    with opened(hub, key) as learner, opened(hub, key) as devices:
        for name in ("f-1", "f-2"):
            learner.send(msgspec.json.encode({"env": "reset", "device": name}))
            devices.send(msgspec.json.encode({"device": name, "s": 0, "o": ZEROS}))
        seen = {answer["device"]: answer for answer in (hear(learner), hear(learner))}
        assert set(seen) == {"f-1", "f-2"}
        assert seen["f-1"]["observation"] == [0.0] * 4
        learner.send(msgspec.json.encode({"env": "step", "device": "f-2", "action": 1}))
        assert (hear(devices)["device"], 1) == ("f-2", 1)
        answer = tell(learner, {"env": "step", "device": "f-1", "action": 5})
        assert (answer["status"], answer["device"]) == (422, "f-1")
        devices.send(msgspec.json.encode({"device": "f-2", "s": 1, "o": ZEROS, "r": 2}))
        assert (hear(learner)["reward"]) == 2.0


def test_no_other_route_takes_a_websocket_and_this_one_no_request(hub: RealHub, http: Http) -> None:
    for path in ("/v1/step", "/shepherd/env/", "/v1/sql", "/v1/env/d/step", "/healthz", "/none"):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"ws://{HOST}:{hub.ready.http}{path}")
        assert refused.value.response.status_code in (403, 404), path
    status, refused = http.ask("GET", "/v1/ws")
    assert (status, refused["code"]) == (426, "payload")


def test_a_page_of_another_origin_is_refused(new_hub: Callable[[str], RealHub]) -> None:
    hub = new_hub('[http]\norigins = "https://museum.example"\n')
    hub.start()
    key = hub.make_agent("ws-page")
    with pytest.raises(InvalidStatus) as refused:
        opened(hub, key, Origin="https://elsewhere.example")
    assert refused.value.response.status_code == 403
    with opened(hub, key, Origin="https://museum.example") as socket:
        assert tell(socket, {"device": "wp", "o": ZEROS})["a"] in (0, 1)


def test_the_end_of_the_hub_closes_the_socket(new_hub: Callable[[str], RealHub]) -> None:
    hub = new_hub("")
    hub.start()
    with opened(hub, hub.make_agent("ws-end")) as socket:
        tell(socket, {"device": "we", "o": ZEROS})
        assert hub.stop() == 0
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(ANSWER_S_MAX)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
