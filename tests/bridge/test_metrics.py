"""`/metrics`: what is told, to whom, and that dashboards ask for nothing else."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Final

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bridge.metrics import written
from hub.figures import AgentFigures, AlertFigures, FederationFigures, Figures
from hub.histogram import Histogram, Seen
from hub.registry.access import fingerprint
from hub.settings import Settings
from hub.words import Key, KeyId, User
from tests.architecture.tree import ROOT
from tests.bridge.rooms import Rooms, bearer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

DEPLOYED: Final = sorted((ROOT / "deploy").glob("grafana/*.json")) + sorted(
    (ROOT / "deploy").glob("prometheus/alerts.yml")
)


def took(*values: int) -> Seen:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.seen()


def agent(name: str) -> AgentFigures:
    return AgentFigures(
        name=name,
        algorithm="PPO",
        sharing="shared",
        status="active",
        awake=True,
        devices=3,
        sent={"policy": 7, "fallback": 2, "end": 1},
        refused={"shape": 4},
        unread=6,
        chosen_us=took(100, 300),
        answered_us=took(1500, 9000),
        policy=12,
        waiting=40,
    )


PICTURE: Final = Figures(
    version="1.2.3",
    at_s=5.0,
    not_ready=None,
    seq=1000,
    waiting=2,
    fill=0.25,
    stalled=False,
    commit_us=took(1200),
    commit_rows=took(20, 30),
    sockets=6,
    connections=5,
    devices=9,
    sessions=31,
    logins_refused=1,
    over_quota=0,
    clamped=0,
    raised={"silent": 3},
    alerts=[
        AlertFigures("silent", "a", "d", "is silent", "see", 5.0),
        AlertFigures("silent", "b", "e", "is silent", "see", 4.0),
        AlertFigures("silent", "c", "f", "is silent", "see", 3.0),
        AlertFigures("disk", "", "", "is full", "free some", 2.0),
    ],
    webhook={"sent": 4, "failed": 1, "dropped": 0},
    federation=FederationFigures(
        connected=True,
        still=False,
        hubs=3,
        fetched=8,
        given=70,
        refused={"unfit": 2, "late": 1},
        questions={"heard": 90, "late": 7, "unasked": 4},
        asked=100,
        open=3,
        answered=50,
    ),
    processes={"hub": os.getpid(), "trainer-a": os.getpid(), "trainer-b": os.getpid()},
    agents=[agent("a"), agent("b"), agent("c")],
)


def samples(picture: Figures = PICTURE, agents_max: int = 100) -> dict[tuple[str, ...], float]:
    """Name and the values of its labels, in the order of their names, to the value."""
    text = written(generate_latest, picture, agents_max, ROOT).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_each_agent_s_steps_and_refusals_are_told() -> None:
    found = samples()
    assert found["sheepfold_steps_total", "a", "policy"] == 7
    assert found["sheepfold_steps_total", "b", "end"] == 1
    assert found["sheepfold_refused_total", "a", "shape"] == 4
    assert found["sheepfold_policy_version", "c"] == 12
    assert found["sheepfold_trainer_waiting", "a"] == 40
    assert found["sheepfold_events_total",] == 1000
    assert found["sheepfold_ready",] == 1


def test_a_latency_lies_between_the_edges_of_its_bucket() -> None:
    found = samples()
    assert found["sheepfold_step_seconds_bucket", "a", "0.001024", "answered"] == 0
    assert found["sheepfold_step_seconds_bucket", "a", "0.002048", "answered"] == 1
    assert found["sheepfold_step_seconds_bucket", "a", "+Inf", "answered"] == 2
    assert found["sheepfold_step_seconds_sum", "a", "answered"] == pytest.approx(0.0105)
    assert found["sheepfold_commit_rows_sum",] == 50


def test_agents_beyond_the_bound_are_one() -> None:
    found = samples(agents_max=1)
    assert found["sheepfold_steps_total", "a", "policy"] == 7
    assert found["sheepfold_steps_total", "*", "policy"] == 14
    assert found["sheepfold_step_seconds_count", "*", "chosen"] == 4
    assert not any("b" in labels for _, *labels in found)


def test_open_alerts_are_told_by_rule_and_agent() -> None:
    found = samples(agents_max=1)
    assert found["sheepfold_alerts_total", "silent"] == 3
    assert found["sheepfold_alerts_open", "a", "silent"] == 1
    assert found["sheepfold_alerts_open", "*", "silent"] == 2
    assert found["sheepfold_alerts_open", "", "disk"] == 1
    assert found["sheepfold_webhook_total", "failed"] == 1


def test_how_it_goes_with_other_hubs_is_told_where_there_are_any() -> None:
    found = samples()
    assert found["sheepfold_federation_connected",] == 1
    assert found["sheepfold_federation_still",] == 0
    assert found["sheepfold_federation_hubs",] == 3
    assert found["sheepfold_federation_networks_fetched_total",] == 8
    assert found["sheepfold_federation_parts_given_total",] == 70
    assert found["sheepfold_federation_refused_total", "unfit"] == 2
    assert found["sheepfold_federation_questions_asked_total",] == 100
    assert found["sheepfold_federation_questions_answered_total",] == 50
    assert found["sheepfold_federation_questions_open",] == 3
    became = {
        key[1]: n for key, n in found.items() if key[0] == "sheepfold_federation_questions_total"
    }
    assert became == {"heard": 90, "late": 7, "unasked": 4}
    alone = samples(msgspec.structs.replace(PICTURE, federation=None))
    assert not [name for name, *_ in alone if "federation" in name]


def test_memory_is_told_by_kind_of_process() -> None:
    found = samples()
    ours = found["sheepfold_resident_bytes", "hub"]
    assert ours > 1e7
    assert found["sheepfold_resident_bytes", "trainer"] == pytest.approx(2 * ours, rel=0.1)


def test_a_process_that_has_gone_takes_nothing() -> None:
    gone = msgspec.structs.replace(PICTURE, processes={"log": 2**22 + 1})
    assert samples(gone)["sheepfold_resident_bytes", "log"] == 0


@pytest.mark.parametrize("file", DEPLOYED, ids=lambda file: file.name)
def test_dashboards_and_alerts_ask_for_metrics_that_are_there(file: Path) -> None:
    text = file.read_text()
    asked = set(re.findall(r"\b(?:sheepfold|process)_[a-z_]+", " ".join(_expressions(text))))
    assert asked, "it asks for nothing"
    assert asked <= {name for name, *_ in samples()}


def test_the_dashboard_shows_the_alerts_that_are_open_and_no_panel_lies_on_another() -> None:
    panels = json.loads((ROOT / "deploy/grafana/sheepfold.json").read_text())["panels"]
    assert any("sheepfold_alerts_open" in target["expr"] for p in panels for target in p["targets"])
    places = [p["gridPos"] for p in panels]
    taken = [
        (x, y)
        for at in places
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert len({p["id"] for p in panels}) == len(panels)


def _expressions(text: str) -> Iterable[str]:
    """Of Grafana's JSON each `expr`, of Prometheus' YAML each line that has one."""
    if text.startswith("{"):
        panels = json.loads(text)["panels"]
        return [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return re.findall(r"expr: (.*)", text)


REFUSED: Final = [
    ("key", {}, 401),
    ("loopback", {"X-Forwarded-For": "203.0.113.9"}, 401),
    ("loopback", {"Forwarded": "for=203.0.113.9"}, 401),
    ("off", {}, 404),
]


@pytest.mark.parametrize(("who", "headers", "status"), REFUSED)
async def test_others_are_refused(who: str, headers: dict[str, str], status: int) -> None:
    async with Rooms(settings=settings(who)) as rooms:
        assert (await rooms.ask("GET", "/metrics", headers=headers)).status_code == status


async def test_a_device_s_key_or_an_owner_s_does_not_open_them() -> None:
    async with Rooms(settings=settings("key")) as rooms:
        rooms.registry.users["ann"] = User("ann", "owner")
        rooms.registry.keys[fingerprint("ann")] = Key(KeyId("ann"), None, user="ann")
        for key in (rooms.make_agent("cart"), "ann"):
            assert (await rooms.ask("GET", "/metrics", headers=bearer(key))).status_code == 401


def settings(who: str) -> Settings:
    return msgspec.convert({"http": {"metrics": who}}, Settings)
