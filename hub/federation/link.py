"""The hub's end of the process that speaks to other hubs; without a broker in the settings, none.

    link = FederationLink(settings, registry, log, data, clock, join=…, changed=…)
    link.open(hub_id); …; await link.close()
    link.shown                      # how it goes, for `sheepfold status`

The process is told of agents that take part whenever anything of them has changed. What it brings
is logged before anybody acts by it. One that stands still is told nothing until it goes on, and
nobody waits for one that is gone.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub.errors import SheepfoldError
from hub.facts import GuestsTaken
from hub.federation.handed import Handed
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
SAY_S: Final = 60.0
"""Between two lines that the process does not answer."""
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
        self._handed = Handed(settings.federation)
        self._counted = Counted()
        """As the process that runs says."""
        self._before = Counted()
        """The counts of those before it."""
        self._still = False
        """It does not answer."""
        self._is_said = False
        """That it does not answer now."""
        self._said_s = float("-inf")
        """When such was said last."""
        self.unasked = 0
        """Questions that it was not handed, for that or since too many were open."""
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
            lost=self._lost,
            failing=lambda: log.error(
                "the process for other hubs ends again and again: look at federation.broker, or at "
                "federation.memory_mb if it was killed; devices are answered meanwhile"
            ),
        )
        self._looking = asyncio.get_running_loop().create_task(self._look())

    def consult(self, agent: AgentName, consult: Consult) -> None:
        """Have an adviser elsewhere asked; `advise` is called, at once where nobody will answer.

        Only where the process is stopped meanwhile does the actor's own wait end it.
        """
        if self._child is None or not self._counted.connected:
            self._advise(agent, Counsel(consult.id, None))
            return
        if self._handed.is_full or self._stands_still(self._child):
            self.unasked += 1
            self._advise(agent, Counsel(consult.id, None))
            return
        now_s = self._clock.monotonic()
        self._handed.add(agent, consult.id, now_s)
        until_s = now_s + self._settings.federation.advice_ms / 1000
        self._child.send(framed(Ask(agent, consult, until_s)))

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
        counted = self.counted
        if counted is None:
            return None
        shown: dict[str, Any] = msgspec.to_builtins(counted)
        return shown | {
            "still": self.still,
            "open": self.open_questions,
            "unasked": self.unasked,
        }

    @property
    def counted(self) -> Counted | None:
        """How it goes, counted since the hub's start; None where the hub keeps to itself."""
        return None if self._child is None else self._counted.after(self._before)

    @property
    def still(self) -> bool:
        """The process runs and does not answer."""
        return self._still

    @property
    def open_questions(self) -> int:
        """Handed to it and not answered yet."""
        return len(self._handed)

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

    def _lost(self) -> None:
        """It is gone: nobody waits for what it was asked; the next one is told all again."""
        self._before, self._counted = self._counted.after(self._before), Counted()
        self._still = self._is_said = False
        for agent, number in self._handed.give_up():
            self._advise(agent, Counsel(number, None))

    def _stands_still(self, child: Child) -> bool:
        """Whether it is to be told nothing for now; said once, and once when that is over.

        One that stands still again and again is not said each time, but when it lasts.
        """
        now_s = self._clock.monotonic()
        still = self._handed.stands_still(now_s, child.unread_bytes)
        if still and not self._is_said and now_s - self._said_s >= SAY_S:
            self._is_said, self._said_s = True, now_s
            log.warning(
                "the process for other hubs (pid %s) does not answer: %d questions are open and "
                "%d bytes unread; agents go on without advice from elsewhere. It was stopped, or "
                "hangs: 'kill -CONT' lets it go on, 'kill -9' has the hub start another",
                child.pid,
                len(self._handed),
                child.unread_bytes,
            )
        elif self._is_said and not still:
            self._is_said = False
            log.warning("the process for other hubs answers again")
        self._still = still
        return still

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            self._tell()

    def _tell(self) -> None:
        if self._child is None or self._stands_still(self._child):
            return  # it is told when it goes on
        agents = [
            self._namesake(spec)
            for spec in self._registry.agents.values()
            if spec.agent.hubs != "none" and spec.agent.algorithm != EXTERNAL
        ]
        if agents != self._told:
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
                self._handed.end(agent, counsel.id)
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
