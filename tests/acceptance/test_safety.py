"""Safety rules and explanations on a running hub, from outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import pytest

from hub import control
from hub.registry import key_acts, user_acts
from tests.acceptance.devices import Http, bearer
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

COOL: Final = [0.0, 0.0, 0.0, 0.0]
HOT: Final = [0.9, 0.0, 0.0, 0.0]


class Device:
    """Steps over HTTP; `act` is the answer."""

    def __init__(self, http: Http, key: str, device: str) -> None:
        self._http = http
        self._key = key
        self._device = device
        self._next = 0

    def act(self, seen: list[float]) -> dict[str, Any]:
        """One step."""
        document = {"device": self._device, "s": self._next, "o": seen, "r": 0.0}
        self._next += 1
        status, answer = self._http.step(self._key, document)
        assert status == 200, answer
        return dict(answer)

    def act_until(self, seen: list[float], source: str | None) -> dict[str, Any]:
        """Steps until somebody chooses: None is the policy."""
        answer: dict[str, Any] = {}

        def came() -> bool:
            answer.clear()
            answer.update(self.act(seen))
            return answer.get("src") == source

        until(came, f"an action of {source or 'the policy'}")
        return answer


def explained(hub: RealHub, key: str, seq: int) -> tuple[int, Any]:
    """`GET /v1/actions/{seq}`."""
    with Http(hub.ready.http) as http:
        return http.ask("GET", f"/v1/actions/{seq}", None, bearer(key))


def test_an_interlock_forces_its_action_and_every_action_is_explained(
    hub: RealHub, http: Http
) -> None:
    rules = {"interlocks": [{"when": "o[0] > 0.5", "action": 1}]}
    key = hub.make_agent("oven", safety=rules, fallback=0)
    device = Device(http, key, "oven-1")
    device.act_until(COOL, None)
    hot = [device.act(HOT) for _ in range(20)]
    assert {answer["a"] for answer in hot} == {1}
    clamped = device.act_until(HOT, "clamp")
    assert clamped["a"] == 1

    status, refused = explained(hub, key, clamped["seq"])
    assert status == 404
    assert f"event {clamped['seq']} is an observation" in refused["detail"]
    seq = int(refused["detail"].rpartition(" ")[2])
    hub.ask(user_acts.CreateUser("ann", "admin", "correct horse"))
    ann = str(hub.ask(key_acts.CreateUserKey("ann"))["api_key"])
    for asks in (key, ann):
        status, why = explained(hub, asks, seq)
        assert status == 200
        assert (why["action"], why["wanted"], why["source"]) == (1, 0, "clamp")
        assert why["reason"] == "interlock o[0] > 0.5"
        assert why["observation"] == HOT
        assert why["observation_seq"] == clamped["seq"]
        assert why["policy"] == clamped["pv"]
        assert why["explored"] is (math.exp(why["logprob"]) < 0.5 + 1e-5)
    assert explained(hub, hub.make_agent("other"), seq)[0] == 404
    assert explained(hub, "nobody.secret", seq)[0] == 401
    assert explained(hub, ann, 10**9)[0] == 404
    device.act(COOL)
    seen = "SELECT source, action, logprob, policy FROM transitions WHERE agent = 'oven' AND "
    (last,) = hub.sql(f"{seen} seq = (SELECT max(seq) FROM transitions WHERE agent = 'oven')")
    assert (last["source"], last["action"], last["logprob"]) == ("clamp", [1.0], None)


def test_dwell_goes_on_over_kill_nine(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("fridge", safety={"dwell_s": 3600})
    with Http(fresh_hub.ready.http) as http:
        first = Device(http, key, "fridge-1")
        stands = first.act(COOL)["a"]
        first.act_until(COOL, "clamp")
        assert {first.act(COOL)["a"] for _ in range(20)} == {stands}
    fresh_hub.kill_nine()
    fresh_hub.start()
    with Http(fresh_hub.ready.http) as http:
        again = Device(http, key, "fridge-1")
        again.act_until(COOL, "clamp")
        assert {again.act(COOL)["a"] for _ in range(20)} == {stands}


def test_a_policy_clamped_again_and_again_is_paused_by_the_hub(hub: RealHub, http: Http) -> None:
    key = hub.make_agent("stubborn", safety={"low": 1, "clamps_max": 3}, fallback=1)
    device = Device(http, key, "stubborn-1")

    def paused() -> bool:
        answer = device.act(COOL)
        assert answer["a"] == 1
        return bool(hub.ask(control.Show("agent", "stubborn"))["status"] == "paused")

    until(paused, "the agent is paused")
    assert device.act(COOL)["src"] == "fallback"
    acts = hub.sql(
        "SELECT act, operator, e.reason, e.device FROM operators JOIN events AS e USING (seq) "
        "WHERE operators.agent = 'stubborn' AND operator = 'hub' ORDER BY seq"
    )
    assert [(row["act"], row["operator"]) for row in acts] == [
        ("alert", "hub"),
        ("agent_made", "hub"),
    ]
    assert "clamped 3 times in a row, last by: bounds" in acts[0]["reason"]
    assert acts[0]["device"] == "stubborn-1"
    assert "agent 'stubborn' is paused" in hub.says.read_text()
    assert hub.ask_status()["paused_by_hub"] == 1
    # Under the same bounds it would be paused anew whenever it chose 0 three times before its 1.
    hub.change("stubborn", status="active", safety={"low": 0})
    device.act_until(COOL, None)
