"""The networks that this hub gives out, as files in memory: what acts, and nothing that was seen.

    offers = shelf.stock(agent, newest, mean_of)
    shelf.part(agent.name, sha256, 3)             # None when it is not given out

Optimizer, replay memory, devices' states and their names in slots stay at home. A file is named by
its bytes, so a network that did not change is the same file in every version; a few older ones are
kept for hubs in the middle of fetching them.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from msgspec import structs

from hub.federation.payloads import ALL_DEVICES, OFFERS_MAX, PART_BYTES, Offer
from hub.learner.exchange.checkpoint import RESUME
from hub.learner.messages import policy_path
from hub.learner.versions.parts import alone
from hub.learner.versions.policy import as_file, read_policy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.learner.messages import LoggedPolicy
    from hub.learner.versions.parts import Part
    from hub.learner.versions.policy import Card, Tensors
    from hub.words import Agent, AgentName

FILES_MAX: Final = 4 * OFFERS_MAX
"""Of one agent: the newest, and what was the newest before."""
BYTES_TIMES: Final = 8
"""Of the largest file, what an agent's files may come to."""


class Shelf:
    """All agents' files.

    Args:
        data: the data folder.
        bytes_max: of one file; a larger one is not given out.
    """

    def __init__(self, data: Path, bytes_max: int) -> None:
        self._data = data
        self._bytes_max = bytes_max
        self._files: dict[AgentName, dict[str, bytes]] = {}
        """By SHA-256, the oldest first."""

    def stock(
        self, agent: Agent, newest: LoggedPolicy, mean_of: Callable[[str], float | None]
    ) -> list[Offer]:
        """Lay out the networks of a version; the best first.

        Args:
            agent: they are of.
            newest: the version that acts.
            mean_of: return of a device's last episodes; of `ALL_DEVICES`, over all.

        Raises:
            HubFault: the version's file can't be read.
        """
        policy = read_policy(policy_path(self._data, agent.name, newest.sha256), acting=True)
        offers = []
        for device in _given_out(policy.card):
            name = None if device == ALL_DEVICES else device
            data = as_file(*stripped(*alone(policy.card, policy.tensors, name)))
            if len(data) > self._bytes_max:
                continue
            sha256 = self._lay_out(agent.name, data)
            offers.append(Offer(device, newest.version, sha256, len(data), mean_of(device)))
        return offers

    def part(self, agent: AgentName, sha256: str, number: int) -> bytes | None:
        """`PART_BYTES` of a file, fewer at its end; None beyond it, or when it is not there."""
        data = self._files.get(agent, {}).get(sha256, b"")
        return data[number * PART_BYTES : (number + 1) * PART_BYTES] or None

    def clear(self, agent: AgentName) -> None:
        """Nothing of the agent is given out any more."""
        self._files.pop(agent, None)

    def _lay_out(self, agent: AgentName, data: bytes) -> str:
        files = self._files.setdefault(agent, {})
        sha256 = hashlib.sha256(data).hexdigest()
        files.pop(sha256, None)
        files[sha256] = data
        room = BYTES_TIMES * self._bytes_max
        while len(files) > FILES_MAX or sum(map(len, files.values())) > room:
            del files[next(iter(files))]
        return sha256


def stripped(card: Card, tensors: Tensors) -> Part:
    """What acts, of one network, and what it says of itself as if it were nobody's."""
    acting = {name: tensor for name, tensor in tensors.items() if not name.startswith(RESUME)}
    plain = structs.replace(
        card,
        version=0,
        parent=None,
        position=0,
        learning=True,
        missing_reward=None,
        counts={},
        sharing=None,
        devices=[],
        replicas=None,
        goes_on="",
        advisers=[],
        trust={},
    )
    return plain, acting


def _given_out(card: Card) -> list[str]:
    """Whose networks: the best advisers', else the one for all or the one that leads."""
    return card.advisers[:OFFERS_MAX] or [ALL_DEVICES]
