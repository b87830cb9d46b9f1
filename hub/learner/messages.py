"""What the hub and an agent's two learner processes say to each other.

The hub holds one end of a socketpair to each; every message is one frame of `hub.frames`. Neither
torch nor numpy is imported here, because the hub imports this file.

    hub ──Questions, Load, Greedy, Invite, Counsel──▶ actor
    hub ◀──Answers, Loaded, Consult─── actor
    hub ◀──Made, Idle───────── trainer      (what it needs to know is in the log)

The end of the socket means that the other side is gone: both processes then end at once.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import Struct

from hub.facts import Advised, Guarded, PolicyMade, Updated
from hub.frames import frame
from hub.learner.columns import Chosen, Questions, U64s
from hub.words import FLOAT_BYTES, Floats

if TYPE_CHECKING:
    from hub.words import AgentName

POLICIES_FOLDER: Final = "policies"
POLICY_SUFFIX: Final = ".safetensors"
GUESTS_FOLDER: Final = "guests"


# --- hub -> actor --------------------------------------------------------------------------


class Load(Struct, frozen=True, array_like=True, tag="load"):
    """Act by this version from now on. Send it only when its `policy` event is durable."""

    version: int
    path: str


class Greedy(Struct, frozen=True, array_like=True, tag="greedy"):
    """Stop or start exploring; on while the agent's `learning` is off."""

    on: bool


class Invite(Struct, frozen=True, array_like=True, tag="invite"):
    """These networks from other hubs may advise from now on, and no others."""

    guests: list[tuple[str, str]]
    """Name and path of each."""
    asked: list[str] = []
    """Names of those that have no network here: the hub has them asked."""
    within_s: float = 0.0
    """They have so long for an answer."""


class Counsel(Struct, frozen=True, array_like=True, tag="counsel", gc=False):
    """What somebody elsewhere would do, who was asked by a `Consult`."""

    id: int
    values: Floats | None
    """As in `Advice`; None = nobody answers."""


ToActor = Questions | Load | Greedy | Invite | Counsel


# --- actor -> hub --------------------------------------------------------------------------


LOG_STD_BOUND: Final = 20.0
"""Of an Advice: beyond it, and below the negative of it, a precision is no float32 any more."""


class Advice(Struct, frozen=True, array_like=True, gc=False):
    """What one replica would do, as another was told."""

    adviser: str
    """The device whose network said it, in the same version; of a guest `<hub>/<device>`."""
    values: Floats
    """float32: log-probabilities or logits of all choices; of a Gaussian, means and the logs of
    standard deviations."""


class Consult(Struct, frozen=True, array_like=True, tag="consult", gc=False):
    """Have an adviser elsewhere asked; until then, or the deadline, the Question waits."""

    id: int
    """Of the Question."""
    adviser: str
    """One of `Invite.asked`."""
    values: Floats
    """The observation."""


class LastWords(Struct, frozen=True, array_like=True, tag="last words"):
    """Said by either process before an error ends it."""

    error: str
    """One line, `ERROR_CHARACTERS_MAX` at most."""


class Answers(Struct, frozen=True, array_like=True, tag="answers", gc=False):
    """What was chosen for all Questions that had arrived together, in one frame.

    CRUCIAL for the cost of advice: choices stand here as the log will have them. What is made in
    the actor, a payload most of all, costs the hub's loop nothing.
    """

    ids: U64s
    """Of the Questions."""
    choices: Chosen
    """For each of them; two parts, because pairs would cost both sides a tenth more."""


class Loaded(Struct, frozen=True, array_like=True, tag="loaded"):
    """The version acts now; with an error it can't be read, and the one before goes on acting."""

    version: int
    error: str | None = None


FromActor = Answers | Loaded | Consult | LastWords


# --- trainer -> hub ------------------------------------------------------------------------


class Made(Struct, frozen=True, array_like=True, tag="made"):
    """A version is on disk. Log `update` (if any) and `policy`, then send the actor its `Load`.

    After a restart a trainer may make again, byte for byte, a version that was not yet logged.
    """

    version: int
    policy: PolicyMade
    update: Updated | None
    """None for the version an agent begins with."""
    parent_sha256: str | None = None
    """Of the parent's file: a child of any but the newest version in the log is not logged."""
    advised: list[tuple[str, Advised | Guarded]] = []
    """Since the version before: devices and their episodes, where replicas take advice; or what was
    decided for them, where a shared policy is guarded."""


class Idle(Struct, frozen=True, array_like=True, tag="idle"):
    """Nothing has come for a while: all the agent's events are learnt from. Or again, something."""

    on: bool


class Waiting(Struct, frozen=True, array_like=True, tag="waiting"):
    """So many observations were read and are not learnt from; told once a second, while any are."""

    observations: int


FromTrainer = Made | Idle | Waiting | LastWords


class LoggedPolicy(Struct, frozen=True):
    """A version with a `policy` event in the log."""

    version: int
    sha256: str


# --- on the wire ---------------------------------------------------------------------------

_encode = msgspec.msgpack.Encoder().encode
decode_to_actor = msgspec.msgpack.Decoder(ToActor).decode
decode_from_actor = msgspec.msgpack.Decoder(FromActor).decode
decode_from_trainer = msgspec.msgpack.Decoder(FromTrainer).decode


def framed(message: ToActor | FromActor | FromTrainer) -> bytes:
    """The message as one frame, ready to be sent."""
    return frame(_encode(message))


# --- beside the wire: names and texts both sides must agree on -------------------------------


def policy_path(folder: Path, agent: AgentName, sha256: str) -> Path:
    """Where a version lies under the hub's data folder."""
    return folder / POLICIES_FOLDER / agent / f"{sha256}{POLICY_SUFFIX}"


def guest_path(folder: Path, agent: AgentName, sha256: str) -> Path:
    """Where a network from another hub lies."""
    return policy_path(folder, agent, sha256).parent / GUESTS_FOLDER / f"{sha256}{POLICY_SUFFIX}"


class _Beside(Struct, omit_defaults=True):
    raw: list[float] | None = None
    mask: str | None = None
    memory: int | None = None
    adviser: str | None = None
    advice: list[float] | None = None
    own: bool = False


class Drawn(NamedTuple):
    """What an action's `payload` says of how it was drawn, beside its log-probability."""

    raw: Floats | None = None
    """The sample, where the bounds changed it."""
    mask: bytes | None = None
    """What it was drawn from: a byte a choice, 1 = allowed; None = from all."""
    memory: int | None = None
    """Observations that a recurrent policy's state had seen before; 0 = it had begun anew."""
    advice: Advice | None = None
    """What it was multiplied with before it was drawn."""
    own: bool = False
    """By the device's own network, where it has one beside the policy that all share."""


NOTHING: Final = Drawn()
_decode_beside = msgspec.json.Decoder(_Beside).decode


def payload_of(drawn: Drawn) -> str | None:
    """As JSON text, a mask as `"0110"`; None when there is nothing to say."""
    raw, mask, memory, advice, own = drawn
    if drawn == NOTHING:
        return None
    beside = _Beside(
        raw=None if raw is None else _listed(raw),
        mask=None if mask is None else "".join(map(str, mask)),
        memory=memory,
        own=own,
    )
    if advice is not None:
        beside.adviser, beside.advice = advice.adviser, _listed(advice.values)
    return msgspec.json.encode(beside).decode()


def drawn_of(payload: str | None) -> Drawn:
    """The same, read back to the last bit; nothing when the payload speaks of something else."""
    if payload is None:
        return Drawn()
    try:
        beside = _decode_beside(payload)
    except msgspec.ValidationError:
        return Drawn()
    text = beside.mask
    raw = None if beside.raw is None else _packed(beside.raw)
    mask = None if text is None else bytes(map(int, text))
    advice = None
    if beside.adviser is not None and beside.advice is not None:
        advice = Advice(beside.adviser, _packed(beside.advice))
    return Drawn(raw, mask, beside.memory, advice, beside.own)


def _listed(values: Floats) -> list[float]:
    return list(struct.unpack(f"<{len(values) // FLOAT_BYTES}f", values))


def _packed(values: list[float]) -> Floats:
    return Floats(struct.pack(f"<{len(values)}f", *values))
