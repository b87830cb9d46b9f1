"""What is generated is fresh, and the golden payloads are what the schemas and the code say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jsonschema
import msgspec
import pytest

from hub import schemas
from hub.intake.observation import decode
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "schemas/examples").glob("*.json"))


def word(example: Path) -> str:
    return example.stem.split("-")[0]


def document(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(schemas.schema(name))
    return schema


def test_everything_generated_is_fresh() -> None:
    assert schemas.stale(ROOT, openapi=schemas.describe_http()) == [], "run `make schemas`"


def test_stale_names_what_changed_is_missing_or_is_too_many(tmp_path: Path) -> None:
    schemas.write(tmp_path, openapi=b"{}")
    assert schemas.stale(tmp_path, openapi=b"{}") == []
    (tmp_path / "deploy/hub.toml").write_text("[hub]\n")
    (tmp_path / "schemas/act.json").unlink()
    (tmp_path / "schemas/left_over.json").write_text("{}")
    assert schemas.stale(tmp_path, openapi=b"[]") == [
        "deploy/hub.toml",
        "schemas/act.json",
        "schemas/left_over.json",
        "schemas/openapi.json",
    ]


@pytest.mark.parametrize("name", schemas.WORDS)
def test_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(document(name))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_golden_payload_fits_its_schema(example: Path) -> None:
    jsonschema.validate(json.loads(example.read_bytes()), document(word(example)))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_golden_payload_is_read_and_written_the_same(example: Path) -> None:
    payload = example.read_bytes().strip()
    if word(example) == "observation":
        decode("json", payload)  # bare, long and short forms all arrive as a Message
        return
    read = msgspec.json.decode(payload, type=schemas.WORDS[word(example)][0])
    if word(example) != "hello":
        assert msgspec.json.encode(read) == payload, "what the hub sends, to the byte"


def test_long_names_mean_the_short_ones() -> None:
    folder = ROOT / "schemas/examples"
    long = decode("json", (folder / "observation-long-names.json").read_bytes())
    assert long == decode("json", (folder / "observation-reward.json").read_bytes())


def test_each_word_that_travels_has_an_example() -> None:
    stored_only = {"agent", "fact"}
    in_deploy = {"mapping"}
    assert {word(example) for example in EXAMPLES} == set(schemas.WORDS) - stored_only - in_deploy


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("observation", {"s": 12, "r": 1}),
        ("observation", {"o": [1.0], "r": "much"}),
        ("observation", "warm"),
        ("hello", {"enc": "xml"}),
        ("act", {"a": 1}),
        ("err", {"e": "unheard"}),
        ("announcement", {"log": "x", "version": -1, "digest": "", "offers": []}),
        ("want", {"sha256": "..", "part": 0}),
    ],
)
def test_schema_refuses_what_the_hub_would(name: str, wrong: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, document(name))
