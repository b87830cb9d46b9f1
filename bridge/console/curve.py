"""The learning curve of an agent: each finished episode a point, and when its policies were made.

The log has all of them, the newest are drawn. What ends while the page is open comes by its stream,
from what the hub remembers of each device; the page knows a point by its device and number.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from bridge.console.desk import Desk
    from hub.registry.fold import Spec
    from hub.words import AgentName, DeviceId

VERSIONS_MAX: Final = 400
EPISODES: Final = """
SELECT device, episode, epoch_us(ended) AS ended_us, "return", steps FROM episodes
WHERE agent = '{agent}' AND epoch_us(ended) > {since} ORDER BY ended DESC LIMIT {limit}
"""
VERSIONS: Final = """
SELECT version, epoch_us(created) AS created_us FROM policies
WHERE agent = '{agent}' AND epoch_us(created) > {since} ORDER BY version DESC LIMIT {limit}
"""

Point = tuple[str, int, float, float, int]
"""Device, number of its episode, when it ended (seconds since 1970), return, steps."""


async def curve_of(desk: Desk, sight: Sight, spec: Spec) -> bytes:
    """JSON: `points` and `versions`, oldest first.

    Raises:
        LogUnavailable, OperatorFault: as `Desk.rows`.
    """
    name = spec.agent.name
    since = desk.hub.registry.cleared_us.get(name, 0)
    limit = desk.settings.episodes_max
    episodes, versions = await asyncio.gather(
        desk.rows(sight, EPISODES.format(agent=name, since=since, limit=limit)),
        desk.rows(sight, VERSIONS.format(agent=name, since=since, limit=VERSIONS_MAX)),
    )
    points: list[Point] = [
        (row["device"], row["episode"], row["ended_us"] / 1e6, row["return"], row["steps"])
        for row in reversed(episodes)
    ]
    made = [(row["version"], row["created_us"] / 1e6) for row in reversed(versions)]
    return msgspec.json.encode({"points": points, "versions": made})


class Follow:
    """What of an agent's curve one page has not been sent yet."""

    def __init__(self, desk: Desk, name: AgentName) -> None:
        self._desk = desk
        self._name = name
        self._sent: dict[DeviceId, int] = {}
        self._version: int | None = None

    def news(self) -> bytes | None:
        """JSON as of `curve_of`; None when there is nothing new."""
        registry = self._desk.hub.registry
        since_us = registry.cleared_us.get(self._name, 0)
        points: list[Point] = []
        for device, ended in self._desk.rates.ended(self._name, self._sent).items():
            sent = self._sent.get(device, 0)
            points += [
                (device, one.number, one.ended_us / 1e6, one.total_reward, one.steps)
                for one in ended
                if one.number > sent and one.ended_us > since_us
            ]
            self._sent[device] = ended[-1].number
        made = self._versions()
        if not points and not made:
            return None
        points.sort(key=lambda point: point[2])
        return msgspec.json.encode({"points": points, "versions": made})

    def _versions(self) -> list[tuple[int, float]]:
        registry = self._desk.hub.registry
        policy = registry.policies.get(self._name)
        if policy is None or policy.version == self._version:
            return []
        self._version = policy.version
        made_us = registry.made_us(self._name, policy.version)
        return [(policy.version, (made_us or 0) / 1e6)]
