"""Whom a shared policy fails, and whose rewards are no guide to it: a fold of transitions.

    guard = Guard(GuardRule(episodes=20, forks=4), choices=2)
    guard.fold(transition)
    guard.stages                      # devices that are to have a network of their own
    guard.is_muted("boiler-4", seq)   # its transitions must not train the shared policy
    guard.decided()                   # with the evidence, since it was asked last

A device that trails its peers' median gets a control: a network of its own, which acts in every
other episode. Where that earns more, the device keeps it, and every fifth episode shows whether the
shared policy has caught up. A control that does not win in time is dropped.

Rule 1: only whole episodes of one network are compared, on the device itself.
Rule 2: a device's episodes count towards trailing one by one (Page 1954, continuous inspection):
    one below the peers' median adds 1, any other takes 2 away. Of devices that are alike, one comes
    to 20 about once in 15,000 times that it falls behind.
Rule 3: what is known of a device is of bounded size, and so is the number of networks.
"""

from __future__ import annotations

from statistics import fmean, median, variance
from typing import TYPE_CHECKING, Final, Literal

import msgspec
from msgspec import Struct, field

from hub.facts import Guarded
from hub.learner.guard.rewards import Relation, Rewards

if TYPE_CHECKING:
    from hub.facts import GuardDecision
    from hub.learner.algorithms.row import GuardRule
    from hub.learner.experience.transitions import Transition

Stage = Literal["control", "own"]
"""A device's network is tried beside the shared policy, or was better."""
SHARED_EVERY: Final[dict[Stage, int]] = {"control": 2, "own": 5}
"""Of so many episodes the device acts in one by the shared policy."""
RISES: Final = -2
"""What an episode that is not below the median adds to how far a device trails."""
TRIAL_WINDOWS: Final = 4
"""A control that has not won after so many times `episodes` of its own is dropped."""
DEVIATIONS: Final = 1.64
"""Of the difference of means, by which a control must be better: by chance one in twenty is."""
PATIENCE_MAX: Final = 8
"""A device whose controls were dropped waits twice as long each time, at most so many times."""
JUDGE_EVERY: Final = 50
"""Transitions of a device between two looks at its rewards."""
JUDGED_MIN: Final = 3
"""Looks in a row that must say the same."""
UNRELATED: Final = 0.2
"""A relation below it is none, or the wrong way round."""
RELATED: Final = 0.5
"""One above it speaks for a muted device."""


class _Device(Struct, array_like=True):
    """What is known of a device."""

    seq: int = 0
    """Of the observation that the episode has come to."""
    total: float = 0.0
    by_own: int = 0
    by_shared: int = 0
    """Actions in the episode, by either network."""
    returns: list[float] = field(default_factory=list)
    """Of the last episodes, whoever acted."""
    trails: int = 0
    patience: int = 1
    """Times `episodes` that it may trail."""
    stage: Stage | None = None
    own: list[float] = field(default_factory=list)
    shared: list[float] = field(default_factory=list)
    """Returns of its last episodes by either network since it has both."""
    tried: int = 0
    """Episodes by its own network since it is tried."""
    judged: int = 0
    """Looks in a row that spoke against it, or for it while it is muted."""
    muted: list[tuple[int, int]] = field(default_factory=list)
    """From which transition's seq on, and before which one it ended; 0 = it is still."""


class _State(Struct, array_like=True):
    devices: dict[str, _Device]
    rewards: bytes


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_State).decode


class Guard:
    """Of one agent's devices.

    Args:
        rule: how many episodes, and how many networks of their own.
        choices: of a discrete action; 0 = actions are numbers.
    """

    def __init__(self, rule: GuardRule, choices: int) -> None:
        self._rule = rule
        self._of: dict[str, _Device] = {}
        self._rewards = Rewards(choices)
        self._decided: list[tuple[str, Guarded]] = []

    @property
    def stages(self) -> dict[str, Stage]:
        """Of the devices that are to have a network of their own."""
        return {device: it.stage for device, it in self._of.items() if it.stage is not None}

    @property
    def has_decided(self) -> bool:
        """Something was decided since it was asked last."""
        return bool(self._decided)

    def decided(self) -> list[tuple[str, Guarded]]:
        """Devices, and what was decided for them since it was asked last."""
        decided, self._decided = self._decided, []
        return decided

    def is_muted(self, device: str, seq: int) -> bool:
        """Whether the transition that ended with this event must not train the shared policy."""
        it = self._of.get(device)
        return it is not None and any(
            first <= seq and (seq < ended or not ended) for first, ended in it.muted
        )

    @property
    def has_muted(self) -> bool:
        """Somebody, as far as it is asked for still (`forget_before`)."""
        return any(it.muted for it in self._of.values())

    def fold(self, transition: Transition) -> None:
        """Take a transition in, and decide what there is to decide."""
        device = transition.device
        it = self._of.setdefault(device, _Device())
        if it.seq != transition.seq_first:
            it.total, it.by_own, it.by_shared = 0.0, 0, 0
        it.seq = transition.seq_last
        it.total += transition.reward
        if transition.own:
            it.by_own += 1
        else:
            it.by_shared += 1
        count = self._rewards.fold(transition)
        if count and count % JUDGE_EVERY == 0:
            self._judge(device, it)
        if transition.terminated or transition.truncated:
            self._end_episode(device, it)

    def start_again(self, device: str) -> None:
        """Its network begins anew: nothing is known of it."""
        it = self._of[device]
        it.stage, it.tried, it.own, it.shared = "control", 0, [], []

    def forget_before(self, seq: int) -> None:
        """Nobody will ask any more whether transitions before this were muted."""
        for it in self._of.values():
            it.muted = [(first, ended) for first, ended in it.muted if not ended or ended > seq]

    def snapshot(self) -> bytes:
        """All that it goes on from."""
        return _encode(_State(self._of, self._rewards.snapshot()))

    def restore(self, snapshot: bytes) -> None:
        """Go on as the one that made the snapshot would.

        Raises:
            msgspec.DecodeError: the bytes are no snapshot.
        """
        state = _decode(snapshot)
        self._of = state.devices
        self._rewards.restore(state.rewards)

    def go_on(self, before: Guard) -> None:
        """Be as the one before, with what it has still to say."""
        self.restore(before.snapshot())
        self._decided = before.decided()

    # --- trailing, and the comparison -----------------------------------------------------------

    def _end_episode(self, device: str, it: _Device) -> None:
        returned = it.total
        flock = self._median_without(device)
        self._keep(it.returns, returned)
        if it.stage is None:
            self._follow(device, it, returned, flock)
            return
        if it.by_own and it.by_shared:
            return  # Rule 1
        self._keep(it.own if it.by_own else it.shared, returned)
        it.tried += it.by_own > 0
        if it.stage == "control":
            self._try(device, it)
        elif self._is_full(it) and fmean(it.own) <= fmean(it.shared):
            self._decide("rejoined", device, it)
            it.stage, it.trails, it.patience = None, 0, 1

    def _follow(self, device: str, it: _Device, returned: float, flock: float | None) -> None:
        """Count how far it trails; begin a control where that is too far."""
        if flock is None:
            return
        most = it.patience * self._rule.episodes
        it.trails = min(it.trails + 1, most) if returned < flock else max(it.trails + RISES, 0)
        if it.trails < most or len(self.stages) >= self._rule.forks:
            return
        it.trails = 0
        self.start_again(device)
        self._decide("control", device, it, flock=flock)

    def _try(self, device: str, it: _Device) -> None:
        """Compare a control with the shared policy."""
        if self._is_full(it) and _is_better(it.own, it.shared):
            self._decide("own", device, it)
            it.stage = "own"
        elif it.tried >= TRIAL_WINDOWS * self._rule.episodes:
            self._decide("dropped", device, it)
            it.stage, it.patience = None, min(2 * it.patience, PATIENCE_MAX)

    def _is_full(self, it: _Device) -> bool:
        return min(len(it.own), len(it.shared)) >= self._rule.episodes

    def _keep(self, returns: list[float], returned: float) -> None:
        returns.append(returned)
        del returns[: -self._rule.episodes]

    def _median_without(self, device: str) -> float | None:
        """The median of its peers' median returns; None while none has had enough episodes."""
        enough = self._rule.episodes // 2
        medians = [
            median(it.returns)
            for peer, it in self._of.items()
            if peer != device and len(it.returns) >= enough and not _is_muted_now(it)
        ]
        return median(medians) if medians else None

    # --- false rewards --------------------------------------------------------------------------

    def _judge(self, device: str, it: _Device) -> None:
        """Hold its rewards against its peers', and mute it or let it be heard again."""
        muted = [peer for peer, its in self._of.items() if _is_muted_now(its)]
        found = self._rewards.judge(device, muted)
        is_muted = _is_muted_now(it)
        speaks = found is not None and (found.own > RELATED if is_muted else found.own < UNRELATED)
        it.judged = it.judged + 1 if speaks else 0
        if it.judged < JUDGED_MIN:
            return
        it.judged = 0
        if is_muted:
            it.muted[-1] = it.muted[-1][0], it.seq
            self._decide("unmuted", device, it, found=found)
        else:
            it.muted.append((it.seq, 0))
            self._decide("muted", device, it, found=found)

    def _decide(
        self,
        decision: GuardDecision,
        device: str,
        it: _Device,
        *,
        flock: float | None = None,
        found: Relation | None = None,
    ) -> None:
        told = Guarded(
            decision,
            own=fmean(it.own) if it.own else None,
            shared=_shared(decision, it),
            flock=flock,
            episodes=len(it.returns if decision == "control" else it.own),
            relation=None if found is None else found.own,
            peers=None if found is None else found.peers,
            seq=it.seq,
        )
        self._decided.append((device, told))


def _shared(decision: GuardDecision, it: _Device) -> float | None:
    """Mean return of its episodes by the shared policy, as far as the decision goes back."""
    returns = it.returns if decision == "control" else it.shared
    return fmean(returns) if returns else None


def _is_muted_now(it: _Device) -> bool:
    return bool(it.muted) and not it.muted[-1][1]


def _is_better(own: list[float], shared: list[float]) -> bool:
    """By more than chance would make it (Welch 1947)."""
    error: float = (variance(own) / len(own) + variance(shared) / len(shared)) ** 0.5
    return bool(fmean(own) - fmean(shared) > DEVIATIONS * error)
