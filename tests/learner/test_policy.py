"""Policy files: whole, named by their bytes, and refused when they are not what they were."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec import structs

from hub.errors import HubFault
from hub.learner.messages import policy_path
from hub.learner.versions.parts import PARTS_FOLDER
from hub.learner.versions.policy import (
    Card,
    Replica,
    Tensors,
    newest_readable,
    prune,
    read_policy,
    write_policy,
)
from hub.words import AgentName

if TYPE_CHECKING:
    from pathlib import Path

WALKER = AgentName("walker")


def card(version: int) -> Card:
    return Card(
        algorithm="PPO",
        kind="categorical",
        observations=[[4], "-inf", "inf"],
        actions=2,
        activation="tanh",
        action_layers=["a"],
        value_layers=["v"],
        spread=None,
        exploration=0.0,
        version=version,
        parent=version - 1 if version else None,
        position=10 * version,
        counts={"num_timesteps": 5},
    )


def written(folder: Path, version: int) -> Path:
    tensors: Tensors = {
        "a.weight": np.full((2, 4), version, dtype=np.float32),
        "n": np.array([version]),
    }
    return policy_path(folder, WALKER, write_policy(folder, WALKER, card(version), tensors))


def test_a_policy_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = written(tmp_path, 3)
    read = read_policy(path)
    assert read.card == card(3)
    assert np.array_equal(read.tensors["a.weight"], np.full((2, 4), 3, dtype=np.float32))
    assert path.name == f"{read.sha256}.safetensors"
    assert list(path.parent.iterdir()) == [path]


def test_the_same_policy_has_the_same_name(tmp_path: Path) -> None:
    assert written(tmp_path, 1) == written(tmp_path, 1)


@pytest.mark.parametrize("at", [0, 9, 400, -1])
def test_a_changed_byte_is_noticed(tmp_path: Path, at: int) -> None:
    path = written(tmp_path, 1)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    with pytest.raises(HubFault, match="damaged"):
        read_policy(path)


@pytest.mark.parametrize("data", [b"", b"12345678", b"\x02" + bytes(7) + b"{}", b"\xff" * 64])
def test_what_is_no_policy_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / f"{hashlib.sha256(data).hexdigest()}.safetensors"
    path.write_bytes(data)
    with pytest.raises(HubFault, match="no policy"):
        read_policy(path)


def test_a_missing_file_is_a_hub_fault(tmp_path: Path) -> None:
    with pytest.raises(HubFault, match="can't be read: No such file"):
        read_policy(tmp_path / "x.safetensors")


def test_the_version_before_is_found_when_the_newest_is_damaged(tmp_path: Path) -> None:
    paths = [written(tmp_path, version) for version in range(4)]
    paths[2].write_bytes(b"torn")
    found = newest_readable(tmp_path, WALKER, below=3)
    assert found is not None
    assert found.card.version == 1
    assert newest_readable(tmp_path, WALKER, below=0) is None


def test_only_the_files_written_last_are_kept(tmp_path: Path) -> None:
    paths = [written(tmp_path, version) for version in range(5)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, ns=(10**18 - age, 10**18 - age))
    prune(tmp_path, WALKER, kept=2)
    assert sorted(paths[0].parent.iterdir()) == sorted(paths[3:])


def test_networks_whose_version_is_still_being_written_are_kept(tmp_path: Path) -> None:
    paths = [written(tmp_path, version) for version in range(3)]
    parts = paths[0].parent / PARTS_FOLDER
    parts.mkdir()
    young, old = (parts / f"{name}.safetensors" for name in ("young", "old"))
    for part in (young, old):
        part.touch()
    os.utime(old, ns=(10**18, 10**18))
    prune(tmp_path, WALKER, kept=2, writing_since_us=10**15 + 1)
    assert list(parts.iterdir()) == [young]


def test_a_network_that_another_version_has_again_is_young_again(tmp_path: Path) -> None:
    replicas = {"d": Replica(before=0, changed=0, card=card(0))}
    tensors: Tensors = {"d/a.weight": np.zeros((2, 4), dtype=np.float32)}
    path = policy_path(tmp_path, WALKER, "x").parent / PARTS_FOLDER
    for version in range(2):
        flock = structs.replace(card(version), replicas=replicas)
        write_policy(tmp_path, WALKER, flock, tensors)
        (part,) = path.iterdir()
        assert part.stat().st_mtime_ns > 10**18
        os.utime(part, ns=(10**18, 10**18))
