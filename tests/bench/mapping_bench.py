"""What a mapping costs an observation, in CPU time: `python -m tests.bench.mapping_bench`.

From the payload to the Message, the JSON text for the log included. Promised are 10 µs where all
paths are names and places, and 30 µs with JMESPath.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct, structs

from hub.intake.mapping.mapper import Mapper
from hub.intake.mapping.read import read_mapping
from tests.architecture.tree import ROOT
from tests.bench.table import table

if TYPE_CHECKING:
    from hub.intake.mapping.mapper import Memory

OBSERVATIONS: Final = 20_000
ROUNDS: Final = 5
PAYLOADS: Final = {
    "tasmota": "tasmota.json",
    "zigbee2mqtt": "zigbee2mqtt.json",
    "csv": "csv.txt",
    "form": "form.txt",
    "senml": "senml.json",
    "sparkplug": "sparkplug_data.bin",
    "nested": "nested.json",
}
"""What each of `deploy/mappings` is given; `nested` has a path of JMESPath."""


class MappingCost(Struct, frozen=True):
    """One mapping's."""

    name: str
    fields: int
    jmespath: int
    """Fields that the quick lane does not find."""
    us: float
    """CPU time of one observation; of several rounds the best."""


def measure(observations: int = OBSERVATIONS) -> list[MappingCost]:
    """Of each mapping that is shipped, and of one whose paths are all JMESPath."""
    quick = [_measure(_shipped(name), payload, observations) for name, payload in PAYLOADS.items()]
    slow = _measure(_all_jmespath(_shipped("tasmota")), PAYLOADS["tasmota"], observations)
    return [*quick, slow]


def _shipped(name: str) -> Mapper:
    text = (ROOT / f"deploy/mappings/{name}.toml").read_text()
    return Mapper(name, 1, read_mapping(text))


def _all_jmespath(mapper: Mapper) -> Mapper:
    """Two fields, found by the library: `not_null(path)` is what the path is."""
    fields = [
        structs.replace(field, path=f"not_null({field.path})")
        for field in mapper.mapping.observations[:2]
    ]
    return Mapper("jmespath", 1, structs.replace(mapper.mapping, observations=fields))


def _measure(mapper: Mapper, file: str, observations: int) -> MappingCost:
    payload = (ROOT / "tests/intake/mapping/payloads" / file).read_bytes()
    best = min(_seconds(mapper, payload, observations) for _ in range(ROUNDS))
    fields = mapper.mapping.observations
    by_name = mapper.mapping.format in ("senml", "sparkplug")
    return MappingCost(
        mapper.name,
        len(fields),
        0 if by_name else sum("(" in field.path for field in fields),
        round(best / observations * 1e6, 2),
    )


def _seconds(mapper: Mapper, payload: bytes, observations: int) -> float:
    memory = _born(mapper) if mapper.name == "sparkplug" else None
    start = time.process_time()
    for _ in range(observations):
        mapped = mapper.read(payload, memory)
        assert mapped is not None
        memory = mapped.memory
        msgspec.json.encode(mapper.message(payload, mapped).i)
    return time.process_time() - start


def _born(mapper: Mapper) -> Memory:
    """What is known once the node has said what its aliases mean."""
    birth = ROOT / "tests/intake/mapping/payloads/sparkplug_birth.bin"
    mapped = mapper.read(birth.read_bytes(), None)
    assert mapped is not None
    return mapped.memory


def main() -> None:
    """Print the table."""
    rows = [
        [cost.name, str(cost.fields), str(cost.jmespath), f"{cost.us:.1f}"] for cost in measure()
    ]
    print("\n".join(table(["mapping", "fields", "of JMESPath", "µs CPU"], rows)))


if __name__ == "__main__":
    main()
