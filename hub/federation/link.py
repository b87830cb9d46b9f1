"""The hub's end of the process that speaks to other hubs; without a broker in the settings, none.

    link = FederationLink(settings, registry, log, data, clock, join=…, changed=…)
    link.open(hub_id); …; await link.close()
    link.shown                      # how it goes, for `sheepfold status`

The process is told of agents that take part whenever anything of them has changed. What it brings
is logged before anybody acts by it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub.errors import SheepfoldError
from hub.facts import GuestsTaken
from hub.federation.messages import (
    Agents,
    Ask,
    Counted,
    FromFederation,
    Join,
    Namesake,
    Noted,
    Told,
    Took,
    decode_from_federation,
    framed,
)
from hub.federation.place import check_name, place_of
from hub.federation.start import run_federation
from hub.learner.messages import Counsel, LoggedPolicy
from hub.learner.processes.child import Child
from hub.learner.processes.start import learner_context
from hub.words import EXTERNAL, Event, Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import Consult
    from hub.learner.processes.child import Trouble
    from hub.log.link import LogLink
    from hub.registry.fold import Registry, Spec
    from hub.settings import Settings
    from hub.words import AgentName

log: Final = logging.getLogger("hub.federation")

CLOSE_S_MAX: Final = 2.0
LOOK_S: Final = 1.0
"""Between two looks at whether an agent has changed: versions come several a second."""


class FederationLink:
    """Owns the process.

    Args:
        settings: all of them.
        registry: agents, their policies and guests.
        log: where guests are written.
        data: the data folder.
        clock: the hub's.
        join: has an agent begin with a policy that another hub gave.
        changed: called with an agent that has other guests now.
        advise: called with what an adviser elsewhere told an agent's actor.
    """

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        log: LogLink,
        data: Path,
        clock: Clock,
        *,
        join: Callable[[AgentName, str, str], Awaitable[object]],
        changed: Callable[[AgentName], None],
        advise: Callable[[AgentName, Counsel], None],
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._log = log
        self._data = data
        self._clock = clock
        self._join = join
        self._changed = changed
        self._advise = advise
        self._child: Child | None = None
        self._looking: asyncio.Task[None] | None = None
        self._told: list[Namesake] | None = None
        """What the process knows; None = nothing yet."""
        self._counted = Counted()
        self._beginning: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Start the process, and again whenever it ends."""
        if not self._settings.federation.broker:
            return
        place_of(self._settings.federation)
        check_name(self._settings.federation, self._log.hub)
        context, settings = learner_context(), self._settings.learner
        self._child = Child("federation", self._target, context, settings, self._clock)
        self._child.start(
            opened=self._opened,
            received=lambda body: self._heard(decode_from_federation(body)),
            failing=lambda: log.error(
                "the process for other hubs ends again and again: look at federation.broker, or at "
                "federation.memory_mb if it was killed; devices are answered meanwhile"
            ),
        )
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def consult(self, agent: AgentName, consult: Consult) -> None:
        """Have an adviser elsewhere asked; `advise` is called, or the actor's own wait ends."""
        if self._child is None or self._child.pid is None:
            self._advise(agent, Counsel(consult.id, None))
        else:
            self._child.send(framed(Ask(agent, consult)))

    async def close(self) -> None:
        """End the process."""
        if self._child is None or self._looking is None:
            return
        self._looking.cancel()
        self._child.stop()
        await asyncio.wait([asyncio.ensure_future(self._child.ended())], timeout=CLOSE_S_MAX)

    @property
    def shown(self) -> dict[str, Any] | None:
        """How it goes, None where the hub keeps to itself."""
        return None if self._child is None else msgspec.to_builtins(self._counted)

    @property
    def trouble(self) -> Trouble | None:
        """That the process ends again and again, or has just done so; None where all is well."""
        return None if self._child is None else self._child.trouble

    @property
    def processes(self) -> dict[str, int]:
        """`federation` to process id, while it runs."""
        pid = None if self._child is None else self._child.pid
        return {} if pid is None else {"federation": pid}

    def _target(self) -> tuple[Callable[..., None], tuple[object, ...]]:
        settings = self._settings
        return run_federation, (
            settings.federation,
            settings.mqtt.base,
            self._log.hub,
            str(self._data),
            self._log.last_seq,
            settings.learner.import_mb_max,
        )

    def _opened(self) -> None:
        self._told = None
        self._tell()

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._tell()

    def _tell(self) -> None:
        agents = [
            self._namesake(spec)
            for spec in self._registry.agents.values()
            if spec.agent.hubs != "none" and spec.agent.algorithm != EXTERNAL
        ]
        if agents != self._told and self._child is not None:
            self._told = agents
            self._child.send(framed(Agents(agents)))

    def _namesake(self, spec: Spec) -> Namesake:
        name, registry = spec.agent.name, self._registry
        begun = registry.begun[name].seq
        policy = registry.policies.get(name)
        acts = None if policy is None else LoggedPolicy(policy.version, policy.made.sha256)
        first = registry.begun[name].version
        chosen = any(version >= first for version in registry.chosen.get(name, {}))
        return Namesake(spec.agent, acts, begun, chosen, registry.guests.get(name, []))

    def _heard(self, message: FromFederation) -> None:
        match message:
            case Counted():
                self._counted = message
            case Join(agent, sha256, name):
                task = asyncio.get_running_loop().create_task(self._begin(agent, sha256, name))
                self._beginning.add(task)  # or nobody holds it, and it may be collected half done
                task.add_done_callback(self._beginning.discard)
            case Noted(text):
                log.warning("%s", text)
            case Told(agent, counsel):
                self._advise(agent, counsel)
            case Took(agent, _) if agent in self._registry.agents:
                self._log_guests(message)
            case Took():
                pass  # it was deleted meanwhile

    async def _begin(self, agent: AgentName, sha256: str, name: str) -> None:
        try:
            await self._join(agent, sha256, name)
            log.info("agent %s begins with the policy of %s", agent, name)
        except SheepfoldError as error:  # it was deleted meanwhile, say
            log.warning("agent %s could not begin with the policy of %s: %s", agent, name, error)

    def _log_guests(self, took: Took) -> None:
        payload = msgspec.json.encode(GuestsTaken(took.guests)).decode()
        event = Event(Kind.ADMIN, self._clock.now_us(), agent=took.agent, payload=payload)

        def committed(_seq: int) -> None:
            self._registry.apply(event)
            self._changed(took.agent)

        self._log.append([event], committed)
