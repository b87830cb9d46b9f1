"""What a hub has counted, as one picture: `/metrics` and `sheepfold top` are made of it.

Nothing is done for a step; a picture of a hundred agents and ten thousand devices takes about a
millisecond of the loop. Whoever wants a rate takes two, and the time between them.
"""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.histogram import Seen
from hub.words import DeviceId

if TYPE_CHECKING:
    from hub.processes import Hub
    from hub.registry.fold import Spec

VERSION: Final = version("sheepfold")
"""Read from the package's files once: a picture is taken on the loop."""
END: Final = "end"
"""In `sent` beside the names of sources: an episode's end, which has no action."""
MICROSECONDS: Final = 1_000_000
DEVICES_MAX: Final = 200
"""Shown in a terminal: more fit no screen."""


class AgentFigures(Struct, frozen=True):
    """One agent; what is counted is counted since the hub started."""

    name: str
    algorithm: str
    sharing: str
    """How its devices learn from each other: `shared advice none`."""
    status: str
    awake: bool
    """Its actor and trainer run."""
    devices: int
    sent: dict[str, int]
    """Answers by who chose: `policy advice fallback clamp override`, or `end`."""
    refused: dict[str, int]
    """Messages by code."""
    unread: int
    """Messages outside the hub's topics that no mapping reads."""
    chosen_us: Seen
    answered_us: Seen
    policy: int | None
    """Version that acts; None before the first."""
    waiting: int | None
    """Observations that its trainer has read and not learnt from; None while it sleeps."""


class DeviceFigures(Struct, frozen=True):
    """One device; what is counted is counted since the hub started."""

    id: str
    agent: str
    online: bool
    """It has an MQTT connection."""
    taken: int
    refused: int
    heard_s: float | None
    """Seconds since anything was taken from it; None: nothing was since the hub's start."""
    last_return: float | None
    """Of its last whole episode; None before any."""


class AlertFigures(Struct, frozen=True):
    """An alert that is open."""

    rule: str
    agent: str
    """Empty = it is the hub's own."""
    device: str
    says: str
    do: str
    open_s: float
    """Since it was raised."""


class FederationFigures(Struct, frozen=True):
    """How it goes with other hubs; what is counted is counted since the hub started."""

    connected: bool
    """The broker where hubs meet has let this one in."""
    still: bool
    """The process that speaks to them does not answer the hub."""
    hubs: int
    """Others that are heard, counted for each agent."""
    fetched: int
    """Networks taken in whole."""
    given: int
    """Parts of networks, to others."""
    refused: dict[str, int]
    """What was left alone, by reason: docs/hubs.md."""
    questions: dict[str, int]
    """To advisers elsewhere, by what became of them: `heard late unasked`."""
    asked: int
    """Those that were sent."""
    open: int
    """Those that wait for an answer."""
    answered: int
    """Questions of others."""


class Figures(Struct, frozen=True):
    """A hub at one moment."""

    version: str
    at_s: float
    """Seconds on the hub's monotonic clock."""
    not_ready: str | None
    """Why a step sent now would not be answered; None when it would."""
    seq: int
    """Of the last event that is durable."""
    waiting: int
    """Steps begun and not yet answered."""
    fill: float
    """Share of what may wait for a commit that does; above 1 reading from devices pauses."""
    stalled: bool
    """The log can't commit: its disk is full, say."""
    commit_us: Seen
    """What commits took."""
    commit_rows: Seen
    """Events of one commit."""
    sockets: int
    """Of MQTT, those too that have not shown a key."""
    connections: int
    """Devices with a socket of their own."""
    devices: int
    """That have an agent."""
    sessions: int
    """Opened over the life of the log."""
    logins_refused: int
    over_quota: int
    clamped: int
    raised: dict[str, int]
    """Alerts by rule, since the hub started."""
    alerts: list[AlertFigures]
    """Those that are open, the oldest first."""
    webhook: dict[str, int]
    """Alerts that were `sent`, `failed` and `dropped`; empty where nobody is to be told."""
    federation: FederationFigures | None
    """None where the hub keeps to itself."""
    processes: dict[str, int]
    """Process ids, by name: `trainer-heating`."""
    agents: list[AgentFigures]


class Watched(Struct, frozen=True):
    """What `sheepfold top` asks for."""

    hub: Figures
    devices: list[DeviceFigures]


def watched(hub: Hub) -> Watched:
    """All that a person watches."""
    return Watched(figures(hub), devices_heard(hub, DEVICES_MAX))


def figures(hub: Hub) -> Figures:
    """The picture now."""
    devices = Counter(hub.registry.devices.values())
    waiting = hub.pool.waiting
    return Figures(
        version=VERSION,
        at_s=hub.clock.monotonic(),
        not_ready=hub.not_ready(),
        seq=hub.log.last_seq,
        waiting=hub.deliver.waiting,
        fill=hub.log.fill,
        stalled=hub.log.stalled is not None,
        commit_us=hub.log.commits_us.seen(),
        commit_rows=hub.log.commits_rows.seen(),
        sockets=hub.gate.sockets,
        connections=len(hub.gate.connections),
        devices=len(hub.registry.devices),
        sessions=hub.sessions.last_id,
        logins_refused=hub.gate.logins_refused,
        over_quota=hub.quotas.refused,
        clamped=hub.guard.clamped,
        raised=dict(hub.alerts.raised),
        alerts=alerts_open(hub),
        webhook={} if hub.alerts.webhook is None else dict(hub.alerts.webhook.counts),
        federation=_federation(hub),
        processes={name: pid for name, pid in hub.processes.items() if pid is not None},
        agents=[
            _agent(hub, spec, devices[name], waiting.get(name))
            for name, spec in sorted(hub.registry.agents.items())
        ],
    )


def alerts_open(hub: Hub) -> list[AlertFigures]:
    """The alerts that are open, the oldest first."""
    now_us = hub.clock.now_us()
    return [
        AlertFigures(
            rule=subject.rule,
            agent=subject.agent,
            device=subject.device,
            says=alert.fact.says,
            do=alert.fact.do,
            open_s=max(0, now_us - alert.raised_us) / MICROSECONDS,
        )
        for subject, alert in hub.alerts.standing.open.items()
    ]


def devices_heard(hub: Hub, most: int) -> list[DeviceFigures]:
    """The devices heard since the hub started, those heard last first; so many at most."""
    heard = (device for device in hub.sessions.devices.values() if device.taken or device.refused)
    now = hub.clock.monotonic()
    return [
        DeviceFigures(
            id=device.id,
            agent=hub.registry.devices.get(DeviceId(device.id), ""),
            online=device.id in hub.gate.connections,
            taken=device.taken,
            refused=device.refused,
            heard_s=now - device.heard_s if device.taken else None,
            last_return=device.last_return if device.episodes else None,
        )
        for device in nlargest(most, heard, key=lambda device: device.heard_s)
    ]


def role_of(process: str) -> str:
    """What a process is, of the name that `Figures.processes` has it by: `trainer-heating`."""
    return process.partition("-")[0]


def _federation(hub: Hub) -> FederationFigures | None:
    link = hub.federation
    counted = link.counted
    if counted is None:
        return None
    return FederationFigures(
        connected=counted.connected,
        still=link.still,
        hubs=counted.hubs,
        fetched=counted.fetched,
        given=counted.parts,
        refused=counted.refused,
        questions={"heard": counted.heard, "late": counted.late, "unasked": link.unasked},
        asked=counted.asked,
        open=link.open_questions,
        answered=counted.answered,
    )


def _agent(hub: Hub, spec: Spec, devices: int, waiting: int | None) -> AgentFigures:
    name = spec.agent.name
    counts, policy = hub.deliver.counts.get(name), hub.registry.policies.get(name)
    sent = {} if counts is None else counts.sent.items()
    return AgentFigures(
        name=name,
        algorithm=spec.agent.algorithm,
        sharing=spec.agent.sharing,
        status=spec.agent.status,
        awake=waiting is not None,
        devices=devices,
        sent={END if source is None else source.name.lower(): n for source, n in sent},
        refused={str(code): n for code, n in hub.receiver.refusals_of(name).items()},
        unread=hub.receiver.mappings.unread.counts[name],
        chosen_us=Seen() if counts is None else counts.chosen_us.seen(),
        answered_us=Seen() if counts is None else counts.answered_us.seen(),
        policy=None if policy is None else policy.version,
        waiting=waiting,
    )
