"""A hub that is watched: what Prometheus reads of it, and what an operator sees."""

from __future__ import annotations

import os
import signal
import socket
from typing import TYPE_CHECKING, Final

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.devices import Http
from tests.acceptance.real_hub import HOST, RealHub
from tests.architecture.tree import ROOT
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

STEPS: Final = 8
SMALL: Final = ROOT / "deploy" / "hub-small.toml"


@pytest.fixture(scope="module")
def systemd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[socket.socket]:
    """Where systemd hears from its services."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path_factory.mktemp("systemd") / "notify"))
        listening.settimeout(10)
        yield listening


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, systemd: socket.socket) -> Iterator[RealHub]:
    """A hub on a small box under systemd; one device has asked a few times, and once wrongly."""
    hub = RealHub(tmp_path_factory.mktemp("watched") / "data", SMALL.read_text())
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("NOTIFY_SOCKET", systemd.getsockname())
        environment.setenv("WATCHDOG_USEC", "300000")
        hub.start()
    key = hub.make_agent("cart", deadline_ms=20)
    with Http(hub.ready.http) as http:
        for step in range(STEPS):
            http.step(key, {"device": "d", "s": step, "o": [0, 0, 0, 0], "r": 1.0})
        http.step(key, {"device": "d", "s": STEPS, "o": [0]})
    yield hub
    hub.end()


def test_prometheus_reads_what_was_counted(hub: RealHub) -> None:
    text = httpx.get(f"http://{HOST}:{hub.ready.http}/metrics").text
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    sent = [value for (name, *_), value in found.items() if name == "sheepfold_steps_total"]
    assert sum(sent) == STEPS
    assert found["sheepfold_step_seconds_count", "cart", "answered"] == STEPS
    assert found["sheepfold_refused_total", "cart", "shape"] == 1
    assert found["sheepfold_commit_rows_sum",] == found["sheepfold_events_total",]
    assert found["sheepfold_resident_bytes", "log"] > 1e7


def test_top_shows_agents_devices_and_rates_once(hub: RealHub) -> None:
    said = typed(hub.data, "top", "--once", "--interval", "0.1")
    assert said.code == 0
    assert "sheepfold" in said.out
    assert "ready" in said.out
    assert "cart" in said.out


def test_top_counts_what_comes_between_two_looks_as_json(hub: RealHub) -> None:
    (line,) = typed(hub.data, "top", "--once", "--json", "--interval", "0.1").lines
    (agent,) = msgspec.convert(line["agents"], list[dict[str, object]])
    assert (agent["agent"], agent["devices"], agent["steps_per_s"]) == ("cart", 1, 0)
    assert agent["sharing"] == "shared"
    (device,) = msgspec.convert(line["devices"], list[dict[str, object]])
    assert device["device"] == "d"


def test_status_says_how_each_agents_devices_learn_from_each_other(hub: RealHub) -> None:
    hub.make_agent("alone", sharing="none")
    (status,) = typed(hub.data, "status").lines
    assert status["sharing"] == {"alone": "none", "cart": "shared"}
    assert typed(hub.data, "agent", "delete", "alone").code == 0


def test_top_without_a_hub_says_how_to_start_one(tmp_path: Path) -> None:
    said = typed(tmp_path, "top", "--once")
    assert said.code == 1
    assert "sheepfold serve" in said.err


def test_systemd_hears_that_the_hub_is_ready_and_then_that_it_turns(
    hub: RealHub, systemd: socket.socket
) -> None:
    first, *lines = systemd.recv(1000).decode().splitlines()
    assert first == "READY=1"
    assert any(f":{hub.ready.http}" in line for line in lines)
    assert {systemd.recv(1000) for _ in range(3)} == {b"WATCHDOG=1"}


def test_a_reload_without_a_certificate_ends_nothing(hub: RealHub) -> None:
    os.kill(hub.ready.pid, signal.SIGHUP)
    assert typed(hub.data, "status").code == 0


def test_doctor_finds_nothing_wrong_with_a_hub_that_runs(hub: RealHub) -> None:
    said = typed(hub.data, "doctor")
    assert (said.code, "wrong:" in said.out) == (0, False), said.out


def test_a_device_that_was_only_refused_was_never_heard(hub: RealHub) -> None:
    key = hub.make_agent("other")
    with Http(hub.ready.http) as http:
        assert http.step(key, {"device": "wrong", "o": ["x"]})[0] == 422
    (line,) = typed(hub.data, "top", "--once", "--json", "--interval", "0.1").lines
    devices = msgspec.convert(line["devices"], list[dict[str, object]])
    assert {one["device"]: one["heard_s"] is None for one in devices}["wrong"]
