"""What hubs say to each other, and the bounds of it: whatever breaks one is refused by its name.

    announcement = read_announcement(payload, policy_bytes_max=16 << 20)
    digest_of(agent) == announcement.digest      # else its networks are of no use here

JSON, but for the parts of a network, which are its bytes.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from hub.errors import OperatorFault, Unheard
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.versions.outline import SHAPING
from hub.topics import HUB_NAME
from hub.words import Agent

Said = TypeVar("Said", bound=Struct)

OFFERS_MAX: Final = 4
"""Networks that one hub gives out of one agent: the best."""
ANNOUNCEMENT_BYTES_MAX: Final = 4096
WANT_BYTES_MAX: Final = 256
QUESTION_BYTES_MAX: Final = 16_384
OBSERVATION_MAX: Final = 512
"""Numbers of an observation that somebody elsewhere may be asked about, or of an advice."""
PART_BYTES: Final = 16_384
PARTS_AT_ONCE: Final = 8
"""What one `Want` is answered with."""
ASKED: Final = "?"
"""In place of a device: whoever this is has no network here, and is asked at each step."""
ALL_DEVICES: Final = "*"
"""In place of a device: the network is of all of them, or of the one that leads."""

END: Final = r"$(?!\n)"
"""Of a pattern: `$` alone takes in a newline behind the name, which would stand in topics then."""
ALGORITHM_MAX: Final = 80
"""Characters of its name that are told."""

Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}" + END)]
Short = Annotated[str, Meta(pattern="^[0-9a-f]{8}" + END)]
"""The first digits of a SHA-256."""
Count = Annotated[int, Meta(ge=0, le=1 << 53)]


class Offer(Struct, frozen=True):
    """A network that is given out."""

    device: Annotated[str, Meta(pattern=r"^([a-z0-9_-]{1,23}|\*)" + END)]
    version: Count
    sha256: Sha256
    bytes: Annotated[int, Meta(ge=1)]
    mean: Annotated[float, Meta(ge=-1e30, le=1e30)] | None
    """Return of its device's last episodes; None before it has had enough."""


class Fit(Struct, frozen=True):
    """What a digest is made of, each by itself, so that two hubs can tell what differs."""

    algorithm: Annotated[str, Meta(max_length=ALGORITHM_MAX)]
    observations: Short
    actions: Short
    network: Short
    """Of the parameters that make the network another one."""


class Announcement(Struct, frozen=True, omit_defaults=True):
    """Topic `policy/<hub>`, retained: what a hub gives out of an agent; empty = nothing more."""

    log: Annotated[str, Meta(max_length=40)]
    """Id of the hub's log: versions count up within it, so an older announcement shows."""
    version: Count
    """Of the agent's policy."""
    digest: Annotated[str, Meta(pattern="^[0-9a-f]{16}" + END)]
    """Of what makes networks of use to each other: `digest_of`."""
    offers: Annotated[list[Offer], Meta(max_length=OFFERS_MAX)]
    fit: Fit | None = None
    """None = a hub that does not say."""


class Want(Struct, frozen=True):
    """Topic `want/<hub>`: the parts of a network from this number on, `PARTS_AT_ONCE` of them."""

    sha256: Sha256
    part: Annotated[int, Meta(ge=0, le=1 << 20)]


class Adviser(Struct, frozen=True):
    """Topic `adviser/<hub>`, retained: who answers questions; empty = no more."""

    observations: Any
    """What it can be asked about, and what it advises about: spaces as an agent declares them."""
    actions: Any


class AskSent(Struct, frozen=True):
    """Topic `ask/<hub>`: what would you do here?"""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{16}" + END)]
    hub: Annotated[str, Meta(pattern=f"^{HUB_NAME.pattern}{END}")]
    """Who asks, and where to answer: `answer/<hub>`."""
    o: Annotated[list[float], Meta(max_length=OBSERVATION_MAX)]
    """The observation, flat, as it is learnt from."""
    ms: Annotated[float, Meta(gt=0, le=60_000)]
    """An answer that comes later is of no use."""


class AnswerSent(Struct, frozen=True):
    """Topic `answer/<hub>`: what an adviser would do."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{16}" + END)]
    """Of the question: whoever was not asked can't know it."""
    advice: Annotated[list[float], Meta(max_length=OBSERVATION_MAX)]
    """Log-probabilities or logits of all choices; of numbers, their means and then the logs of the
    standard deviations, in units of the action."""


class Pair(Struct, frozen=True):
    """What an adviser was worth to a device."""

    device: str
    adviser: str
    episodes: int
    gain: float
    """Mean of how much more an episode brought than those without advice."""
    within: float | None
    """Half of its 90 % interval; None below two episodes."""


class Gains(Struct, frozen=True):
    """Topic `advice/<hub>`, retained: what advice gained an agent's devices there."""

    pairs: list[Pair]
    episodes: int
    """Advised ones, of all pairs that were ever seen."""
    gain: float | None
    """Mean over them; None before the first."""


_announcement: Final = msgspec.json.Decoder(Announcement)
_want: Final = msgspec.json.Decoder(Want)
_adviser: Final = msgspec.json.Decoder(Adviser)
_ask: Final = msgspec.json.Decoder(AskSent)
_answer: Final = msgspec.json.Decoder(AnswerSent)
encode: Final = msgspec.json.Encoder().encode


def read_announcement(payload: bytes, *, policy_bytes_max: int) -> Announcement:
    """The announcement in a payload.

    Raises:
        Unheard: it is none, or larger or other than one may be.
    """
    announcement = _decoded(payload, _announcement, ANNOUNCEMENT_BYTES_MAX)
    devices = [offer.device for offer in announcement.offers]
    if len(set(devices)) < len(devices):
        raise Unheard("payload", "two networks of one device")
    if any(offer.bytes > policy_bytes_max for offer in announcement.offers):
        raise Unheard("size")
    return announcement


def read_want(payload: bytes) -> Want:
    """The request in a payload.

    Raises:
        Unheard: it is none.
    """
    return _decoded(payload, _want, WANT_BYTES_MAX)


def read_adviser(payload: bytes) -> Adviser:
    """Who answers questions.

    Raises:
        Unheard: it says nothing of the kind.
    """
    return _decoded(payload, _adviser, ANNOUNCEMENT_BYTES_MAX)


def read_ask(payload: bytes) -> AskSent:
    """The question in a payload.

    Raises:
        Unheard: it is none.
    """
    return _decoded(payload, _ask, QUESTION_BYTES_MAX)


def read_answer(payload: bytes) -> AnswerSent:
    """The answer in a payload; whether it is one to anything is another question.

    Raises:
        Unheard: it is none.
    """
    return _decoded(payload, _answer, QUESTION_BYTES_MAX)


def _decoded(payload: bytes, decoder: msgspec.json.Decoder[Said], bytes_max: int) -> Said:
    if len(payload) > bytes_max:
        raise Unheard("size")
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unheard("payload", str(error)) from error


def digest_of(agent: Agent) -> str:
    """Two agents with the same can use each other's networks: algorithm, spaces and shape."""
    shape = _shape_of(agent)
    means = [agent.algorithm, agent.observations, agent.actions, shape]
    return "" if shape is None else _hash_of(means)[:16]


def fit_of(agent: Agent) -> Fit | None:
    """The same for each by itself; None where the digest is empty."""
    shape = _shape_of(agent)
    if shape is None:
        return None
    spaces = (_hash_of(agent.observations)[:8], _hash_of(agent.actions)[:8])
    return Fit(agent.algorithm[:ALGORITHM_MAX], *spaces, _hash_of(shape)[:8])


def differences(theirs: Fit | None, ours: Fit | None) -> str:
    """Of two agents whose digests differ, what does, in words."""
    if ours is None:
        return "the algorithm of the agent here is not installed"
    if theirs is None:
        return "the other hub does not say what differs"
    words = []
    if theirs.algorithm != ours.algorithm:
        words.append(f"the algorithm ({theirs.algorithm!r} there, {ours.algorithm!r} here)")
    if theirs.observations != ours.observations:
        words.append("the observations")
    if theirs.actions != ours.actions:
        words.append("the actions")
    if theirs.network != ours.network:
        words.append(f"a parameter of the network ({', '.join(SHAPING)})")
    return f"what differs is {' and '.join(words) or 'nothing that it names'}"


def _shape_of(agent: Agent) -> dict[str, object] | None:
    try:
        parameters = read_parameters(agent)
    except OperatorFault:  # its library is not installed any more: it fits nobody
        return None
    return {name: getattr(parameters, name) for name in SHAPING}


def _hash_of(means: object) -> str:
    return hashlib.sha256(msgspec.json.encode(means, order="deterministic")).hexdigest()
