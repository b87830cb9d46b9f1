"""A network that another hub gave: looked at, tried, and written anew, or refused.

    sha256 = take_in(data, agent, folder)      # of the file that actors may read

The reader of imported policies (`exchange/checkpoint.py`) takes the bytes apart without running
any; then the network must fit the agent's declaration, and answer a few observations with a
distribution over the agent's actions. What is written says nothing that was not looked at. Numpy
only.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hub.errors import OperatorFault, SheepfoldError, Unheard
from hub.federation.shelf import stripped
from hub.learner.acting.choose import Chooser
from hub.learner.acting.kinds import GAUSSIAN
from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.algorithms.spaces_taken import why_unadvised
from hub.learner.columns import Questions
from hub.learner.exchange.checkpoint import Checkpoint, read_checkpoint
from hub.learner.versions.outline import CARD_KEY, LENGTH_BYTES, check_fits
from hub.learner.versions.policy import Card, PolicyFile, write_guest
from hub.spaces import Box, Dict, bounds, choices, parse, size
from hub.words import Floats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from hub.learner.versions.parts import Part
    from hub.words import Agent

LAYERS_MAX: Final = 16
SLOTS_MAX: Final = 1024
TRIALS: Final = (0.0, 1.0, -1.0, 1e3)
"""All numbers of an observation that a network is tried with, or as near as their bounds allow."""
WRONG: Final = (SheepfoldError, KeyError, ValueError, IndexError, TypeError, AssertionError)
"""What a network can raise that is not what its file says."""


def take_in(data: bytes, agent: Agent, folder: Path) -> str:
    """Write the network of an adviser; the SHA-256 that names its file.

    Raises:
        Unheard: it is no network, not one for this agent, or not one that can advise.
        OSError: it can't be written.
    """
    return write_guest(folder, agent.name, *vetted(data, agent))


def can_be_vetted(agent: Agent) -> bool:
    """Whether networks of this agent can be tried: those that can advise."""
    return why_unadvised(agent, algorithm_of(agent)) is None


def vetted(data: bytes, agent: Agent) -> Part:
    """The network, with what it says of itself said anew.

    Raises:
        Unheard: it is no network, not one for this agent, or not one that can advise.
    """
    if not can_be_vetted(agent):
        raise Unheard("unfit", f"replicas of agent {agent.name!r} can't be advised")
    card, checkpoint = _read(data, agent)
    plain, tensors = stripped(card, {**checkpoint.weights, **checkpoint.statistics})
    plain = msgspec.structs.replace(
        plain,
        algorithm=agent.algorithm,
        observations=agent.observations,
        actions=agent.actions,
        parameters=agent.parameters,
        exploration=0.0,
    )
    _check_said(plain, agent)
    try:
        _try(PolicyFile(plain, tensors, ""), agent)
    except WRONG as error:
        raise Unheard("unfit", f"it can't be asked: {error}") from error
    return plain, tensors


def _read(data: bytes, agent: Agent) -> tuple[Card, Checkpoint]:
    try:
        with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
            file.write(data)
            file.flush()
            checkpoint = read_checkpoint(Path(file.name), bytes_max=len(data))
        if checkpoint.outline is None:
            raise Unheard("unfit", "it is no file of a hub")
        check_fits(checkpoint.outline, agent)
        end = LENGTH_BYTES + int.from_bytes(data[:LENGTH_BYTES], "little")
        header = msgspec.json.decode(data[LENGTH_BYTES:end])
        card = msgspec.json.decode(header["__metadata__"][CARD_KEY], type=Card)
    except (OperatorFault, msgspec.MsgspecError, RecursionError) as error:
        raise Unheard("unfit", str(error)) from error
    if not all(np.isfinite(tensor).all() for tensor in checkpoint.statistics.values()):
        raise Unheard("unfit", "its statistics are not finite")
    return card, checkpoint


def _check_said(card: Card, agent: Agent) -> None:
    """Refuse what no row of the agent's algorithm would say of a network."""
    head = algorithm_of(agent).heads.get(type(parse(agent.actions)))
    sound = (
        head is not None
        and card.kind == head.kind
        and card.extractor is None
        and not card.recurrent
        and not card.noise_drifts
        and 0 < len(card.action_layers) <= LAYERS_MAX
        and len(card.value_layers) <= LAYERS_MAX
        and 0 <= card.device_slots <= SLOTS_MAX
        and (card.clip_obs is None or 0 < card.clip_obs < np.inf)
    )
    if not sound:
        raise Unheard("unfit", "its description is not one of this agent's networks")


def _try(policy: PolicyFile, agent: Agent) -> None:
    """Ask it a few times: what it says must be a distribution over the agent's actions."""
    chooser = Chooser(policy, seed=0)
    width = advice_width(agent)
    for i, values in enumerate(_observations(agent)):
        question = Questions.of([(i, "trial", 0, i, Floats(values.tobytes()), None, True)])
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            advice = chooser.advise(question)
        if advice.shape != (1, width) or not np.isfinite(advice).all():
            raise Unheard("unfit", f"its advice is {advice.shape}, not (1, {width}), or not finite")


def _observations(agent: Agent) -> Iterator[NDArray[np.float32]]:
    """Some that its devices could send."""
    space = parse(agent.observations)
    leaves = space.spaces.values() if isinstance(space, Dict) else (space,)
    low, high = (np.concatenate(ends) for ends in zip(*map(bounds, leaves), strict=True))
    for number in TRIALS:
        yield np.full(len(low), number).clip(low, high).astype(np.float32)


def advice_width(agent: Agent) -> int:
    """How many numbers an advice is of, to a replica of an agent that can be advised."""
    actions = parse(agent.actions)
    kind = algorithm_of(agent).heads[type(actions)].kind
    if kind in GAUSSIAN:
        return 2 * size(actions)
    if kind == "bernoulli":
        return size(actions)
    assert not isinstance(actions, (Box, Dict)), "the other kinds choose"
    return sum(choices(actions))
