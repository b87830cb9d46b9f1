"""Two pictures of a hub and the time between them, as what a person wants to know: rates, p99."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.figures import AlertFigures
from hub.histogram import merged

if TYPE_CHECKING:
    from hub.figures import AgentFigures, DeviceFigures, Watched
    from hub.histogram import Seen

MICROSECONDS_PER_MS: Final = 1000


class Took(Struct, frozen=True):
    """Milliseconds; None when nothing came meanwhile."""

    p50_ms: float | None
    p99_ms: float | None


class AgentStanding(Struct, frozen=True):
    """One agent between two looks."""

    agent: str
    algorithm: str
    sharing: str
    status: str
    awake: bool
    devices: int
    steps_per_s: float
    fallbacks_per_s: float
    clamps_per_s: float
    refused_per_s: float
    chosen: Took
    answered: Took
    policy: int | None
    waiting: int | None
    """Observations that its trainer has yet to learn from; None while it sleeps."""


class DeviceStanding(Struct, frozen=True):
    """One device between two looks."""

    device: str
    agent: str
    online: bool
    steps_per_s: float
    refused_per_s: float
    heard_s: float | None
    last_return: float | None


class Standing(Struct, frozen=True):
    """The hub between two looks."""

    version: str
    not_ready: str | None
    seq: int
    steps_per_s: float
    events_per_s: float
    answered: Took
    commit: Took
    fill: float
    waiting: int
    sockets: int
    alerts: list[AlertFigures]
    """Those that are open, the oldest first."""
    agents: list[AgentStanding]
    devices: list[DeviceStanding]


def between(before: Watched, now: Watched) -> Standing:
    """What came between two pictures of the same hub; since its start, where it was restarted."""
    seconds = now.hub.at_s - before.hub.at_s
    if seconds <= 0 or now.hub.seq < before.hub.seq:
        before, seconds = now, 1.0
    agents = {agent.name: agent for agent in before.hub.agents}
    devices = {device.id: device for device in before.devices}
    standing = [_agent(agents.get(agent.name, agent), agent, seconds) for agent in now.hub.agents]
    answered = [a.answered_us.since(agents.get(a.name, a).answered_us) for a in now.hub.agents]
    return Standing(
        version=now.hub.version,
        not_ready=now.hub.not_ready,
        seq=now.hub.seq,
        steps_per_s=sum(agent.steps_per_s for agent in standing),
        events_per_s=(now.hub.seq - before.hub.seq) / seconds,
        answered=_took(merged(answered)),
        commit=_took(now.hub.commit_us.since(before.hub.commit_us)),
        fill=now.hub.fill,
        waiting=now.hub.waiting,
        sockets=now.hub.sockets,
        alerts=now.hub.alerts,
        agents=standing,
        devices=[_device(devices.get(d.id, d), d, seconds) for d in now.devices],
    )


def _agent(before: AgentFigures, now: AgentFigures, seconds: float) -> AgentStanding:
    def per_s(*sources: str) -> float:
        return sum(now.sent.get(s, 0) - before.sent.get(s, 0) for s in sources) / seconds

    refused = sum(now.refused.values()) - sum(before.refused.values())
    return AgentStanding(
        agent=now.name,
        algorithm=now.algorithm,
        sharing=now.sharing,
        status=now.status,
        awake=now.awake,
        devices=now.devices,
        steps_per_s=per_s(*now.sent),
        fallbacks_per_s=per_s("fallback"),
        clamps_per_s=per_s("clamp"),
        refused_per_s=refused / seconds,
        chosen=_took(now.chosen_us.since(before.chosen_us)),
        answered=_took(now.answered_us.since(before.answered_us)),
        policy=now.policy,
        waiting=now.waiting,
    )


def _device(before: DeviceFigures, now: DeviceFigures, seconds: float) -> DeviceStanding:
    return DeviceStanding(
        device=now.id,
        agent=now.agent,
        online=now.online,
        steps_per_s=(now.taken - before.taken) / seconds,
        refused_per_s=(now.refused - before.refused) / seconds,
        heard_s=now.heard_s,
        last_return=now.last_return,
    )


def _took(seen: Seen) -> Took:
    median, worst = seen.quantile(0.5), seen.quantile(0.99)
    if median is None or worst is None:
        return Took(None, None)
    return Took(median / MICROSECONDS_PER_MS, worst / MICROSECONDS_PER_MS)
