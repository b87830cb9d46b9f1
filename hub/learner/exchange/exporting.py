"""A policy version as a file for others: its own bytes, or what Stable-Baselines3's `load` opens.

SB3's file holds the weights, the optimizer and the settings of the algorithm. Its `load` unpickles:
load such a file only when it is yours. SB3 keeps statistics of observations elsewhere, so these are
folded into the first layers: the exported policy takes observations as devices send them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import structs

import hub.learner.one_thread  # noqa: F401 - before torch
from hub.errors import OperatorFault
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.exchange.scale_folding import fold_scale
from hub.learner.experience.transitions import FOLLOWED
from hub.learner.sb3.drive import drive
from hub.learner.sb3.identity import refitted
from hub.learner.sb3.snapshot import take_up
from hub.learner.versions.parts import SEEDLING, alone
from hub.learner.versions.policy import PolicyFile, as_file, read_policy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.words import Agent

OWN: Final = ".safetensors"
SB3: Final = ".zip"


def export_policy(source: Path, agent: Agent, target: Path, device: str | None = None) -> None:
    """Write a version to a file; its suffix says in which form.

    Args:
        source: the version's file, whose bytes must be those its name promises.
        agent: it belongs to.
        target: is written whole or not at all.
        device: whose network, where each has its own; None = the one that leads.

    Raises:
        OperatorFault: another suffix, a place that can't be written, or a device without a network.
        HubFault: the version's file is damaged.
    """
    policy = read_policy(source)
    if target.suffix == SB3 and agent.algorithm not in ALGORITHMS:
        raise OperatorFault(
            f"{agent.algorithm} is not of Stable-Baselines3, which could not load it: name the "
            f"file {target.stem}{OWN}"
        )
    if target.suffix not in (OWN, SB3):
        raise OperatorFault(f"{target}: the name must end with {OWN} or {SB3}")
    own = [device for device in policy.card.replicas or {} if device != SEEDLING]
    if device is not None and device not in own:
        there = ", ".join(own)
        raise OperatorFault(
            f"device {device!r} has no network of its own in this version; "
            + (f"there are: {there}" if there else f"agent {agent.name!r} has one for all devices")
        )
    one = PolicyFile(*alone(policy.card, policy.tensors, device), policy.sha256)
    try:
        with _draft(target) as draft:
            if target.suffix == OWN and policy.card.replicas is None:
                shutil.copyfile(source, draft)
            elif target.suffix == OWN:
                draft.write_bytes(as_file(one.card, one.tensors))
            else:
                _save(one, agent, draft)
    except OSError as error:
        raise OperatorFault(f"{target} can't be written: {error.strerror}") from error


def _save(policy: PolicyFile, agent: Agent, path: Path) -> None:
    card = policy.card
    if card.parameters is not None:
        agent = structs.replace(agent, parameters=card.parameters)
    # Without hindsight: a ZIP that has it can't be loaded without an environment.
    parameters = structs.replace(read_parameters(agent), hindsight=None)
    tensors = {n: t for n, t in policy.tensors.items() if n != FOLLOWED}
    learner = drive(agent, structs.replace(parameters, device_slots=0))
    direct = not parameters.net_arch
    tensors = refitted(tensors, learner.model, direct=direct, had=card.device_slots, has=0)
    take_up(learner, card, tensors)
    if card.clip_obs is not None:
        fold_scale(learner.model.policy, agent, policy.tensors)
    learner.model.save(path)


@contextlib.contextmanager
def _draft(target: Path) -> Iterator[Path]:
    """A file beside the target that takes its name when all went well."""
    handle, name = tempfile.mkstemp(dir=target.parent, suffix=target.suffix)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
