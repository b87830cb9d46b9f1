"""What pages ask of the log, each bounded; the analyst's process answers, not the hub's loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from hub.errors import LogUnavailable, OperatorFault
from hub.learner.algorithms.libraries import ALGORITHMS
from hub.spaces import Box
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from bridge.console.access import Sight
    from bridge.console.desk import Desk
    from hub.registry.fold import Spec

EPISODES_SHOWN: Final = 12
ACTIONS_SHOWN: Final = 10

RECENT_RETURNS: Final = """
SELECT agent, avg("return") AS mean FROM (
    SELECT agent, "return" FROM episodes
    QUALIFY row_number() OVER (PARTITION BY agent ORDER BY ended DESC) <= 20
) GROUP BY agent
"""
EPISODES: Final = """
SELECT device, episode, started, ended, steps, "return", ended_by FROM episodes
WHERE agent = '{agent}' ORDER BY ended DESC LIMIT {limit}
"""
ACTIONS: Final = """
SELECT seq, ts, device, step, action, policy, source, reason, {likelihood} AS likelihood,
    value, latency_us
FROM events WHERE agent = '{agent}' AND kind = 'action' ORDER BY seq DESC LIMIT {limit}
"""
GAINED: Final = """avg(effect) AS gain,
    1.645 * stddev_samp(effect) / sqrt(count(effect)) AS gain_within"""
"""Of several episodes; the interval is that of the view `gains`."""
ADVICE: Final = """
SELECT device, adviser, count(*) AS episodes, {gained}
FROM advice WHERE agent = '{agent}'
GROUP BY device, adviser ORDER BY device, gain DESC LIMIT 200
"""
ADVISED: Final = """
SELECT count(effect) AS episodes, {gained}
FROM advice WHERE agent = '{agent}' AND adviser IS NOT NULL
"""
"""What advice gained the agent's devices together."""
JOINED: Final = """
WITH said AS (
    SELECT seq, payload -> 'agent' ->> 'sharing' AS sharing FROM events
    WHERE kind = 'admin' AND agent = '{agent}' AND starts_with(payload, '{{"type":"agent_made"')
),
changed AS (
    SELECT min(seq) AS seq FROM said
    WHERE seq > (SELECT coalesce(max(seq), 0) FROM said WHERE sharing <> '{sharing}')
)
SELECT version, created, devices FROM policies
WHERE agent = '{agent}' AND len(devices) > 0 AND seq > {since}
    AND position >= (SELECT seq FROM changed)
ORDER BY version DESC LIMIT 50
"""
"""Versions by which the policy told more devices apart than before, as they share now."""
GUARDED: Final = """
SELECT device, decision, version, own, shared, flock, episodes, relation, peers, ts FROM guard
WHERE agent = '{agent}' AND seq > {since}
QUALIFY row_number() OVER (
    PARTITION BY device, decision IN ('muted', 'unmuted') ORDER BY seq DESC
) = 1
ORDER BY decision NOT IN ('muted', 'control', 'own'), ts DESC LIMIT 100
"""
"""Of each device what was decided last about its network, and about its rewards."""
NOTICES: Final = """
SELECT ts, agent, device, reason FROM events
WHERE kind = 'admin' AND starts_with(payload, '{{"type":"alert"') AND agent = '{agent}'
ORDER BY seq DESC LIMIT 3
"""
"""What the hub did about the agent by itself; that this is so still is an alert."""
ALERTS: Final = """
SELECT ts, agent, device, payload ->> 'type' AS what, reason FROM events
WHERE kind = 'admin' AND starts_with(payload, '{{"type":"alert')
ORDER BY seq DESC LIMIT {limit}
"""
"""Raised, cleared, and noticed in passing."""


async def recent_returns(desk: Desk, sight: Sight) -> dict[str, float]:
    """The mean return of each agent's last episodes; empty when the log can't be asked now."""
    rows = await _or_none(desk, sight, RECENT_RETURNS)
    return {row["agent"]: row["mean"] for row in rows or [] if row["mean"] is not None}


async def about_agent(desk: Desk, sight: Sight, spec: Spec) -> dict[str, Any]:
    """The tables of an agent's page; None for one that can't be had now.

    `density`: how likely its actions were is the logarithm of a density, which has no bound.
    """
    name = spec.agent.name  # of the registry: it can stand in a query
    density = isinstance(spec.actions, Box)
    likelihood = "logprob" if density else "exp(logprob)"
    asked = {
        "episodes": EPISODES.format(agent=name, limit=EPISODES_SHOWN),
        "actions": ACTIONS.format(agent=name, limit=ACTIONS_SHOWN, likelihood=likelihood),
        "notices": NOTICES.format(agent=name),
    }
    sharing, since = spec.agent.sharing, desk.hub.registry.begun[name].seq
    if sharing == "shared" and spec.agent.algorithm != EXTERNAL:
        asked["guard"] = GUARDED.format(agent=name, since=since)
    if sharing == "advice":
        asked["advice"] = ADVICE.format(agent=name, gained=GAINED)
        asked["advised"] = ADVISED.format(agent=name, gained=GAINED)
    elif spec.agent.algorithm in ALGORITHMS:
        asked["joined"] = JOINED.format(agent=name, sharing=sharing, since=since)
    found = await asyncio.gather(*(_or_none(desk, sight, sql) for sql in asked.values()))
    return dict(zip(asked, found, strict=True)) | {"density": density}


async def alerts(desk: Desk, sight: Sight, limit: int) -> list[dict[str, Any]] | None:
    """What the hub warned of and took back, newest first; None when it can't be had now."""
    return await _or_none(desk, sight, ALERTS.format(limit=limit))


async def _or_none(desk: Desk, sight: Sight, sql: str) -> list[dict[str, Any]] | None:
    try:
        return await desk.rows(sight, sql)
    except (LogUnavailable, OperatorFault):
        return None
