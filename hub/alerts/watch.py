"""Looks on a timer, and has the log and whoever is to be told know what has changed.

alerts = Alerts(hub)
alerts.restore(recovered, damage)          # before anything else happens
await alerts.run()                         # for ever, once the broker can be told
alerts.standing.open                       # what is open now

An alert is told when it is durable. One that the hub is not ready is told at once: its log may be
the very thing that can't commit.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import msgspec

from hub.alerts.cause import Rule, Subject
from hub.alerts.of_agents import OfAgents
from hub.alerts.of_hub import OfHub
from hub.alerts.segments import Segments
from hub.alerts.standing import MICROSECONDS, Standing
from hub.alerts.tell import Tell
from hub.alerts.webhook import open_webhook
from hub.facts import AlertRaised
from hub.words import AgentName, DeviceId, Event, Kind

if TYPE_CHECKING:
    from hub.alerts.standing import Change, Open
    from hub.log.recover import Recovered
    from hub.processes import Hub

log: Final = logging.getLogger("hub")


class Alerts:
    """All alerts of a hub."""

    def __init__(self, hub: Hub) -> None:
        settings = hub.settings.alerts
        self._hub = hub
        self.standing = Standing(self._hold_s)
        self.raised: Counter[str] = Counter()
        """By rule, since the hub's start."""
        self._connection = 0
        """To the broker that was told all last."""
        self._segments = Segments(hub.data, settings.verify_s)
        self._of_agents = OfAgents(hub, self.standing.open)
        self._of_hub = OfHub(hub, self.standing.open, self._segments)
        self.webhook = open_webhook(settings)
        base = hub.settings.mqtt.base
        self._tell = Tell(base, lambda: hub.log.hub, hub.gate.announce, self.webhook)

    def restore(self, recovered: Recovered, damage: str | None) -> None:
        """What is open, and what was wrong with the log when it was opened."""
        for event in recovered.facts:
            self.standing.apply(event)
        tails = [event for tail in recovered.tails for event in tail.events[-1:]]
        newest = max((*recovered.facts, *tails), key=lambda event: event.seq, default=None)
        self._of_hub.log_opened(0 if newest is None else newest.ts, damage)

    async def run(self) -> NoReturn:
        """Look for ever, at once and then on the timer, and read the segments now and then."""
        try:
            await self._run()
        except Exception:
            log.exception("alerts are not looked for any more, until the hub is started again")
            raise

    async def _run(self) -> NoReturn:
        self._tell.started(self.standing, self._hub.clock.now_us())
        async with asyncio.TaskGroup() as group:
            group.create_task(
                self._segments.run(lambda: Subject(Rule.DAMAGE) in self.standing.open)
            )
            if self.webhook is not None:
                group.create_task(self.webhook.run())
            while True:
                await self.look()
                await asyncio.sleep(self._hub.settings.alerts.look_s)

    async def look(self) -> None:
        """Once; a broker that is there anew is told all that is open."""
        if self._hub.gate.connection not in (0, self._connection):
            self._connection = self._hub.gate.connection
            self._tell.all(self.standing)
        causes = [*await self._of_agents.look(), *await self._of_hub.look()]
        clock = self._hub.clock
        now_us = clock.now_us()
        for change in self.standing.look(causes, clock.monotonic(), now_us, self._is_known):
            self._log(change, now_us)

    def reopened(self, damage: str | None) -> None:
        """The log was opened again while the hub ran."""
        self._of_hub.damage = damage or self._of_hub.damage

    def _hold_s(self, alert: Open, now_us: int) -> float:
        """How long the cause of an alert of before the start must be gone: no shorter than else."""
        settings, fact = self._hub.settings.alerts, alert.fact
        if fact.rule == Rule.CLOCK:
            return settings.moment_s - max(0, now_us - alert.raised_us) / MICROSECONDS
        if fact.rule == Rule.SILENT:
            return fact.figures.get("limit_s", settings.silent_s) + 2 * settings.look_s
        if fact.rule == Rule.SAME_ID:
            return settings.same_id_s + settings.hold_s  # it was counted in memory, from nought now
        return settings.hold_s

    def _is_known(self, subject: Subject) -> bool:
        """Whether its agent is there, and its device the agent's."""
        registry = self._hub.registry
        if subject.agent and AgentName(subject.agent) not in registry.agents:
            return False
        return not subject.device or registry.devices.get(DeviceId(subject.device)) == subject.agent

    def _log(self, change: Change, now_us: int) -> None:
        subject, fact = change
        event = Event(
            Kind.ADMIN,
            now_us,
            agent=subject.agent,
            device=subject.device,
            reason=fact.says,
            payload=msgspec.json.encode(fact).decode(),
        )
        if isinstance(fact, AlertRaised):
            self.raised[subject.rule] += 1
            log.warning("alert %s: %s; %s", subject.rule, fact.says, fact.do)
        else:
            log.warning("alert %s is %s", subject.rule, fact.says)  # what was said is taken back
        if subject.rule == Rule.NOT_READY:
            self._tell.change(change, now_us, 0)
        self._hub.log.append([event], partial(self._durable, change, now_us))

    def _durable(self, change: Change, now_us: int, seq: int) -> None:
        self.standing.durable(change.subject, now_us, seq)
        if change.subject.rule != Rule.NOT_READY:
            self._tell.change(change, now_us, seq)
