"""Policy versions as files: written whole, named by the SHA-256 of their bytes, never changed.

    DATA/policies/<agent>/<sha256>.safetensors

A file holds the tensors that choose actions, those that training needs to go on (optimizer, target
networks, random state), and one JSON text, the Card, that says what they are. Reading one runs no
code. Numpy only: actors read these files too.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import Struct, structs
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hub.advice.trust import Arms
from hub.errors import HubFault
from hub.learner.algorithms.row import Activation, AdviceChoice, PolicyKind
from hub.learner.messages import POLICY_SUFFIX, guest_path, policy_path
from hub.learner.versions.outline import CARD_KEY, LENGTH_BYTES
from hub.learner.versions.parts import PARTS_FOLDER, apart, together
from hub.words import Sharing

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hub.learner.versions.parts import Part
    from hub.words import AgentName

Tensors = dict[str, "NDArray[Any]"]

IMPORTED: Final = -1
"""Version in the Card of a policy from outside; the log numbers it."""
NETWORKS_KNOWN: Final = 1024
"""Versions of which it is remembered which networks they have."""


class Replica(Struct, frozen=True):
    """One of a flock's networks, in the Card of a version."""

    before: int
    changed: int
    """Versions with the network that it has, and with the one before: from `changed` on it acts by
    this one, from `before` on by the other; below, by one that is forgotten."""
    counts: dict[str, int] = {}
    """Of its training so far, as in a Card."""
    sha256: str = ""
    """Of the network's file; empty until it is written."""
    card: Card | None = None
    """What that file says of itself; not repeated in the version's."""
    shared_every: int = 0
    """Of so many episodes its device acts in one by the policy that all share; 0 = in none."""


class Card(Struct, frozen=True):
    """What a policy file says of itself."""

    algorithm: str
    kind: PolicyKind
    """How an action is drawn from what the network gives."""
    observations: Any
    """The agent's declared spaces, in Shepherd's syntax."""
    actions: Any
    activation: Activation
    action_layers: list[str]
    """The linear layers from features to the action's parameters: `<name>.weight` and `.bias`."""
    value_layers: list[str]
    """The same for V(o); empty where there is none."""
    spread: str | None
    """Gaussians: the tensor, or the linear layer beside the last, of log(standard deviation)."""
    exploration: float
    """Share of actions drawn uniformly from the action space."""
    version: int
    parent: int | None
    position: int
    """Seq of the last event that went in."""
    learning: bool = True
    missing_reward: float | None = None
    """As the agent was declared at `position`."""
    noise: float = 0.0
    """Standard deviation of normal noise on an action scaled to [-1, 1]."""
    counts: dict[str, int] = {}
    """Of the training so far: transitions, gradient steps and the like."""
    parameters: dict[str, str] | None = None
    """The agent's own, as declared at `position`; None in files from before they were kept here."""
    extractor: str | None = None
    """The module before the first layer, where an observation has images; None = no such."""
    noise_drifts: bool = False
    """The noise is Ornstein and Uhlenbeck's."""
    sde_sample_freq: int = -1
    """gSDE: steps between two matrices; below 1 each version has its own."""
    recurrent: list[str] = []
    """The LSTMs before the action's layers and before those of V(o); empty = no memory."""
    sharing: Sharing | None = None
    """As declared at `position`; None in files from before it was kept here."""
    device_slots: int = 0
    """How many devices it could tell apart; 0 = it does not see which one it is."""
    devices: list[str] = []
    """Those it does tell apart, in the order of their slots."""
    clip_obs: float | None = None
    """Observations are scaled by the file's statistics and clipped to this; None = neither."""
    replicas: dict[str, Replica] | None = None
    """Where each device has a network of its own, by device, in the order in which they came; the
    file's own tensors are those of the one that leads. None = all devices have one."""
    goes_on: str = ""
    """SHA-256 of the file of what replicas go on from, which no actor reads; empty = no such."""
    advisers: list[str] = []
    """With `sharing=advice`, the replicas that may be asked, the best first."""
    trust: dict[str, Arms] = {}
    """Of each replica, what it knows of its advisers."""
    advice_choice: AdviceChoice = "bandit"


class PolicyFile(Struct, frozen=True):
    """A policy version as read from its file."""

    card: Card
    tensors: Tensors
    sha256: str


def write_policy(folder: Path, agent: AgentName, card: Card, tensors: Tensors) -> str:
    """Write a version and return the SHA-256 that names it; it is on disk when this returns."""
    home = policy_path(folder, agent, "x").parent
    if card.replicas is not None:
        rest, goes_on, parts = apart(card, tensors)
        replicas = {
            device: structs.replace(
                replica, sha256=_write(home / PARTS_FOLDER, *parts[device]), card=None
            )
            for device, replica in card.replicas.items()
        }
        card = structs.replace(card, replicas=replicas)
        if goes_on:
            plain = structs.replace(card, replicas=None)
            card = structs.replace(card, goes_on=_write(home / PARTS_FOLDER, plain, goes_on))
        tensors = rest
    return _write(home, card, tensors)


def write_guest(folder: Path, agent: AgentName, card: Card, tensors: Tensors) -> str:
    """Write a network of another hub where actors find it; the SHA-256 that names it."""
    return _write(guest_path(folder, agent, "x").parent, card, tensors)


def as_file(card: Card, tensors: Tensors) -> bytes:
    """What stands in the file of one network; of a version without replicas, in its own."""
    return save(tensors, metadata={CARD_KEY: msgspec.json.encode(card).decode()})


def _write(folder: Path, card: Card, tensors: Tensors) -> str:
    data = as_file(card, tensors)
    sha256 = hashlib.sha256(data).hexdigest()
    path = folder / f"{sha256}{POLICY_SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    if folder.name == PARTS_FOLDER:
        with contextlib.suppress(FileNotFoundError):
            os.utime(path)  # young again: a version that names it is being written
            return sha256
    _write_durably(path, data)
    return sha256


def read_policy(
    path: Path, known: Mapping[str, Part] = MappingProxyType({}), *, acting: bool = False
) -> PolicyFile:
    """The version in a file, and in those of its replicas where it has some.

    Args:
        path: of the version.
        known: networks that need not be read again, by the SHA-256 of their files.
        acting: what only a trainer goes on from may be left out.

    Raises:
        HubFault: one is missing, its bytes are not those its name promises, or it is no policy.
    """
    policy = _read(path)
    replicas = policy.card.replicas
    if replicas is None:
        return policy
    parts = {
        device: known.get(replica.sha256) or _read_part(part_path(path, replica.sha256))
        for device, replica in replicas.items()
    }
    tensors = policy.tensors
    if policy.card.goes_on and not acting:
        tensors = tensors | _read(part_path(path, policy.card.goes_on)).tensors
    return PolicyFile(*together(policy.card, tensors, parts), policy.sha256)


def part_path(version: Path, sha256: str) -> Path:
    """Where a replica's network lies, beside the file of a version, or what they go on from."""
    return version.parent / PARTS_FOLDER / f"{sha256}{POLICY_SUFFIX}"


def _parts(card: Card) -> list[str]:
    """The files that a version names."""
    parts = [replica.sha256 for replica in (card.replicas or {}).values()]
    return [*parts, card.goes_on] if card.goes_on else parts


def copy_policy(source: Path, target: Path) -> None:
    """Copy a version with the networks of its replicas to where another version may lie.

    Raises:
        OSError: a file is not there, or the target can't be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for sha256 in _parts(_read(source).card):
        copy = part_path(target, sha256)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(part_path(source, sha256), copy)
    shutil.copyfile(source, target)


def _read_part(path: Path) -> Part:
    part = _read(path)
    return part.card, part.tensors


def _read(path: Path) -> PolicyFile:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise HubFault(f"policy file {path.name} can't be read: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if path.name != sha256 + POLICY_SUFFIX:
        raise HubFault(f"policy file {path.name} is damaged: its bytes hash to {sha256[:12]}…")
    try:
        return PolicyFile(_card(data), load(data), sha256)
    except (SafetensorError, msgspec.MsgspecError, KeyError, ValueError) as error:
        raise HubFault(f"policy file {path.name} is no policy: {error}") from error


def newest_readable(folder: Path, agent: AgentName, *, below: int) -> PolicyFile | None:
    """The undamaged version with the highest number under `below`, None when there is none."""
    best: PolicyFile | None = None
    for path in policy_path(folder, agent, "x").parent.glob(f"*{POLICY_SUFFIX}"):
        with contextlib.suppress(HubFault):
            found = read_policy(path)
            version = found.card.version
            if IMPORTED < version < below and (best is None or version > best.card.version):
                best = found
    return best


def prune(
    folder: Path,
    agent: AgentName,
    *,
    kept: int,
    pinned: Collection[str] = (),
    writing_since_us: int | None = None,
) -> None:
    """Remove all but the `kept` files written last, and those whose SHA-256 is `pinned`.

    A replica's network goes when no version has it any more, unless it was written since
    `writing_since_us` (UTC): networks are written before their version, by a trainer that does not
    wait for another process.
    """
    home = policy_path(folder, agent, "x").parent
    paths = sorted(home.glob(f"*{POLICY_SUFFIX}"), key=_written, reverse=True)
    removed = [path for path in paths[kept:] if path.stem not in pinned]
    for path in removed:
        path.unlink(missing_ok=True)
    parts = home / PARTS_FOLDER
    if not removed or not parts.exists():
        return
    wanted = set().union(*(_networks(path) for path in paths if path not in removed))
    for path in parts.glob(f"*{POLICY_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            young = writing_since_us is not None and _written(path) >= writing_since_us * 1000
            if path.stem not in wanted and not young:
                path.unlink()


@lru_cache(maxsize=NETWORKS_KNOWN)
def _networks(path: Path) -> frozenset[str]:
    """The replicas' files that a version names: always the same, as its own name is its hash."""
    with contextlib.suppress(OSError, msgspec.MsgspecError, KeyError), path.open("rb") as file:
        length = file.read(LENGTH_BYTES)
        return frozenset(_parts(_card(length + file.read(int.from_bytes(length, "little")))))
    return frozenset()


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _card(data: bytes) -> Card:
    end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
    header = msgspec.json.decode(data[LENGTH_BYTES:end])
    return msgspec.json.decode(header["__metadata__"][CARD_KEY], type=Card)


def _write_durably(path: Path, data: bytes) -> None:
    """All of it or nothing, whenever the power goes: the bytes first, then their name."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)  # noqa: PTH105 - the name of an open file
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def as_bytes_tensor(data: bytes) -> NDArray[np.uint8]:
    """Bytes in a form that a policy file can hold."""
    return np.frombuffer(data, dtype=np.uint8)
