"""What the hub and people send to devices, in the short names of the wire, and tell people.

Absent means the default (docs/device-maker.md). The long words are in `hub.words`; here are only
their outsides.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from hub.words import Answer, Code, Source

TAKEN_OVER: Final = "another remote learner has taken device"
"""How the refusal begins that the older of two remote learners is sent; it must not come back."""

_SOURCES: Final[dict[Source | None, Literal["advice", "fallback", "clamp", "override"]]] = {
    Source.ADVICE: "advice",
    Source.FALLBACK: "fallback",
    Source.CLAMP: "clamp",
    Source.OVERRIDE: "override",
}


class Act(Struct, frozen=True, omit_defaults=True):
    """The answer to one observation: topic `act`, and the body of `POST /v1/step`."""

    s: int
    """Step of the observation, as the device numbered it."""
    a: int | list[Any] | None
    """int for a Discrete space, else a list, nested for a Box; null after the end of an episode."""
    pv: int | None = None
    """Policy version that chose it; absent when no policy did."""
    src: Literal["advice", "fallback", "clamp", "override"] | None = None
    """Who chose it, when that was not the policy alone."""
    seq: int | None = None
    """Of the observation's event; over HTTP only."""
    w: str | None = None
    """What of the observation was not taken as it was sent, a sentence; over HTTP only."""


def act_of(answer: Answer) -> Act:
    """The answer as a device gets it; `seq` is left to HTTP."""
    return Act(s=answer.step, a=answer.action, pv=answer.policy, src=_SOURCES.get(answer.source))


class Err(Struct, frozen=True, omit_defaults=True):
    """Why something a device sent was refused: topic `err`."""

    e: Code
    s: int | None = None
    """Step of the observation, where it could be read."""
    m: str = ""
    """A sentence for the person who wrote the firmware."""


class ClaimSent(Struct, frozen=True, omit_defaults=True):
    """What a device says that redeems a claim token: topic `claim`; it may be empty."""

    nonce: str | None = None
    """16 to 64 of A-Z a-z 0-9 _ -, by chance: with it the same key is told again for a while."""
    dt: str | None = None
    """Device type."""


class KeyGiven(Struct, frozen=True):
    """A device's own key: topic `key`; it connects again by that."""

    key: str
    agent: str


class Cfg(Struct, frozen=True, omit_defaults=True):
    """The answer to `hello`: topic `cfg`."""

    ok: int
    """1 = the device may send observations."""
    n: int | None = None
    """Values of an observation; absent, as `a` and `t`, while the device has no agent."""
    a: int | None = None
    """Choices of a Discrete action space, else values of an action."""
    t: int | None = None
    """After so many milliseconds without an observation a device counts as silent, where its agent
    has `silent_s`; where it has none, 60,000, and nothing comes of it."""
    g: int | None = None
    """The last step seen in this boot."""
    ts: int = 0
    """Seconds since 1970 UTC."""


class Reward(Struct, frozen=True):
    """What a person thinks of a device: topic `reward`."""

    r: float
    """Adds to the reward of the device's next observation."""


class State(Struct, frozen=True):
    """How a device fares: topic `state`, retained."""

    ep: int
    """Episodes begun so far: the number of the newest."""
    steps: int
    """Actions taken so far, in all episodes."""
    ret: float
    """Return of the last whole episode; 0 before the first has ended."""
    act: int | list[Any] | None
    """The last action."""
    learn: Literal["ON", "OFF"]
    """Whether its agent learns; `cmd/learn` switches it for all of the agent's devices."""
    over: int | UnsetType = UNSET
    """Until when a person's override acts in place of the agent, seconds since 1970 UTC; absent =
    the agent acts."""


class AlertTold(Struct, frozen=True, omit_defaults=True):
    """An alert: its topic, retained while it is open; and what a webhook is sent."""

    state: Literal["raised", "cleared"]
    rule: str
    """Which of the hub's rules noticed it (docs/watching.md)."""
    says: str
    """What is so, a sentence."""
    hub: str
    """Id of the hub's log."""
    ts: int
    """When it was raised or cleared, seconds since 1970 UTC."""
    agent: str = ""
    """Absent = it is about the hub itself."""
    device: str = ""
    """Absent = it is about all of the agent."""
    do: str = ""
    """What to do; absent when it is cleared."""
    since: int = 0
    """When its cause was first seen, seconds since 1970 UTC; absent when it is cleared."""
    figures: dict[str, float] = {}
    """What it was founded on; a name ends in its unit."""
    seq: int = 0
    """Of its event in the log; absent where the log could not take it yet."""
