"""A hub that is watched: what Prometheus reads of it, and what an operator sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.devices import Http
from tests.acceptance.real_hub import HOST, RealHub
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.acceptance

STEPS: Final = 40


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub of which one device has asked a few times, and once wrongly."""
    hub = RealHub(tmp_path_factory.mktemp("watched") / "data")
    hub.start()
    key = hub.make_agent("cart")
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
    (device,) = msgspec.convert(line["devices"], list[dict[str, object]])
    assert device["device"] == "d"


def test_top_without_a_hub_says_how_to_start_one(tmp_path: Path) -> None:
    said = typed(tmp_path, "top", "--once")
    assert said.code == 1
    assert "sheepfold serve" in said.err
