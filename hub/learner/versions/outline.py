"""What a policy file says of itself, read from its first bytes: enough to refuse it early.

The hub may not read tensors (it imports no numpy); whoever loads the file looks at all of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct, structs

from hub.errors import OperatorFault
from hub.learner.algorithms.parameters import read_parameters

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent

CARD_KEY: Final = "sheepfold"
LENGTH_BYTES: Final = 8
"""Of the header's length, at the start of a safetensors file."""
HEADER_BYTES_MAX: Final = 4 << 20
SHAPING: Final = ("net_arch", "activation_fn", "norm_obs", "lstm_hidden_size", "use_sde")
"""Parameters that make the network another one."""


class Outline(Struct, frozen=True):
    """Of a policy file's Card, what says to which agents it can belong."""

    algorithm: str
    observations: Any
    actions: Any
    position: int
    parameters: dict[str, str] | None = None
    device_slots: int = 0


class _Metadata(Struct, frozen=True):
    sheepfold: str


class _Header(Struct, frozen=True):
    metadata: _Metadata = msgspec.field(name="__metadata__")


def read_outline(path: Path) -> Outline:
    """The outline of a version's file.

    Raises:
        OperatorFault: it is not there any more, or no policy.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(LENGTH_BYTES), "little")
            header = file.read(length) if length <= HEADER_BYTES_MAX else b""
    except OSError as error:
        raise OperatorFault(
            f"policy file {path.name} can't be read ({error.strerror}): only the newest "
            "'learner.policies_kept' are kept; 'sheepfold rebuild' makes it again, "
            "and 'sheepfold policy import' puts it in place"
        ) from error
    try:
        card = msgspec.json.decode(header, type=_Header).metadata.sheepfold
        return msgspec.json.decode(card, type=Outline)
    except msgspec.MsgspecError as error:
        raise OperatorFault(f"{path.name} is no policy of Sheepfold: {error}") from error


def check_fits(outline: Outline, agent: Agent) -> None:
    """Refuse a policy that an agent could not use.

    Raises:
        OperatorFault: it says what differs.
    """
    differs = [
        f"{name} {getattr(outline, name)!r} instead of {getattr(agent, name)!r}"
        for name in ("algorithm", "observations", "actions")
        if getattr(outline, name) != getattr(agent, name)
    ]
    if not differs and outline.parameters is not None:
        theirs = read_parameters(structs.replace(agent, parameters=outline.parameters))
        ours = read_parameters(agent)
        differs = [
            f"{name} {getattr(theirs, name)!r} instead of {getattr(ours, name)!r}"
            for name in SHAPING
            if getattr(theirs, name) != getattr(ours, name)
        ]
    if differs:
        raise OperatorFault(
            f"the policy does not fit agent {agent.name!r}: it has {', '.join(differs)}"
        )
