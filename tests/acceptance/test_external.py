"""A learner elsewhere acts for devices over MQTT and HTTP: real hub, Gymnasium and sockets."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import msgspec
import pytest

from hub.words import EXTERNAL
from tests.acceptance.devices import Http, Mqtt
from tests.acceptance.real_hub import HOST, RealHub, until

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.acceptance

DOCUMENT: Final = Path(__file__).parents[2] / "docs/remote-learner.md"
EPISODES: Final = 3
DRAIN_S: Final = 5


def documented() -> Any:
    """The class in the documentation."""
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["Device"]


class Cart(threading.Thread):
    """CartPole-v1 as a device: it sends what it sees and does what it is told."""

    def __init__(self, line: Http | Mqtt, exchange: Callable[[dict[str, Any]], Any]) -> None:
        super().__init__()
        self._line = line
        self._exchange = exchange
        self.done: list[int] = []
        """Its actions, in order."""
        self.rewards = 0.0

    def run(self) -> None:
        """Some episodes."""
        env = gymnasium.make("CartPole-v1")
        step = 0
        for episode in range(EPISODES):
            seen, _ = env.reset(seed=episode)
            action = self._exchange({"s": step, "o": seen.tolist(), "b": 1})
            over = False
            while not over:
                step += 1
                self.done.append(action)
                seen, reward, terminated, truncated, _ = env.step(action)
                self.rewards += float(reward)
                over = terminated or truncated
                ends = {"d": int(terminated), "tr": int(truncated)}
                said = {"s": step, "o": seen.tolist(), "r": float(reward), **ends}
                action = self._exchange(said)
            assert action is None
            step += 1
        self._line.close()


def over_http(hub: RealHub, key: str) -> Cart:
    http = Http(hub.ready.http)

    def exchange(message: dict[str, Any]) -> Any:
        status, answer = http.step(key, {"device": "cart-h", **message})
        assert status == 200, answer
        return answer["a"]

    return Cart(http, exchange)


def over_mqtt(hub: RealHub, key: str) -> Cart:
    mqtt = Mqtt(hub.ready.mqtt)
    assert mqtt.connect("cart-m", key) == 0

    def exchange(message: dict[str, Any]) -> Any:
        payload = msgspec.json.encode(message)
        mqtt.observe("cart-m", payload, packet_id=message["s"] % 1000 + 1)
        return mqtt.said("act")["a"]

    return Cart(mqtt, exchange)


@pytest.mark.parametrize(("device", "cart_of"), [("cart-h", over_http), ("cart-m", over_mqtt)])
def test_the_documented_environment_drives_a_device(
    hub: RealHub, device: str, cart_of: Callable[[RealHub, str], Cart]
) -> None:
    key = hub.make_agent(f"far-{device}", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    cart = cart_of(hub, key)
    cart.start()
    spaces = gymnasium.make("CartPole-v1")
    env = documented()(
        f"http://{HOST}:{hub.ready.http}",
        device,
        key,
        spaces.observation_space,
        spaces.action_space,
    )
    chosen: list[int] = []
    rewards = 0.0
    for _ in range(EPISODES):
        (_, _, angle, _), _ = env.reset(seed=3)
        over = False
        while not over:
            chosen.append(int(angle > 0))
            (_, _, angle, _), reward, terminated, truncated, info = env.step(chosen[-1])
            assert "executed" in info["sheepfold"]
            rewards += reward
            over = terminated or truncated
    cart.join()
    assert chosen == cart.done
    assert rewards == cart.rewards > 60
    where = f"FROM events WHERE agent = 'far-{device}'"
    columns = "source, policy, reason, action"
    logged = hub.sql(f"SELECT {columns} {where} AND kind = 'action' ORDER BY seq")
    assert [row["action"] for row in logged] == [[float(action)] for action in chosen]
    by = f"remote learner with key {key.partition('.')[0]}"
    acted = {(row["source"], row["policy"], row["reason"]) for row in logged}
    assert acted == {("policy", None, by)}
    assert hub.value(f"SELECT count(*) {where} AND kind = 'policy'") == 0
    assert not [name for name in hub.processes if name.endswith(f"far-{device}")]
    sums = hub.value(f"SELECT sum(return) FROM episodes WHERE agent = 'far-{device}'")
    assert sums == rewards
    explained = hub.value(f"SELECT max(seq) {where} AND kind = 'action'")
    with Http(hub.ready.http) as http:
        status, why = http.ask("GET", f"/v1/actions/{explained}", None, {"X-Api-Key": key})
    assert (status, why["source"], why["reason"], why["explored"]) == (200, "policy", by, None)


def test_a_device_still_waits_for_its_remote_learner_after_kill_9(fresh_hub: RealHub) -> None:
    made = fresh_hub.command(
        "agent", "create", "afar", "--algorithm", "external",
        "--observations", "5", "--actions", "3",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    key = msgspec.json.decode(made.stdout)["api_key"]
    bearer = {"X-Api-Key": key}
    mqtt = Mqtt(fresh_hub.ready.mqtt)
    assert mqtt.connect("d", key) == 0
    mqtt.observe("d", b'{"s":7,"b":1,"o":4}', packet_id=1)
    with Http(fresh_hub.ready.http) as http:
        status, seen = http.ask("POST", "/v1/env/d/reset", None, bearer)
        assert (status, seen["observation"]) == (200, 4)
    fresh_hub.kill_nine()
    fresh_hub.start()
    with Http(fresh_hub.ready.http) as http, Http(fresh_hub.ready.http) as device:
        status, seen = http.ask("POST", "/v1/env/d/reset", None, bearer)
        assert (status, seen["observation"]) == (200, 4)
        acting = threading.Thread(
            target=http.ask, args=("POST", "/v1/env/d/step", {"action": 2}, bearer)
        )
        acting.start()
        status, answer = device.step(key, {"device": "d", "s": 7, "b": 1, "o": 4})
        assert (status, answer["a"]) == (200, 2)
        device.step(key, {"device": "d", "s": 8, "b": 1, "o": 1, "r": 1, "d": 1})
        acting.join()
    count = "SELECT count(*) FROM events WHERE kind = 'observation' AND step = 7"
    assert fresh_hub.value(count) == 1
    mqtt.close()
    assert fresh_hub.stop() == 0


def test_a_remote_learner_that_hangs_up_waits_no_more(hub: RealHub) -> None:
    key = hub.make_agent("left", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    bearer = {"X-Api-Key": key}
    _hang_up(Http(hub.ready.http), bearer)
    mqtt = Mqtt(hub.ready.mqtt)
    assert mqtt.connect("e", key) == 0
    mqtt.observe("e", b'{"s":0,"o":[0,0,0,0]}', packet_id=1)
    with Http(hub.ready.http) as http:
        status, seen = http.ask("POST", "/v1/env/e/reset", None, bearer)
        assert (status, seen["info"]["sheepfold"]["step"]) == (200, 0)
    mqtt.close()


def _hang_up(http: Http, headers: dict[str, str]) -> None:
    http._connection.request("POST", "/v1/env/e/reset", b"", headers)
    http.close()


def test_sigterm_tells_who_waits_to_come_again_and_ends_soon(
    new_hub: Callable[[str], RealHub],
) -> None:
    hub = new_hub(f"[hub]\ndrain_s = {DRAIN_S}\n")
    hub.start()
    key = hub.make_agent("afar", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    answers: list[tuple[int, Any]] = []

    def ask(path: str, document: Any) -> threading.Thread:
        def run() -> None:
            with Http(hub.ready.http) as http:
                answers.append(http.ask("POST", path, document, {"X-Api-Key": key}))

        asking = threading.Thread(target=run)
        asking.start()
        return asking

    waiting = [
        ask("/v1/step", {"device": "h", "s": 0, "o": [0, 0, 0, 0]}),
        ask("/v1/env/nobody/reset", {}),
    ]
    mqtt = Mqtt(hub.ready.mqtt)
    assert mqtt.connect("m", key) == 0
    mqtt.observe("m", b'{"s":0,"o":[0,0,0,0]}', packet_id=1)
    until(lambda: hub.ask_status()["waiting"] == 2, "two steps that wait")
    began = time.perf_counter()
    assert hub.stop() == 0
    assert time.perf_counter() - began < DRAIN_S, "nobody was waited for"
    assert mqtt.said("err")["e"] == "busy"
    for asking in waiting:
        asking.join()
    assert [(status, answer["code"]) for status, answer in answers] == [(503, "busy")] * 2
    mqtt.close()
