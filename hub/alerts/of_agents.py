"""Rules about agents and their devices."""

from __future__ import annotations

import asyncio
from collections import Counter
from heapq import nsmallest
from typing import TYPE_CHECKING, Final, NamedTuple

from hub.alerts.cause import Cause, Rule, Subject, moment, still
from hub.alerts.returns import Fall, Returns
from hub.alerts.same_id import same_id
from hub.learner.processes.child import FAILURES
from hub.topics import is_device_id
from hub.words import AgentName, DeviceId, EndedBy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hub.alerts.standing import Open
    from hub.intake.device import Device
    from hub.processes import Hub
    from hub.registry.fold import Spec
    from hub.words import Agent

AT_ONCE: Final = 500
"""Devices looked at before others get their turn: half a millisecond."""
WHOLE: Final = (EndedBy.TERMINATED, EndedBy.TRUNCATED)
"""Other episodes were cut off by something that is no fault of the policy."""
EPISODES_EACH: Final = 2
"""Of each device in a block of returns, or those that fail early would stand for all."""
MILLISECONDS: Final = 1000
MICROSECONDS: Final = 1_000_000


class Silent(NamedTuple):
    """A device that should have been heard."""

    device: str
    for_s: float
    limit_s: float


class OfAgents:
    """Looks at all agents and devices."""

    def __init__(self, hub: Hub, open_alerts: Mapping[Subject, Open]) -> None:
        self._hub = hub
        self._settings = hub.settings.alerts
        self._open = open_alerts
        self._started_s = hub.clock.monotonic()
        self._behind: set[AgentName] = set()
        self._returns: dict[AgentName, tuple[tuple[object, ...], Returns]] = {}
        """And of which declaration they are: another one may be rewarded otherwise."""
        self._ended: dict[DeviceId, int] = {}
        """Number of each device's last episode that was taken in."""

    async def look(self) -> list[Cause]:
        """All causes there are; lets others go first in between."""
        silent = await self._look_at_devices()
        named = Counter(one.agent for one in self._open if one.rule == Rule.SILENT and one.device)
        causes = [
            cause
            for name, theirs in silent.items()
            for cause in self._silent(name, theirs, named[name])
        ]
        causes += same_id(self._hub, self._open)
        for name, spec in self._hub.registry.agents.items():
            causes += self._of_agent(name, spec)
        for gone in self._returns.keys() - self._hub.registry.agents.keys():
            del self._returns[gone]
        return causes

    async def _look_at_devices(self) -> dict[AgentName, list[Silent]]:
        """The silent ones of each agent; the episodes of all are taken in."""
        registry, now_s = self._hub.registry, self._hub.clock.monotonic()
        theirs = Counter(registry.devices.values())
        limits_s = {name: self._limit_s(spec.agent) for name, spec in registry.agents.items()}
        silent: dict[AgentName, list[Silent]] = {}
        for number, device in enumerate(list(self._hub.sessions.devices.values())):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            name = registry.devices.get(DeviceId(device.id))
            spec = None if name is None else registry.agents.get(name)
            if name is None or spec is None:
                continue
            if device.ended is not None:
                self._take_episodes(spec, device, theirs[name])
            limit_s = limits_s.get(name)
            if limit_s is not None and self._is_silent(spec.agent, device, now_s, limit_s):
                found = Silent(device.id, now_s - device.heard_s, limit_s)
                silent.setdefault(name, []).append(found)
        return silent

    # --- silent devices ------------------------------------------------------------------------

    def _limit_s(self, agent: Agent) -> float | None:
        """How long nothing may be heard of its devices; None = for ever, as of a paused one's."""
        settings = self._settings
        if not settings.silent_s or agent.status != "active":
            return None
        answered_s = (agent.deadline_ms or 0) / MILLISECONDS
        return max(settings.silent_s, agent.silent_s or 0.0) + answered_s

    def _is_silent(self, agent: Agent, device: Device, now_s: float, limit_s: float) -> bool:
        """Visitors come and go (`http-7`), and who waits for a remote learner is not silent."""
        # While the hub did not run nobody could be heard.
        if now_s - max(device.heard_s, self._started_s) <= limit_s:
            if device.taken:
                return False
            return Subject(Rule.SILENT, agent.name, device.id) in self._open  # since before that
        if device.count is None or not is_device_id(device.id):
            return False
        return agent.deadline_ms is not None or not device.waits

    def _silent(self, name: AgentName, silent: list[Silent], open_now: int) -> Iterator[Cause]:
        """Some devices each, and the others together.

        Args:
            name: of the agent.
            silent: its silent devices, one or more.
            open_now: alerts of its devices, also of those that were heard and may be silent again.
        """
        known: list[Silent] = []
        others: list[Silent] = []
        for one in silent:
            is_open = Subject(Rule.SILENT, name, one.device) in self._open
            (known if is_open else others).append(one)
        room = max(0, self._settings.silent_named_max - open_now)
        first = nsmallest(room + 1, others, key=lambda one: one.device)
        # Silence grows between two looks, and ends between two others.
        longer_s = 2 * self._settings.look_s
        now_us = self._hub.clock.now_us()
        for one in (*known, *first[:room]):
            yield Cause(
                Subject(Rule.SILENT, name, one.device),
                f"device {one.device!r} of agent {name!r} has not been heard since "
                f"{moment(now_us - round(one.for_s * MICROSECONDS))}",
                {"silent_s": round(one.for_s, 1), "limit_s": one.limit_s},
                clear_s=one.limit_s + longer_s,
            )
        if len(others) > room:
            yield Cause(
                Subject(Rule.SILENT, name),
                f"{len(others) - room} more devices of agent {name!r} are silent, "
                f"as {first[room].device!r}",
                {"devices": float(len(silent)), "limit_s": first[room].limit_s},
                clear_s=first[room].limit_s + longer_s,
            )

    # --- returns -------------------------------------------------------------------------------

    def _take_episodes(self, spec: Spec, device: Device, devices: int) -> None:
        """What it has earned since the last look, as far as the hub remembers."""
        ended = device.ended
        if ended is None or not self._settings.return_episodes:
            return
        newest = ended.last.number
        taken = self._ended.get(DeviceId(device.id), 0)
        if taken > newest:  # it was forgotten, and counts anew
            taken = 0
        self._ended[DeviceId(device.id)] = newest
        returns = self._returns_of(spec)
        block = max(self._settings.return_episodes, EPISODES_EACH * devices)
        for one in ended:
            if one.number > taken and one.ended_by in WHOLE:
                returns.add(one.total_reward, block=block)

    def _returns_of(self, spec: Spec) -> Returns:
        """Begun anew where what it earns means something else, or an operator has said so."""
        agent, registry = spec.agent, self._hub.registry
        name = agent.name
        key = (
            registry.begun[name].seq,
            registry.cleared_us.get(name),
            agent.reward,
            agent.missing_reward,
            agent.max_episode_steps,
        )
        known = self._returns.get(name)
        if known is None or known[0] != key:
            fallen = self._fallen(name) if known is None else None
            known = self._returns[name] = (key, Returns(self._settings.return_fall, fallen))
        return known[1]

    def _fallen(self, name: AgentName) -> Fall | None:
        """What an alert that is open from before the start was founded on."""
        alert = self._open.get(Subject(Rule.FALLING, name))
        figures = {} if alert is None else alert.fact.figures
        if not {"best", "now", "episodes"} <= figures.keys():
            return None
        return Fall(figures["best"], figures["now"], int(figures["episodes"]))

    # --- agents --------------------------------------------------------------------------------

    def _of_agent(self, name: AgentName, spec: Spec) -> Iterator[Cause]:
        yield from self._falling(name, spec)
        yield from self._lag(name, spec)
        yield from self._failing(name)
        reason = self._hub.registry.paused_by_hub.get(name)
        if reason is not None:
            yield Cause(Subject(Rule.PAUSED, name), reason, {})

    def _falling(self, name: AgentName, spec: Spec) -> Iterator[Cause]:
        if not self._settings.return_episodes:
            return
        fallen = self._returns_of(spec).fallen
        if fallen is None:
            return
        says = (
            f"agent {name!r} earns {fallen.now:.4g} an episode, the mean of {fallen.episodes}; "
            f"at its best it was {fallen.best:.4g}"
        )
        yield Cause(Subject(Rule.FALLING, name), says, _figures(fallen))

    def _lag(self, name: AgentName, spec: Spec) -> Iterator[Cause]:
        """Behind above `lag_max` and until half are left, as the trainer itself counts."""
        lag_max = spec.agent.lag_max
        if lag_max is None:
            lag_max = self._hub.settings.learner.lag_max
        waiting = self._hub.pool.waiting.get(name, 0)
        subject = Subject(Rule.LAG, name)
        was = name in self._behind or subject in self._open
        if waiting <= (lag_max // 2 if was else lag_max):
            self._behind.discard(name)
            return
        self._behind.add(name)
        says = f"{waiting:,} observations wait for the trainer of agent {name!r}, of {lag_max:,}"
        figures = {"waiting": float(waiting), "lag_max": float(lag_max)}
        lag_s = self._settings.lag_s
        yield Cause(subject, says, figures, raise_s=lag_s, clear_s=lag_s)

    def _failing(self, name: AgentName) -> Iterator[Cause]:
        subject, hold_s = Subject(Rule.FAILING, name), self._settings.hold_s
        if not self._hub.pool.awake(name):
            if subject in self._open:  # nobody knows whether it would run
                yield still(subject, self._open[subject].fact, clear_s=hold_s)
            return
        failing = [one for one in self._hub.pool.troubles(name) if one[1].ends >= FAILURES]
        if failing:
            process, trouble = failing[0]
            yield Cause(
                subject,
                f"the {process} of agent {name!r} ended {trouble.ends} times in a row, the last "
                f"time with: {trouble.reason}",
                {"ends": float(trouble.ends)},
                clear_s=hold_s,
            )


def _figures(fallen: Fall) -> dict[str, float]:
    return {"best": fallen.best, "now": fallen.now, "episodes": float(fallen.episodes)}
