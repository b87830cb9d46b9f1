"""Steps as README.md and docs/device-maker.md promise them, on a running hub, from outside."""

from __future__ import annotations

import itertools
import socket
import time
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from tests.acceptance.devices import ANSWER_S_MAX, Http, Mqtt
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

DEADLINE_MS: Final = 5
"""Shorter than any process takes to start."""
SLOW_MACHINE_S: Final = 5.0
"""What a busy machine may add to a wait."""
NAGLE_MS: Final = 40.0
SEEN: Final = [0.1, -0.2, 0.3, 0.0]


@pytest.fixture(scope="module")
def key(hub: RealHub) -> str:
    """Of an agent for all tests that only look at numbers and repeats."""
    return hub.make_agent("steps")


@pytest.fixture(params=["http", "mqtt"])
def ask(
    request: pytest.FixtureRequest, hub: RealHub, key: str
) -> Iterator[Callable[[dict[str, Any]], dict[str, Any]]]:
    """Sends an observation of a device of the test's own; the `act`, or the error's code as `e`."""
    device = f"{request.param}-{_number()}".replace("http-", "native-")
    with Http(hub.ready.http) as http, Mqtt(hub.ready.mqtt) as mqtt:
        packet_ids = itertools.count(1)

        def over_http(observation: dict[str, Any]) -> dict[str, Any]:
            status, answer = http.step(key, {"device": device, **observation})
            answer.pop("seq", None)
            return answer if status == 200 else {"e": answer["code"], "s": answer.get("step")}

        def over_mqtt(observation: dict[str, Any]) -> dict[str, Any]:
            mqtt.observe(device, msgspec.json.encode(observation), packet_id=next(packet_ids))
            answer: dict[str, Any] = mqtt.said("act", "err")
            answer.pop("m", None)
            return answer

        if request.param == "mqtt":
            assert mqtt.connect(device, key) == 0
        yield over_http if request.param == "http" else over_mqtt


_numbers = itertools.count(1)


def _number() -> int:
    return next(_numbers)


def rows(hub: RealHub, kind: str) -> int:
    """Rows of a kind of the agent that `ask` speaks for."""
    return int(hub.value(f"SELECT count(*) FROM events WHERE agent = 'steps' AND kind = '{kind}'"))


def test_repeat_gets_the_same_stored_action_and_is_logged_once(hub: RealHub, ask: Any) -> None:
    before = rows(hub, "observation"), rows(hub, "action")
    first = ask({"s": 7, "o": SEEN})
    assert [ask({"s": 7, "o": SEEN}) for _ in range(3)] == [first] * 3
    assert (rows(hub, "observation"), rows(hub, "action")) == (before[0] + 1, before[1] + 1)


def test_repeat_is_recognised_among_the_last_64_steps_and_late_before(ask: Any) -> None:
    answers = [ask({"s": step, "o": SEEN, "b": 3}) for step in range(66)]
    assert ask({"s": 2, "o": SEEN, "b": 3}) == answers[2]
    assert ask({"s": 1, "o": SEEN, "b": 3}) == {"e": "late", "s": 1}


def test_same_step_with_other_content_is_a_conflict(ask: Any) -> None:
    ask({"s": 1, "o": SEEN})
    assert ask({"s": 1, "o": [9, 9, 9, 9]}) == {"e": "step", "s": 1}


def test_u16_step_numbers_wrap(hub: RealHub, ask: Any) -> None:
    for step in (65_534, 65_535, 0, 1):
        assert ask({"s": step, "o": SEEN})["s"] == step
    newest = "SELECT step, boot FROM events WHERE kind = 'observation' ORDER BY seq DESC LIMIT 4"
    logged = hub.sql(newest)
    assert [row["step"] for row in reversed(logged)] == [65_534, 65_535, 65_536, 65_537]
    assert len({row["boot"] for row in logged}) == 1


def test_boot_number_opens_a_new_run_of_the_counter(hub: RealHub, ask: Any) -> None:
    for boot in (5, 6):
        for step in (0, 1):
            ask({"s": step, "o": SEEN, "b": boot, "r": 1})
    newest = "SELECT boot, step, reward FROM events WHERE kind = 'observation' ORDER BY seq DESC"
    logged = [tuple(row.values()) for row in hub.sql(f"{newest} LIMIT 4")]
    assert logged == [(6, 1, 1.0), (6, 0, None), (5, 1, 1.0), (5, 0, None)]


def test_gap_and_reboot_join_nothing(hub: RealHub, http: Http) -> None:
    agent_key = hub.make_agent("gaps")
    for step, boot in ((0, 1), (1, 1), (4, 1), (5, 1), (0, 2), (1, 2)):
        http.step(agent_key, {"device": "gappy", "s": step, "b": boot, "o": SEEN, "r": 1})
    joined = hub.sql("SELECT boot, step FROM transitions WHERE agent = 'gaps' ORDER BY seq")
    assert [tuple(row.values()) for row in joined] == [(1, 0), (1, 4), (2, 0)]
    ended = hub.sql("SELECT ended_by, steps, return FROM episodes WHERE agent = 'gaps'")
    assert [tuple(row.values()) for row in ended] == [("gap", 1, 1.0), ("reboot", 1, 1.0)]


def test_before_any_policy_the_fallback_answers_by_the_deadline(hub: RealHub, http: Http) -> None:
    agent_key = hub.make_agent("newborn", fallback=1, deadline_ms=DEADLINE_MS)
    began = time.perf_counter()
    status, answer = http.step(agent_key, {"device": "early", "s": 0, "o": SEEN})
    took_s = time.perf_counter() - began
    assert (status, answer["a"], answer["src"]) == (200, 1, "fallback")
    assert DEADLINE_MS / 1000 <= took_s <= DEADLINE_MS / 1000 + SLOW_MACHINE_S
    query = "SELECT source, reason, policy, action FROM events WHERE agent = 'newborn'"
    (action,) = hub.sql(f"{query} AND kind = 'action'")
    assert action == {"source": "fallback", "reason": "deadline", "policy": None, "action": [1.0]}


def test_paused_agent_gives_the_fallback_at_once_and_learns_nothing(
    hub: RealHub, http: Http
) -> None:
    agent_key = hub.make_agent("pausing", fallback=1)
    _learn_a_little(hub, http, agent_key, "pausing")
    hub.change("pausing", status="paused")
    before = _versions(hub, "pausing")
    answers = [
        http.step(agent_key, {"device": "pausing", "b": 2, "s": step, "o": SEEN, "r": 1})[1]
        for step in range(100)
    ]
    assert {(answer["a"], answer["src"]) for answer in answers} == {(1, "fallback")}
    # One that was on its way when the agent was paused may still come.
    assert _versions(hub, "pausing") <= before + 1
    hub.change("pausing", status="active")
    _, answer = http.step(agent_key, {"device": "pausing", "b": 2, "s": 100, "o": SEEN, "r": 1})
    assert "src" not in answer


def test_with_learning_off_the_action_is_greedy(hub: RealHub, http: Http) -> None:
    agent_key = hub.make_agent("greedy")
    _learn_a_little(hub, http, agent_key, "greedy")

    def actions(boot: int) -> set[int]:
        steps = range(60)
        said = [{"device": "greedy", "b": boot, "s": step, "o": SEEN, "r": 0} for step in steps]
        return {http.step(agent_key, observation)[1]["a"] for observation in said}

    assert actions(2) == {0, 1}  # it explores: 1 in 2^59 that it did not
    hub.change("greedy", learning=False)
    assert len(actions(3)) == 1


def test_kept_connection_is_no_slower_than_new_ones(hub: RealHub) -> None:
    """Goal: no Nagle stall at each step. Method: alternate, so that both see the same machine."""
    agent_key = hub.make_agent("nagle")
    kept_ms, new_ms = [], []
    with Http(hub.ready.http) as kept:
        _learn_a_little(hub, kept, agent_key, "nagle")
        for step in range(60):
            kept_ms.append(_timed_ms(kept, agent_key, "kept", step))
            with Http(hub.ready.http) as new:
                new_ms.append(_timed_ms(new, agent_key, "new", step))
    assert median(kept_ms) < median(new_ms) + NAGLE_MS / 2


@pytest.mark.parametrize("slash", ["", "/"])
def test_client_without_keep_alive_or_http_1_1_is_served(
    hub: RealHub, key: str, slash: str
) -> None:
    body = msgspec.json.encode({"device": "old", "o": SEEN})
    head = f"POST /v1/step{slash} HTTP/1.0\r\nX-Api-Key: {key}\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection((HOST, hub.ready.http), ANSWER_S_MAX) as old:
        old.sendall(head.encode() + b"\r\n" + body)
        with old.makefile("rb") as answer:  # which ends when the hub hangs up
            assert b" 200 " in answer.readline()
            assert b'"a":' in answer.read()


def _timed_ms(http: Http, key: str, device: str, step: int) -> float:
    began = time.perf_counter()
    assert http.step(key, {"device": device, "s": step, "o": SEEN, "r": 1})[0] == 200
    return (time.perf_counter() - began) * 1000


def _learn_a_little(hub: RealHub, http: Http, key: str, agent: str) -> None:
    """Step until a policy of the agent's own experience acts."""
    steps = itertools.count()

    def acted_by_it() -> bool:
        said = {"device": agent, "b": 1, "s": next(steps), "o": SEEN, "r": 1}
        _, answer = http.step(key, said)
        return bool(answer.get("pv", 0) >= 1)

    until(acted_by_it, f"a policy of {agent}", timeout_s=30)


def _versions(hub: RealHub, agent: str) -> int:
    return int(hub.value(f"SELECT count(*) FROM policies WHERE agent = '{agent}'"))
