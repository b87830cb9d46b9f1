"""The hub's side of the learners: one actor and one trainer for each agent that is at work.

An agent wakes at its first observation, and sleeps when nobody has asked for long: its processes
end, and the log and its policy files have all they knew. It is then as after a restart of the hub.
The hub imports neither torch nor numpy for this.
"""

from __future__ import annotations

import asyncio
import logging
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Final

from hub.learner.messages import Counsel, policy_path
from hub.learner.processes.pair import Around, Pair
from hub.learner.processes.start import learner_context
from hub.learner.versions.heads import Heads
from hub.learner.versions.outline import check_fits, read_outline
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import Consult
    from hub.learner.processes.child import Trouble
    from hub.registry.fold import Registry, Spec
    from hub.settings import LearnerSettings
    from hub.step import Appender, Choice, Step
    from hub.words import Agent, AgentName

log: Final = logging.getLogger("hub.learner")

CLOSE_S_MAX: Final = 3.0
"""Within it processes that run have ended, by themselves or by force."""
LOOK_S: Final = 1.0
"""Between two looks at an agent that could sleep but for something under way."""


class Pool:
    """All agents' learners. `Deliver` asks here; the answers go to `choose`."""

    def __init__(
        self,
        registry: Registry,
        log: Appender,
        data: Path,
        settings: LearnerSettings,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._log = log
        self._data = data
        self._settings = settings
        self._clock = clock
        self._context: ForkServerContext = learner_context()
        self._pairs: dict[AgentName, Pair] = {}
        self._heads = Heads(registry)
        self._ending: set[asyncio.Task[None]] = set()
        self._closing = False
        self._preparing: asyncio.Task[None] | None = None
        self.choose: Callable[[Step, Choice], None] | None = None
        """Where choices go; set once by the composition root, for the two need each other."""
        self.consult: Callable[[AgentName, Consult], None] | None = None
        """Has an adviser elsewhere asked; set in the same way."""

    @property
    def choosing(self) -> bool:
        """Whether an actor has been asked and has not answered yet."""
        return any(pair.choosing for pair in self._pairs.values())

    def prepare(self) -> None:
        """Have the fork server import torch now, so that no first observation waits 3 s for it.

        Done when there is an agent that learns here: a hub without any stays small.
        """
        agents = self._registry.agents.values()
        if self._preparing is None and any(s.agent.algorithm != EXTERNAL for s in agents):
            starting = asyncio.to_thread(forkserver.ensure_running)
            self._preparing = asyncio.get_running_loop().create_task(starting)

    def ask(self, step: Step) -> str | None:
        """Have an action chosen for the step; wakes the agent's learner.

        Returns why there is no use in waiting, None when an answer can be expected.
        """
        if self._closing:
            return "the hub is stopping"
        name = step.agent.agent.name
        pair = self._pairs.get(name)
        if pair is None:
            pair = self.wake(step.agent)
        return pair.ask(step)

    def wake(self, spec: Spec) -> Pair:
        """Start the agent's two processes."""
        assert self.choose is not None, "the composition root sets it"
        pair = Pair(
            spec,
            Around(
                self._registry,
                self._log,
                self._data,
                self._settings,
                self._context,
                self._clock,
                self._heads,
                self.choose,
                self._consult,
            ),
        )
        self._pairs[spec.agent.name] = pair
        pair.start()
        if self._settings.sleep_s:
            asyncio.get_running_loop().call_later(self._settings.sleep_s, self._look, pair)
        return pair

    def advise(self, name: AgentName, counsel: Counsel) -> None:
        """Tell an agent's actor what an adviser elsewhere would do; one that sleeps asks nobody."""
        pair = self._pairs.get(name)
        if pair is not None:
            pair.advise(counsel)

    def _consult(self, name: AgentName, consult: Consult) -> None:
        if self.consult is None:
            self.advise(name, Counsel(consult.id, None))
        else:
            self.consult(name, consult)

    def _look(self, pair: Pair) -> None:
        """Let the agent sleep if nobody has asked for so long; else look again when that may be."""
        name = pair.name
        if self._pairs.get(name) is not pair:
            return
        idle_s = self._clock.monotonic() - pair.asked
        left_s = self._settings.sleep_s - idle_s
        if left_s > 0 or pair.busy:
            wait_s = left_s if left_s > 0 else LOOK_S
            asyncio.get_running_loop().call_later(wait_s, self._look, pair)
            return
        log.info("agent %s sleeps: nobody has asked for %.0f s", name, idle_s)
        self._end(name)

    def changed(self, name: AgentName) -> None:
        """The agent was declared, anew or first, deleted, or given another policy."""
        self.prepare()
        pair = self._pairs.get(name)
        spec = self._registry.agents.get(name)
        if pair is None:
            return
        if spec is None or spec.agent.seed != pair.seed:
            self._end(name)  # it was deleted, or restarted: the next observation wakes it
        else:
            pair.configure(spec)

    def next_version(self, name: AgentName, sha256: str | None) -> int:
        """The number of the version that an operator puts in place, appended to the log at once.

        Args:
            name: of the agent.
            sha256: of the version's file; None when the agent begins anew.
        """
        if sha256 is None:
            self._end(name)  # nothing that it has still to say is to be logged
        return self._heads.choose(name, sha256)

    def check_fits(self, agent: Agent, sha256: str) -> int:
        """The seq up to which a policy file was learnt; refuses one the agent can't use.

        Raises:
            OperatorFault: it is not there, or does not fit.
        """
        outline = read_outline(policy_path(self._data, agent.name, sha256))
        check_fits(outline, agent)
        return outline.position

    def _end(self, name: AgentName) -> None:
        pair = self._pairs.pop(name, None)
        if pair is not None:
            pair.stop()
            ending = asyncio.get_running_loop().create_task(pair.ended())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)

    @property
    def waiting(self) -> dict[AgentName, int]:
        """Of the agents that are awake: observations that their trainers have yet to learn from."""
        return {name: pair.waiting for name, pair in self._pairs.items()}

    @property
    def processes(self) -> dict[str, int]:
        """`actor-<agent>` and `trainer-<agent>` to process id, of those that run."""
        return {
            child.name: child.pid
            for pair in self._pairs.values()
            for child in (pair.actor, pair.trainer)
            if child.pid is not None
        }

    def awake(self, name: AgentName) -> bool:
        """Whether the agent's processes run, or are about to."""
        return name in self._pairs

    def troubles(self, name: AgentName) -> list[tuple[str, Trouble]]:
        """Which of them ends again and again, `actor` or `trainer`, and why."""
        pair = self._pairs.get(name)
        return [] if pair is None else pair.troubles

    async def close(self) -> None:
        """End all learners; what they had not written they do again from the log."""
        self._closing = True
        for name in list(self._pairs):
            self._end(name)
        if self._ending:
            # CRUCIAL: not for ever. One whose start waits until the fork server has imported torch,
            # for 10 s on a busy machine, ends with the fork server, and that with the hub.
            await asyncio.wait(self._ending, timeout=CLOSE_S_MAX)
