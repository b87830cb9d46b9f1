"""Legacy devices as docs/legacy.md has them: they send what they always did, and learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.registry.mapping_acts import AddMapping
from tests.acceptance.devices import bearer
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import until
from tests.architecture.tree import ROOT
from tests.commands.typed import typed
from tests.intake.mapping.mapped import PAYLOADS, shipped

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.devices import Http
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance


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
