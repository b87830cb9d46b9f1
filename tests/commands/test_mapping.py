"""`sheepfold mapping`: `try` without a hub, the others over the operator's socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.intake.mapping.read import convert_mapping
from tests.architecture.tree import ROOT
from tests.commands.control_room import ControlRoom
from tests.commands.typed import typed
from tests.intake.mapping.mapped import PAYLOADS, shipped

if TYPE_CHECKING:
    from pathlib import Path

TASMOTA = str(ROOT / "deploy/mappings/tasmota.toml")


def test_a_tried_payload_shows_its_numbers_by_name(tmp_path: Path) -> None:
    said = typed(tmp_path, "mapping", "try", TASMOTA, f"@{PAYLOADS / 'tasmota.json'}")
    assert said.code == 0
    assert said.lines == [
        {"o": {"temp": 21.5, "humidity": 41.3, "heat": 1.0}, "r": None, "d": False}
    ]


def test_payloads_are_tried_one_after_the_other(tmp_path: Path) -> None:
    later = '{"BME280":{"Temperature":22}}'
    first = (PAYLOADS / "tasmota.json").read_bytes()
    said = typed(tmp_path, "mapping", "try", TASMOTA, "-", later, stdin=first)
    assert [line["o"] for line in said.lines] == [
        {"temp": 21.5, "humidity": 41.3, "heat": 1.0},
        {"temp": 22.0, "humidity": 41.3, "heat": 1.0},
    ]


def test_what_is_wrong_is_said_with_its_path(tmp_path: Path) -> None:
    said = typed(tmp_path, "mapping", "try", TASMOTA, '{"BME280":{"Temperature":"warm"}}')
    assert said.code == 1
    assert said.lines == [
        {"e": "type", "m": "temp (BME280.Temperature) is 'warm', not a number"},
    ]


@pytest.mark.timeout(60)
def test_a_mapping_is_added_listed_shown_and_removed(tmp_path: Path) -> None:
    with ControlRoom(tmp_path / "data") as room:
        spaces = ("--observations", "[[3],-100,100]", "--actions", "2")
        typed(room.data, "agent", "create", "climate", "--algorithm", "PPO", *spaces)
        line = {"mapping": "plug", "agent": "climate", "version": 1}
        added = typed(room.data, "mapping", "add", "plug", TASMOTA, "--agent", "climate")
        assert added.lines == [line]
        assert typed(room.data, "mapping", "list").lines == [line]
        (shown,) = typed(room.data, "mapping", "show", "plug").lines
        assert convert_mapping(shown["mapping"]) == shipped("tasmota").mapping
        assert room.changed[-1:] == ["climate"]
        assert typed(room.data, "mapping", "remove", "plug").lines == [{"removed": "plug"}]
        assert typed(room.data, "mapping", "list").lines == []
        refused = typed(room.data, "mapping", "remove", "plug")
        assert (refused.code, "no mapping 'plug'" in refused.err) == (1, True)


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.toml").write_bytes(b"\xff")
    assert "can't be read" in typed(tmp_path, "mapping", "try", str(tmp_path / "m.toml"), "1").err
    said = typed(tmp_path, "mapping", "try", TASMOTA, f"@{tmp_path / 'none.json'}")
    assert (said.code, "can't be read" in said.err) == (1, True)
