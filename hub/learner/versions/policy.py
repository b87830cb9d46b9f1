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
import tempfile
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
from msgspec import Struct
from safetensors import SafetensorError
from safetensors.numpy import load, save

from hub.errors import HubFault
from hub.learner.algorithms.row import Activation, PolicyKind
from hub.learner.messages import POLICY_SUFFIX, policy_path
from hub.learner.versions.outline import CARD_KEY, LENGTH_BYTES
from hub.words import Sharing

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from numpy.typing import NDArray

    from hub.words import AgentName

Tensors = dict[str, "NDArray[Any]"]

IMPORTED: Final = -1
"""Version in the Card of a policy from outside; the log numbers it."""


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


class PolicyFile(Struct, frozen=True):
    """A policy version as read from its file."""

    card: Card
    tensors: Tensors
    sha256: str


def write_policy(folder: Path, agent: AgentName, card: Card, tensors: Tensors) -> str:
    """Write a version and return the SHA-256 that names it; it is on disk when this returns."""
    data = save(tensors, metadata={CARD_KEY: msgspec.json.encode(card).decode()})
    sha256 = hashlib.sha256(data).hexdigest()
    path = policy_path(folder, agent, sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_durably(path, data)
    return sha256


def read_policy(path: Path) -> PolicyFile:
    """The version in a file.

    Raises:
        HubFault: it is missing, its bytes are not those its name promises, or it is no policy.
    """
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


def prune(folder: Path, agent: AgentName, *, kept: int, pinned: Collection[str] = ()) -> None:
    """Remove all but the `kept` files written last, and those whose SHA-256 is `pinned`."""
    paths = policy_path(folder, agent, "x").parent.glob(f"*{POLICY_SUFFIX}")
    for path in sorted(paths, key=lambda path: path.stat().st_mtime_ns, reverse=True)[kept:]:
        if path.stem not in pinned:
            path.unlink(missing_ok=True)


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
