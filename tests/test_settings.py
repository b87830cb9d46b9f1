"""Settings: which layer wins, and what is refused."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from hub.errors import OperatorFault
from hub.schemas import settings_toml
from hub.settings import Settings, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

NONE: Mapping[str, str] = {}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "hub.toml"
    path.write_text("[http]\nport = 8001\nbody_bytes_max = 2048\n")
    return path


def test_nothing_given_leaves_the_defaults() -> None:
    assert load(environment=NONE) == Settings()


def test_file_beats_default_environment_beats_file_and_flag_beats_all(file: Path) -> None:
    environment = {"SHEEPFOLD__HTTP__PORT": "8002"}
    assert load(file, environment=NONE).http.port == 8001
    assert load(file, environment=environment).http.port == 8002
    assert load(file, environment=environment, flags={"http": {"port": 8003}}).http.port == 8003
    # A layer changes only what it names.
    assert load(file, environment=environment).http.body_bytes_max == 2048


def test_flag_that_was_not_given_changes_nothing(file: Path) -> None:
    assert load(file, environment=NONE, flags={"http": {"port": None}}).http.port == 8001


def test_environment_text_becomes_the_type_of_its_setting() -> None:
    settings = load(
        environment={
            "SHEEPFOLD__HUB__DRAIN_S": "1.5",
            "SHEEPFOLD__MQTT__BASE": "home/rl",
            "SHEEPFOLD__LEARNER__NICE": "0",
        }
    )
    assert settings.hub.drain_s == 1.5
    assert settings.mqtt.base == "home/rl"
    assert settings.learner.nice == 0


def test_names_outside_our_prefix_are_left_alone() -> None:
    assert load(environment={"SHEEPFOLD_DATA": "/srv", "HTTP__PORT": "1"}) == Settings()


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"SHEEPFOLD__HTTP__PROT": "1"}, "prot"),
        ({"SHEEPFOLD__HTPP__PORT": "1"}, "htpp"),
        ({"SHEEPFOLD__HTTP": "1"}, "unknown field"),
        ({"SHEEPFOLD__HTTP__PORT": "many"}, r"\$\.http\.port"),
        ({"SHEEPFOLD__HTTP__PORT": "65536"}, "<= 65535"),
        ({"SHEEPFOLD__HTTP__PORT": ""}, r"\$\.http\.port"),
        ({"SHEEPFOLD__HUB__DRAIN_S": "0"}, "> 0"),
        ({"SHEEPFOLD__HUB__DRAIN_S": "nan"}, "drain_s"),
    ],
)
def test_wrong_name_or_value_is_refused_by_name(environment: dict[str, str], said: str) -> None:
    with pytest.raises(OperatorFault, match=said):
        load(environment=environment)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[http]\nport = \n", "can't be read"),
        (b"\xff\xfe[http]", "can't be read"),
        (b"http = 8000\n", r"\[http\]"),
        (b"[http]\nprot = 1\n", "prot"),
    ],
)
def test_file_that_means_nothing_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "hub.toml"
    path.write_bytes(content)
    with pytest.raises(OperatorFault, match=said):
        load(path, environment=NONE)


def test_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OperatorFault, match="absent"):
        load(tmp_path / "absent.toml", environment=NONE)


def test_generated_file_says_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "hub.toml"
    path.write_text(settings_toml())
    assert load(path, environment=NONE) == Settings()


def test_generated_file_names_every_setting() -> None:
    written: dict[str, Any] = tomllib.loads(settings_toml())
    assert written == msgspec.to_builtins(Settings())
