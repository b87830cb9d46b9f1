"""Transitions in, fragments out: the unbroken runs that an on-policy update may learn from.

A policy gradient needs to know with what probability each action was drawn. So a fragment is cut
before every action that was not drawn from version v or v-1 as logged, and bootstrapped there with
V(o), as at a time limit (Pardo et al. 2018). Devices run at their own pace; none is waited for.

    fragments = Fragments()
    fragments.add(transition, version=7)
    if fragments.count >= n_steps:
        update(fragments.take())
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hub.words import Source

if TYPE_CHECKING:
    from hub.learner.experience.transitions import Transition

Fragment = list["Transition"]
"""Not empty; each transition's next observation is the observation of the one after."""

STALE_VERSIONS: Final = 1
"""How many versions behind the newest an action may be: one, chosen while an update was running."""


class Fragments:
    """What has been gathered since the last update.

    Attributes:
        count: transitions gathered.
        dropped: transitions left out since the last `take`: of a policy that was too old, or while
            the trainer was behind.
    """

    def __init__(self) -> None:
        self.count = 0
        self.dropped = 0
        self._closed: list[Fragment] = []
        self._open: dict[str, Fragment] = {}

    def add(self, transition: Transition, *, version: int) -> None:
        """Take the transition in, or end the device's fragment before it.

        Args:
            transition: the next of its device.
            version: the newest of the policy.
        """
        if not _was_drawn(transition):
            self._close(transition.device)
            return
        if transition.policy is None or transition.policy < version - STALE_VERSIONS:
            self.dropped += 1
            self._close(transition.device)
            return
        fragment = self._open.get(transition.device)
        if fragment is not None and fragment[-1].seq_last != transition.seq_first:
            self._close(transition.device)
        self._open.setdefault(transition.device, []).append(transition)
        self.count += 1
        if transition.terminated or transition.truncated:
            self._close(transition.device)

    @property
    def gathered(self) -> list[Fragment]:
        """What `take` would give; the fragments stay."""
        return self._closed + list(self._open.values())

    @property
    def open_count(self) -> int:
        """How many of `gathered`, the last ones, may go on."""
        return len(self._open)

    def go_on(self, gathered: list[Fragment], open_count: int) -> None:
        """Be as after these. Those of a device that goes on are joined to its next by their seqs.

        Args:
            gathered: as it was.
            open_count: as it was.
        """
        closed = len(gathered) - open_count
        self._closed = gathered[:closed]
        self._open = {fragment[-1].device: fragment for fragment in gathered[closed:]}
        self.count = sum(map(len, gathered))
        self.dropped = 0

    def drop(self, device: str) -> None:
        """Leave the device's transition out, and end its fragment before it."""
        self.dropped += 1
        self._close(device)

    def take(self) -> list[Fragment]:
        """All fragments, those that ended first; a device in mid-run begins a new one."""
        taken = self.gathered
        self.count = self.dropped = 0
        self._closed, self._open = [], {}
        return taken

    def _close(self, device: str) -> None:
        fragment = self._open.pop(device, None)
        if fragment is not None:
            self._closed.append(fragment)


def _was_drawn(transition: Transition) -> bool:
    """Whether the policy drew this action, with a probability that was logged, and it was done."""
    return (
        transition.source in (Source.POLICY, Source.ADVICE)
        and transition.logprob is not None
        and transition.value is not None
        and transition.executed in (None, transition.action)
    )
