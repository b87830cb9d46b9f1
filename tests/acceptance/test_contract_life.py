"""How a hub starts and stops (docs/operator.md)."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.acceptance.devices import Http, Mqtt, walkers
from tests.acceptance.real_hub import HOST, STOP_S_MAX, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

SEEN = [0.0, 0.1, 0.2, 0.3]
HOUR_MS = 3_600_000


def test_ready_hub_says_where_it_is_and_is_its_owners_alone(fresh_hub: RealHub) -> None:
    (line,) = fresh_hub.says.read_text().splitlines()
    assert str(fresh_hub.ready.http) in line
    assert str(fresh_hub.data) in line
    assert (fresh_hub.data / "hub.sock").stat().st_mode & 0o777 == 0o600
    file = fresh_hub.data / "ready.json"
    ready = msgspec.json.decode(file.read_bytes())
    assert set(ready) == {"pid", "http", "mqtt", "ws", "version"}
    for port in (ready["http"], ready["mqtt"], ready["ws"]):
        socket.create_connection((HOST, port), 5).close()
    assert fresh_hub.stop() == 0
    assert not file.exists()
    assert list(fresh_hub.data.glob("*.sock")) == []


def test_sigterm_under_load_answers_all_and_exits_0(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("cart")
    devices = walkers(fresh_hub, key)
    for device in devices:
        device.start()
    until(lambda: all(len(device.steps) > 20 for device in devices), "load")
    began = time.perf_counter()
    assert fresh_hub.stop() == 0
    assert time.perf_counter() - began < STOP_S_MAX
    fresh_hub.start()
    for device in devices:
        device.stop()
    for device in devices[:2]:
        logged = fresh_hub.value(
            f"SELECT count(DISTINCT step) FROM events WHERE device = '{device.device}' "
            "AND kind = 'observation'"
        )
        assert logged >= len(device.steps)


def test_sigterm_while_steps_wait_tells_them_to_come_again_and_exits_0(
    new_hub: Callable[[str], RealHub],
) -> None:
    hub = new_hub("[hub]\ndrain_s = 0.5\n")
    hub.start()
    key = hub.make_agent("patient", deadline_ms=HOUR_MS)
    answers: list[tuple[int, Any]] = []

    def ask() -> None:
        with Http(hub.ready.http) as http:
            answers.append(http.step(key, {"device": "waiter", "s": 0, "o": SEEN}))

    waiting = threading.Thread(target=ask)
    waiting.start()
    until(lambda: hub.value("SELECT count(*) FROM events WHERE device = 'waiter'"), "a step")
    assert hub.stop() == 0
    waiting.join()
    ((status, answer),) = answers
    # The policy came in time, or the device is told to repeat the step.
    assert (status, answer.get("code")) in {(200, None), (503, "busy")}


def test_second_signal_ends_at_once(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("patient", deadline_ms=HOUR_MS)
    with Mqtt(fresh_hub.ready.mqtt) as mqtt:
        assert mqtt.connect("waiter", key) == 0
        mqtt.observe("waiter", b'{"s":0,"o":[0,0,0,0]}', packet_id=1)
        until(lambda: fresh_hub.ask_status()["waiting"], "a step that waits")
        process = fresh_hub.terminate()
        until(lambda: _refuses(fresh_hub), "the first signal to be seen")
        process.send_signal(signal.SIGTERM)
        began = time.perf_counter()
        assert process.wait(STOP_S_MAX) == 1
        assert time.perf_counter() - began < STOP_S_MAX / 2, "it waited for the step"
    fresh_hub.assert_no_orphans()


def _refuses(hub: RealHub) -> bool:
    with Http(hub.ready.http) as http:
        return http.ask("GET", "/readyz")[0] == 503


@pytest.mark.parametrize("flag", ["--http-port", "--mqtt-port", "--ws-port"])
def test_port_that_is_taken_is_one_clear_line(new_hub: Callable[[str], RealHub], flag: str) -> None:
    hub = new_hub("")
    ports = {"--http-port": "0", "--mqtt-port": "0", "--ws-port": "0"}
    with socket.create_server((HOST, 0)) as taken:
        ports[flag] = str(taken.getsockname()[1])
        process = hub.spawn(*(word for pair in ports.items() for word in pair))
        assert process.wait(30) == 1
    (line,) = hub.says.read_text().splitlines()
    assert ports[flag] in line
    assert flag in line
    assert not (hub.data / "ready.json").exists()


def test_second_hub_on_a_folder_is_refused_and_harms_nothing(fresh_hub: RealHub) -> None:
    other = type(fresh_hub)(fresh_hub.data)
    other.says = fresh_hub.says.with_name("other.txt")
    began = time.perf_counter()
    process = other.spawn("--http-port", "0", "--mqtt-port", "0", "--ws-port", "0")
    assert process.wait(30) == 1
    assert time.perf_counter() - began < 10
    (line,) = other.says.read_text().splitlines()
    assert str(fresh_hub.data) in line
    ready = msgspec.json.decode((fresh_hub.data / "ready.json").read_bytes())
    assert ready["pid"] == fresh_hub.pid
    assert fresh_hub.value("SELECT 1") == 1


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_folder_that_cannot_be_used_is_one_clear_line(
    new_hub: Callable[[str], RealHub], tmp_path: Path, place: str
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    hub = new_hub("")
    where = file if place == "a file" else file / "data"
    process = hub.spawn("--data", str(where), "--http-port", "0", "--mqtt-port", "0")
    assert process.wait(30) in {1, 2}
    assert hub.says.read_text().count(str(where)) == 1


@pytest.mark.parametrize("name", ["ready.json", "log.sock"])
def test_folder_in_place_of_a_file_of_the_hub_s_is_one_clear_line(
    new_hub: Callable[[str], RealHub], name: str
) -> None:
    hub = new_hub("")
    (hub.data / name).mkdir(parents=True)
    assert hub.spawn("--http-port", "0", "--mqtt-port", "0", "--ws-port", "0").wait(30) == 1
    (line,) = hub.says.read_text().splitlines()
    assert f"{hub.data / name} can't be replaced" in line
    assert "move it elsewhere" in line


def test_wrong_setting_is_one_clear_line(new_hub: Callable[[str], RealHub]) -> None:
    hub = new_hub("[http]\nportt = 1\n")
    assert hub.spawn().wait(30) == 1
    (line,) = hub.says.read_text().splitlines()
    assert "portt" in line


def test_agents_devices_and_keys_are_there_after_a_restart(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("cart", fallback=1)
    with Http(fresh_hub.ready.http) as http:
        assert http.step(key, {"device": "d", "s": 0, "o": SEEN})[0] == 200
    assert fresh_hub.stop() == 0
    fresh_hub.start()
    with Http(fresh_hub.ready.http) as http:
        assert http.step(key, {"device": "d", "s": 1, "o": SEEN})[0] == 200
        assert http.step("wrong", {"device": "d", "s": 2, "o": SEEN})[0] == 401
    steps = "SELECT step FROM events WHERE kind = 'observation' ORDER BY seq"
    assert [row["step"] for row in fresh_hub.sql(steps)] == [0, 1]


def test_repeat_after_kill_and_restart_gets_the_stored_action(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("cart", fallback=1)
    observation = {"s": 5, "b": 9, "o": SEEN}

    def over_http() -> Any:
        with Http(fresh_hub.ready.http) as http:
            return http.step(key, {"device": "native", **observation})

    def over_mqtt() -> Any:
        with Mqtt(fresh_hub.ready.mqtt) as mqtt:
            assert mqtt.connect("mqtt", key) == 0
            mqtt.observe("mqtt", msgspec.json.encode(observation), packet_id=1)
            return mqtt.said("act")

    before = over_http(), over_mqtt()
    fresh_hub.change("cart", fallback=0)
    fresh_hub.kill_nine()
    fresh_hub.start()
    assert (over_http(), over_mqtt()) == before
    rows = fresh_hub.sql("SELECT kind, count(*) AS n FROM events WHERE step = 5 GROUP BY ALL")
    assert {row["kind"]: row["n"] for row in rows} == {"observation": 2, "action": 2}


def test_hub_that_ends_while_a_learner_starts_leaves_nothing_behind(fresh_hub: RealHub) -> None:
    key = fresh_hub.make_agent("cart")
    with Http(fresh_hub.ready.http) as http:
        http.step(key, {"device": "d", "s": 0, "o": SEEN})
    fresh_hub.kill_nine()  # asserts it: importing torch takes seconds more
    fresh_hub.start()
    with Http(fresh_hub.ready.http) as http:
        http.step(key, {"device": "d", "s": 1, "o": SEEN})
    began = time.perf_counter()
    assert fresh_hub.stop() == 0
    assert time.perf_counter() - began < STOP_S_MAX
