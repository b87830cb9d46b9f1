"""`GET /metrics`: what the hub counts, for Prometheus or whoever speaks its format.

Series have at most these labels: agent, stage, source, code, process, rule, outcome, reason. Agents
beyond the setting `http.metrics_agents_max` are one, `agent="*"`, so that the number of series is
bounded; no series is of a device. The picture is taken on the hub's loop, and written in a thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import litestar
from litestar import Request, get
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder

from bridge.errors import not_found, unauthorized
from bridge.http import Response
from bridge.native import secret_of
from hub.errors import AccessDenied
from hub.figures import AgentFigures, FederationFigures, Figures, figures, role_of
from hub.histogram import Seen, merged
from hub.registry.access import operator_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from litestar.types import ControllerRouterHandler, Scope
    from prometheus_client.core import Metric

    from hub.processes import Hub

OTHERS: Final = "*"
"""No agent's name: all of those beyond the bound."""
STEP_POWERS: Final = range(8, 23)
"""Edges of buckets, in microseconds as powers of two: 0.26 ms to 4.2 s."""
COMMIT_POWERS: Final = range(8, 21)
ROW_POWERS: Final = range(13)
"""To 4096 events, the most of one commit (`batch_rows_max`)."""
MICROSECOND: Final = 1e-6
PROC: Final = Path("/proc")
PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
"""16 KiB on some Raspberry Pis."""
FORWARDED: Final = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
"""What a proxy says: who asks through it is not on loopback, though the proxy is."""


def metrics_route(hub: Hub) -> ControllerRouterHandler:
    """The route; nothing at all with `http.metrics = "off"`."""

    @get("/metrics", include_in_schema=False)
    async def metrics(request: Request[Any, Any, Any]) -> litestar.Response[bytes]:
        refused = refusal(hub, request.scope)
        if refused is not None:
            return litestar.Response(
                refused.body,
                status_code=refused.status,
                media_type=refused.content_type.decode(),
            )
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        picture, agents_max = figures(hub), hub.settings.http.metrics_agents_max
        body = await asyncio.to_thread(written, encode, picture, agents_max, hub.data)
        return litestar.Response(body, media_type=content_type)

    return metrics


def refusal(hub: Hub, scope: Scope) -> Response | None:
    """What is answered to whoever may not read them; None to whoever may.

    Agents' names and how busy they are is nobody else's business: an admin's key opens them, or a
    connection from this machine where the setting says so.
    """
    who = hub.settings.http.metrics
    headers = dict(scope["headers"])
    if who == "off":
        return not_found("metrics are off: setting http.metrics")
    if who == "loopback" and _is_near(scope, headers):
        return None
    try:
        user = operator_of(hub.registry, secret_of(headers))
    except AccessDenied as error:
        return unauthorized(f"metrics are for admins: {error}")
    return None if user.role == "admin" else unauthorized("metrics are for admins")


def _is_near(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    client = scope["client"]
    if client is None or any(name in headers for name in FORWARDED):
        return False
    try:
        return ipaddress.ip_address(client[0]).is_loopback
    except ValueError:
        return False


def written(
    encode: Callable[[CollectorRegistry], bytes], picture: Figures, agents_max: int, data: Path
) -> bytes:
    """The picture in a format, with what only the system knows: memory, processor time, disk."""
    registry = CollectorRegistry()
    registry.register(Picture(picture, agents_max, data))
    ProcessCollector(registry=registry)  # of the hub's own: processor time, open files, start
    return encode(registry)


class Picture:
    """One picture as metrics; a collector of prometheus_client, made for one answer."""

    def __init__(self, picture: Figures, agents_max: int, data: Path) -> None:
        self._now = picture
        self._data = data
        self._agents = picture.agents[:agents_max]
        self._others = picture.agents[agents_max:]

    def collect(self) -> Iterator[Metric]:
        """All there are; their names are what dashboards and alerts stand on."""
        yield from self._hub()
        yield from self._log()
        yield from self._steps()
        yield from self._learning()
        if self._now.federation is not None:
            yield from _federation(self._now.federation)
        yield self._memory()

    def _hub(self) -> Iterator[Metric]:
        now = self._now
        yield InfoMetricFamily("sheepfold", "The hub.", {"version": now.version})
        yield _gauge("ready", "1 while a step sent now would be answered.", now.not_ready is None)
        yield _gauge("steps_waiting", "Steps begun and not yet answered.", now.waiting)
        yield _gauge("mqtt_sockets", "Sockets of MQTT, with or without a key.", now.sockets)
        yield _gauge("mqtt_devices", "Devices with an MQTT connection.", now.connections)
        yield _count("sessions", "Connections and logins in the life of the log.", now.sessions)
        yield _count("logins_refused", "Refused logins over MQTT.", now.logins_refused)
        yield _count("over_quota", "Messages refused for their rate.", now.over_quota)
        yield _count("clamped", "Actions that a safety rule changed.", now.clamped)
        yield from self._alerts()

    def _alerts(self) -> Iterator[Metric]:
        yield _counts("alerts", "Raised, by rule.", "rule", self._now.raised)
        shown = {agent.name for agent in self._agents}
        standing = Counter(
            (alert.rule, alert.agent if not alert.agent or alert.agent in shown else OTHERS)
            for alert in self._now.alerts
        )
        opened = GaugeMetricFamily(
            "sheepfold_alerts_open",
            "Not over; without an agent it is the hub's own.",
            labels=("rule", "agent"),
        )
        for labels, count in sorted(standing.items()):
            opened.add_metric(labels, count)
        yield opened
        says = "Alerts for the webhook, by what became of them."
        yield _counts("webhook", says, "outcome", self._now.webhook)

    def _log(self) -> Iterator[Metric]:
        now = self._now
        yield _count("events", "Events of the log that are durable.", now.seq)
        yield _gauge("log_fill_ratio", "Share of what may wait for a commit that does.", now.fill)
        yield _gauge("log_stalled", "1 while the log can't commit: a full disk, say.", now.stalled)
        took = _histogram("commit_seconds", "Of one commit, in the log's process.", ())
        _add(took, [], now.commit_us, COMMIT_POWERS, MICROSECOND)
        rows = _histogram("commit_rows", "Events of one commit.", ())
        _add(rows, [], now.commit_rows, ROW_POWERS, 1)
        free = shutil.disk_usage(self._data).free
        yield from (took, rows, _gauge("disk_free_bytes", "Where the log is.", free))

    def _steps(self) -> Iterator[Metric]:
        sent = CounterMetricFamily(
            "sheepfold_steps",
            "Answers, by who chose; end = of an episode.",
            labels=("agent", "source"),
        )
        refused = CounterMetricFamily(
            "sheepfold_refused", "Messages refused, by code.", labels=("agent", "code")
        )
        unread = CounterMetricFamily(
            "sheepfold_unread",
            "Messages outside the hub's topics that no mapping reads.",
            labels=("agent",),
        )
        took = _histogram(
            "step_seconds", "Since a step arrived: chosen, answered.", ("agent", "stage")
        )
        for name, some in self._named():
            for family, parts in (
                (sent, [a.sent for a in some]),
                (refused, [a.refused for a in some]),
            ):
                for label, count in sorted(_summed(parts).items()):
                    family.add_metric([name, label], count)
            unread.add_metric([name], sum(a.unread for a in some))
            stages = {
                "chosen": [a.chosen_us for a in some],
                "answered": [a.answered_us for a in some],
            }
            for stage, seen in stages.items():
                _add(took, [name, stage], merged(seen), STEP_POWERS, MICROSECOND)
        yield from (sent, refused, unread, took)

    def _learning(self) -> Iterator[Metric]:
        agents = ("agent",)
        waiting = GaugeMetricFamily(
            "sheepfold_trainer_waiting", "Observations yet to be learnt from.", labels=agents
        )
        policy = GaugeMetricFamily("sheepfold_policy_version", "That acts.", labels=agents)
        awake = GaugeMetricFamily("sheepfold_agent_awake", "1 while it runs.", labels=agents)
        devices = GaugeMetricFamily("sheepfold_devices", "Of an agent.", labels=agents)
        for name, some in self._named():
            waiting.add_metric([name], sum(a.waiting or 0 for a in some))
            awake.add_metric([name], sum(a.awake for a in some))
            devices.add_metric([name], sum(a.devices for a in some))
        for agent in self._agents:
            if agent.policy is not None:
                policy.add_metric([agent.name], agent.policy)
        yield from (waiting, policy, awake, devices)

    def _memory(self) -> Metric:
        family = GaugeMetricFamily(
            "sheepfold_resident_bytes",
            "Resident memory by kind of process; what they share is counted for each.",
            labels=("process",),
        )
        taken: Counter[str] = Counter()
        for process, pid in self._now.processes.items():
            taken[role_of(process)] += resident_bytes(pid)
        for role, size in sorted(taken.items()):
            family.add_metric([role], size)
        return family

    def _named(self) -> Iterator[tuple[str, list[AgentFigures]]]:
        for agent in self._agents:
            yield agent.name, [agent]
        if self._others:
            yield OTHERS, self._others


def _federation(now: FederationFigures) -> Iterator[Metric]:
    """Of a hub that meets others."""
    yield _gauge("federation_connected", "1 while the broker has let it in.", now.connected)
    yield _gauge("federation_still", "1 while its process does not answer.", now.still)
    yield _gauge("federation_hubs", "Others that are heard, for each agent.", now.hubs)
    yield _count("federation_networks_fetched", "Of other hubs, whole.", now.fetched)
    yield _count("federation_parts_given", "Of networks, to other hubs.", now.given)
    yield _count("federation_questions_asked", "Of advisers elsewhere.", now.asked)
    yield _count("federation_questions_answered", "That advisers elsewhere asked.", now.answered)
    yield _gauge("federation_questions_open", "That wait for an answer.", now.open)
    says = "To advisers elsewhere, by what became of them."
    yield _counts("federation_questions", says, "outcome", now.questions)
    yield _counts("federation_refused", "What was left alone, by reason.", "reason", now.refused)


def resident_bytes(pid: int) -> int:
    """Resident memory, 0 of a process that has gone (proc(5), statm)."""
    try:
        return int((PROC / str(pid) / "statm").read_text().split()[1]) * PAGE_BYTES
    except OSError:
        return 0


def _gauge(name: str, says: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sheepfold_{name}", says, float(value))


def _count(name: str, says: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"sheepfold_{name}", says, value)


def _counts(name: str, says: str, label: str, counts: Mapping[str, int]) -> CounterMetricFamily:
    """A series for each value of a label."""
    family = CounterMetricFamily(f"sheepfold_{name}", says, labels=(label,))
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


def _histogram(name: str, says: str, labels: tuple[str, ...]) -> HistogramMetricFamily:
    return HistogramMetricFamily(f"sheepfold_{name}", says, labels=labels)


def _add(
    family: HistogramMetricFamily, labels: list[str], seen: Seen, powers: range, unit: float
) -> None:
    edges = [str(round((1 << power) * unit, 6)) for power in powers]
    below = zip(edges, seen.below(powers), strict=True)
    family.add_metric(labels, [*below, ("+Inf", seen.count)], seen.total * unit)


def _summed(parts: list[dict[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total
