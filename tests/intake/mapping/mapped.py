"""Mappings for the tests: one field of a wish, or what `deploy/mappings` has."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.read import convert_mapping, read_mapping
from tests.architecture.tree import ROOT

PAYLOADS = ROOT / "tests/intake/mapping/payloads"
SENT: Final[list[tuple[str, str, list[float], float | None]]] = [
    ("tasmota", "tasmota.json", [21.5, 41.3, 1], None),
    ("zigbee2mqtt", "zigbee2mqtt.json", [1, 312, 180], None),
    ("senml", "senml.json", [21.5, 41.5], None),
    ("csv", "csv.txt", [21.5, 40, 1], None),
    ("form", "form.txt", [21.5, 1.2], -0.25),
    ("nested", "nested.json", [21.5, 1], None),
    ("sparkplug", "sparkplug_birth.bin", [21.5, 1, -3], None),
]
"""What a device of each mapping in `deploy/mappings` sends, its numbers, and its reward."""


def shipped(name: str) -> Mapper:
    return Mapper(name, 1, read_mapping((ROOT / f"deploy/mappings/{name}.toml").read_text()))


def of_field(format_: str = "json", path: str = "v", **field: Any) -> Mapper:
    declared = {"format": format_, "observations": [{"name": "v", "path": path} | field]}
    return Mapper("one", 1, convert_mapping(declared))


def number(value: object, **field: Any) -> float:
    """What `{"v": value}` is read as."""
    mapped = of_field(**field).read(msgspec.json.encode({"v": value}), None)
    assert mapped is not None
    return mapped.numbers[0]
