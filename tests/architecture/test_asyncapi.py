"""`schemas/asyncapi.yaml` is AsyncAPI 3.0, by the schema that its makers publish, and complete.

That it is what the code says now is held by `test_schemas.py`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import jsonschema
import pytest
import yaml

from hub import topics
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

OFFICIAL: Final = ROOT / "node_modules/@asyncapi/specs/schemas/3.0.0.json"
DOCUMENT: Final[dict[str, Any]] = yaml.safe_load((ROOT / "schemas/asyncapi.yaml").read_text())
BASE: Final = "rl/v1"


@pytest.fixture(scope="module")
def official() -> jsonschema.Draft7Validator:
    if not OFFICIAL.exists():
        pytest.skip("needs npm: scripts/assets")
    return jsonschema.Draft7Validator(json.loads(OFFICIAL.read_bytes()))


def at(reference: str) -> Any:
    """What a `$ref` leads to."""
    part: Any = DOCUMENT
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        for key, of in part.items():
            if key == "$ref":
                yield of
            else:
                yield from references(of)
    elif isinstance(part, list):
        for one in part:
            yield from references(one)


def operations(name: str) -> dict[str, dict[str, Any]]:
    """Of a channel, by what the hub does."""
    return {
        operation["action"]: operation
        for operation in DOCUMENT["operations"].values()
        if operation["channel"]["$ref"] == f"#/channels/{name}"
    }


def test_document_is_asyncapi_as_its_makers_define_it(official: jsonschema.Draft7Validator) -> None:
    assert [error.message for error in official.iter_errors(DOCUMENT)] == []


def test_makers_schema_refuses_what_is_none(official: jsonschema.Draft7Validator) -> None:
    assert not official.is_valid(DOCUMENT | {"channels": {"obs": {"address": 1}}})


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        assert at(reference), reference


def test_every_topic_is_described_once() -> None:
    of_device = (*topics.DEVICE_PUBLISHES, topics.CLAIM)
    leaves = (*of_device, *topics.HUB_PUBLISHES, *topics.OPERATOR_PUBLISHES)
    below_device = [topics.device_topic(BASE, "{device}", leaf) for leaf in leaves]
    below_agent = [
        topics.agent_topic(BASE, "{agent}", leaf).replace("<", "{").replace(">", "}")
        for leaf in topics.FEDERATION
    ]
    prefix = topics.HOME_ASSISTANT
    shown = topics.discovery_topic(prefix, "{owner}", BASE, "{device}")
    shared = [topics.hub_status(BASE), shown, topics.birth(prefix)]
    alerts = [f"{BASE}/{leaf}".replace("<", "{").replace(">", "}") for leaf in topics.ALERTS]
    described = [channel["address"] for channel in DOCUMENT["channels"].values()]
    assert described == [*below_device, *shared, *alerts, *below_agent]


def test_hub_receives_what_devices_publish_and_sends_what_they_hear() -> None:
    assert set(operations("obs")) == {"receive"}
    assert operations("obs")["receive"]["reply"]["channel"]["$ref"] == "#/channels/act"
    assert set(operations("act")) == {"send"}
    assert set(operations("cmd_learn")) == {"receive", "send"}
    assert operations("state")["send"]["bindings"]["mqtt"]["retain"] is True


@pytest.mark.parametrize(
    "example", sorted((ROOT / "schemas/examples").glob("*.json")), ids=lambda path: path.stem
)
def test_golden_payload_is_what_the_document_says(example: Any) -> None:
    word = example.stem.split("-")[0]
    schema = {"$ref": f"#/components/schemas/{word}", "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(schema).validate(json.loads(example.read_bytes()))
