"""Events in, transitions out: exactly those that happened, and no other.

Rule 1: a Transition joins two observations of one device and boot whose steps follow each other.
Rule 2: nothing joins across `first`, the end of an episode, or a reward that is missing.
Rule 3: the logged action is the truth; of two for one step, the first was the one sent.
Rule 4: nothing follows a step that its boot had reached before: a late copy of a message, which the
        hub took for a boot anew, has an action beside it that the device never heard of.

    follow = Follow(missing_reward=None)
    for event in feed:
        transition = follow.fold(event)

Pure: what it knows after an event depends on the events before it and on nothing else, so a
trainer's snapshot keeps it (`snapshot`, `restore`) beside the seq it belongs to.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct, field

from hub.learner.messages import Advice, drawn_of
from hub.words import Event, Floats, Kind, Source


class Transition(Struct, frozen=True, gc=False):
    """Observation, action, reward and the next observation that really followed."""

    device: str
    observation: Floats
    """float32 (n,), as logged."""
    action: Floats | None
    """float32 (m,), as sent; None when no action was logged before the next observation."""
    executed: Floats | None
    """float32 (m,), what the device says it did instead; None = what was sent."""
    reward: float
    next_observation: Floats
    terminated: bool
    truncated: bool
    source: Source | None
    policy: int | None
    """Version that acted; None when none did."""
    logprob: float | None
    value: float | None
    raw: Floats | None
    """The sample before the bounds cut it; None = `action`."""
    seq_first: int
    """Of the observation's event; where it is the `seq_last` of another, the two are one run."""
    seq_last: int
    """Of the next observation's event."""
    mask: bytes | None = None
    """What the action was drawn from: a byte a choice, 1 = allowed; None = from all."""
    memory: int | None = None
    """Observations that the state of a recurrent policy had seen before; None = not known."""
    advice: Advice | None = None
    """What a peer would have done, which the action was drawn from too; None = nobody was asked."""
    own: bool = False
    """The device's own network acted, where it has one beside the policy that all share."""


FOLLOWED: Final = "resume/followed"
"""Name of a `Follow.snapshot` among the tensors of a version."""
BOOTS_KEPT: Final = 16
"""Of each device: how far its boots before had come."""


class _Seen(Struct, array_like=True):
    """A device's newest observation and the action that answered it."""

    boot: int
    step: int
    observation: Floats
    over: bool
    """Terminated or truncated: nothing follows."""
    seq: int
    action: Floats | None = None
    source: Source | None = None
    policy: int | None = None
    logprob: float | None = None
    value: float | None = None
    raw: Floats | None = None
    mask: bytes | None = None
    memory: int | None = None
    again: bool = False
    """Its boot had come this far before."""
    reached: dict[int, int] = field(default_factory=dict)
    """The last step of each of the boots before that are kept, the one left last at the end."""
    advice: Advice | None = None
    own: bool = False


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, _Seen]).decode


class Follow:
    """Follows each device from observation to observation."""

    def __init__(self, *, missing_reward: float | None = None) -> None:
        self.missing_reward = missing_reward
        self._devices: dict[str, _Seen] = {}

    def fold(self, event: Event) -> Transition | None:
        """The transition that this event completes; most complete none."""
        if event.kind is Kind.OBSERVATION:
            return self._observe(event)
        if event.kind is Kind.ACTION:
            self._act(event)
        return None

    def snapshot(self) -> bytes:
        """All that later transitions depend on."""
        return _encode(self._devices)

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        self._devices = _decode(snapshot)

    def _observe(self, event: Event) -> Transition | None:
        assert event.obs is not None, f"event {event.seq} is an observation without values"
        assert event.step is not None, f"event {event.seq} is an observation without a step"
        before = self._devices.get(event.device)
        reached = {} if before is None else _reached(before, event.boot)
        self._devices[event.device] = _Seen(
            boot=event.boot,
            step=event.step,
            observation=event.obs,
            over=bool(event.terminated or event.truncated),
            seq=event.seq,
            again=event.step <= reached.get(event.boot, -1),
            reached=reached,
        )
        reward = event.reward if event.reward is not None else self.missing_reward
        if before is None or reward is None or not _follows(before, event):
            return None
        return _join(before, event, event.obs, reward)

    def _act(self, event: Event) -> None:
        seen = self._devices.get(event.device)
        if seen is None or (seen.boot, seen.step) != (event.boot, event.step):
            return  # too late to have been the action of any transition
        if seen.source is not None:
            return  # Rule 3: the late answer of an actor, logged after the fallback was sent
        seen.action = event.action
        seen.source = event.source
        seen.policy = event.policy
        seen.logprob = event.logprob
        seen.value = event.value
        seen.raw, seen.mask, seen.memory, seen.advice, seen.own = drawn_of(event.payload)


def _reached(before: _Seen, boot: int) -> dict[int, int]:
    """How far each boot had come when the next observation, of this one, came."""
    if boot == before.boot:
        return before.reached
    reached = dict(before.reached)
    furthest = max(before.step, reached.pop(before.boot, -1))
    reached[before.boot] = furthest
    if len(reached) > BOOTS_KEPT:
        del reached[next(iter(reached))]
    return reached


def _follows(before: _Seen, event: Event) -> bool:
    return (
        not event.first
        and not before.over
        and not before.again
        and event.boot == before.boot
        and event.step == before.step + 1
    )


def _join(before: _Seen, event: Event, values: Floats, reward: float) -> Transition:
    return Transition(
        device=event.device,
        observation=before.observation,
        action=before.action,
        executed=event.executed,
        reward=reward,
        next_observation=values,
        terminated=bool(event.terminated),
        truncated=bool(event.truncated),
        source=before.source,
        policy=before.policy,
        logprob=before.logprob,
        value=before.value,
        raw=before.raw,
        seq_first=before.seq,
        seq_last=event.seq,
        mask=before.mask,
        memory=before.memory,
        advice=before.advice,
        own=before.own,
    )
