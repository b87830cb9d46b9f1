"""Legacy devices as docs/legacy.md has them: they send what they always did, and learn."""

from __future__ import annotations

import json
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import pytest
from msgspec import structs

from hub.mappings import Command
from hub.registry.mapping_acts import AddMapping
from hub.words import EXTERNAL
from tests.acceptance.devices import bearer
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT
from tests.commands.typed import typed
from tests.intake.mapping.mapped import PAYLOADS, SENT, of_field, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from hub.mappings import Mapping
    from tests.acceptance.devices import Http
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance


HEARD: Final = {
    "tasmota": ("cmnd/{device}/POWER", b"OFF"),
    "zigbee2mqtt": ("zigbee2mqtt/{device}/set", b'{"brightness":0}'),
    "senml": ("sensors/{device}/fan", b"0"),
    "csv": ("lines/{device}/duty", b"D=0.00"),
    "form": ("any/{device}/told", b"OFF"),
    "nested": ("any/{device}/told", b'{"valves":[0,0]}'),
    "plain": ("any/{device}/told", b"D=0"),
}
"""Where a device hears its first action, which is 0, and in which words; else as natively."""


def spaces(name: str) -> dict[str, Any]:
    """Of the agent that a mapping in `deploy/mappings` asks for at its head."""
    text = (ROOT / f"deploy/mappings/{name}.toml").read_text()
    found = re.search(r"^# sheepfold (agent create .+)$", text, re.MULTILINE)
    assert found is not None, name
    words = shlex.split(found[1])
    named = dict(zip(words[3::2], words[4::2], strict=True))
    return {one: json.loads(named[f"--{one}"]) for one in ("observations", "actions")}


def mapping_of(name: str) -> tuple[Mapping, dict[str, Any]]:
    """A mapping and the spaces of its agent; topics stand in it where the shipped one has none."""
    if name == "plain":
        command = Command(payload="D={0}", decimals=0)
        mapping = structs.replace(of_field("text", "@").mapping, action=command)
        declared = {"observations": [[1], -50, 50], "actions": [[1], 0, 1]}
    else:
        mapping, declared = shipped(name).mapping, spaces(name)
    if mapping.topics:
        return mapping, declared
    assert mapping.action is not None
    told = structs.replace(mapping.action, topic="any/{device}/told")
    return structs.replace(mapping, topics=["any/{device}"], action=told), declared


@pytest.mark.parametrize(
    ("name", "payload", "numbers", "reward"), [*SENT, ("plain", "plain.txt", [21.5], None)]
)
def test_what_a_device_sends_is_the_same_in_the_log_over_mqtt_and_over_http(
    hub: RealHub, http: Http, name: str, payload: str, numbers: list[float], reward: float | None
) -> None:
    mapping, declared = mapping_of(name)
    key = hub.make_agent(name, algorithm=EXTERNAL, parameters={}, deadline_ms=20, **declared)
    hub.ask(AddMapping(name, name, mapping))
    sent = (PAYLOADS / payload).read_bytes()
    by_mqtt, by_http = "shed-1" if name == "nested" else f"{name}-m", f"{name}-h"
    act, word = HEARD.get(name, ("rl/v1/{device}/act", None))
    act = act.format(device=by_mqtt)
    with PahoClient(hub.ready.mqtt, by_mqtt, key) as device:
        assert device.subscribe(act, 0) == 0
        for step in range(1, 3):
            device.publish(mapping.topics[0].format(device=by_mqtt).replace("+", "node"), sent, 0)
            until(lambda: len(device.heard()) == step, "an action")  # noqa: B023 - waited for here
    path = f"/v1/map/{name}?device={by_http}"
    (status, told), _ = (http.ask("POST", path, sent, bearer(key)) for _ in range(2))
    assert status == 200
    rows = hub.sql(
        "SELECT device, step, obs, reward FROM events WHERE kind = 'observation'"
        f" AND agent = '{name}' ORDER BY device, step"
    )
    assert [(row["device"], row["step"]) for row in rows] == [
        (device, step) for device in sorted((by_mqtt, by_http)) for step in range(2)
    ]
    assert [row["obs"] for row in rows] == [pytest.approx(numbers)] * 4
    assert [row["reward"] for row in rows] == [None, reward] * 2, "a first step is not rewarded"
    if word is None:
        assert json.loads(device.heard()[0][1])["a"] == told["a"] == 0
    else:
        assert {said[:2] for said in device.heard()} == {(act, word)}
        assert told in (word, json.loads(word) if word[:1] in b"{0" else word)


def test_a_tasmota_plug_as_it_is_steps_over_mqtt_and_is_told_on_or_off(hub: RealHub) -> None:
    key = hub.make_agent("climate", observations=[[3], [-20, 0, 0], [60, 100, 1]])
    hub.ask(AddMapping("plug", "climate", shipped("tasmota").mapping))
    sensor = (PAYLOADS / "tasmota.json").read_bytes()
    will = ("tele/kitchen/LWT", b"Offline")
    with PahoClient(hub.ready.mqtt, "kitchen", key, will=will) as plug:
        for topic_filter in ("cmnd/kitchen/#", "cmnd/tasmotas/#"):
            assert plug.subscribe(topic_filter, 0) == 0
        plug.publish("tele/kitchen/LWT", b"Online", 1, retain=True)
        plug.publish("tasmota/discovery/AB12/config", b"{}", 1, retain=True)
        for step in range(1, 4):
            plug.publish("tele/kitchen/STATE", b'{"POWER":"ON"}', 0)
            plug.publish("tele/kitchen/SENSOR", sensor, 0)
            until(lambda: len(plug.heard()) == step, "a command")  # noqa: B023 - waited for here
        assert {said[0] for said in plug.heard()} == {"cmnd/kitchen/POWER"}
    rows = hub.sql(
        "SELECT kind, step, action, payload FROM events WHERE device = 'kitchen' "
        "AND kind IN ('observation', 'action') ORDER BY seq"
    )
    assert [(row["kind"], row["step"]) for row in rows] == [
        (kind, step) for step in range(3) for kind in ("observation", "action")
    ]
    assert [said[1] for said in plug.heard()] == [
        (b"OFF", b"ON")[int(row["action"][0])] for row in rows if row["kind"] == "action"
    ], "what the device was told is what the log says"


def test_a_controller_that_posts_forms_is_told_on_or_off_and_is_in_the_log(
    hub: RealHub, http: Http, tmp_path: Path
) -> None:
    key = hub.make_agent("boilers", observations=[[2], [-20, 0], [60, 10]])
    hub.ask(AddMapping("boiler", "boilers", shipped("form").mapping))
    form = (PAYLOADS / "form.txt").read_bytes()
    words = set()
    for _ in range(3):
        status, word = http.ask("POST", "/v1/map/boiler?device=boiler-2", form, bearer(key))
        assert status == 200
        words.add(word)
    assert words <= {b"ON", b"OFF"}
    rows = hub.sql(
        "SELECT step, obs, reward, payload->>'raw' AS raw, payload->>'version' AS version "
        "FROM events WHERE kind = 'observation' AND device = 'boiler-2' ORDER BY seq"
    )
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["reward"] for row in rows] == [None, -0.25, -0.25]
    assert {(row["raw"], row["version"]) for row in rows} == {(form.decode(), "1")}
    assert rows[0]["obs"] == pytest.approx([21.5, 1.2])
    corrected = tmp_path / "boiler.toml"
    text = (ROOT / "deploy/mappings/form.toml").read_text()
    corrected.write_text(text.replace('unit = "kW"', 'unit = "W"').replace("[0, 10]", "[0, 1000]"))
    said = typed(hub.data, "mapping", "replay", str(corrected), "boiler-2", "--limit", "2")
    assert [line["o"] for line in said.lines] == [{"temp": 21.5, "power": 1000.0}] * 2
    assert [line["was"] for line in said.lines] == [row["obs"] for row in rows[1:]]
    nobody = typed(hub.data, "mapping", "replay", str(corrected), "nobody")
    assert (nobody.code, nobody.lines) == (1, [])
    assert "nothing that a mapping read of device 'nobody' is in the log" in nobody.err
    assert http.ask("POST", "/v1/map/boiler?device=boiler-3", b"t=warm", bearer(key))[0] == 422
    refused = typed(hub.data, "mapping", "replay", str(corrected), "boiler-3")
    assert refused.code == 1
    assert "of 1 refused messages" in refused.err
    assert "temp (t) is 'warm', not a number" in refused.err
    assert typed(hub.data, "mapping", "replay", str(corrected), "a' OR 1").code == 1
    taken = "SELECT count(*) FROM transitions WHERE device = 'boiler-2'"
    assert hub.value(taken) == 2, "it is learnt from like any other"
