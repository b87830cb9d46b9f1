"""The hub's side of the learners: one actor and one trainer for each agent that is at work.

An agent wakes at its first observation. Either process may die at any moment: it is started again
with a growing wait, the actor gets the newest logged policy and the questions still open, and the
trainer goes on from its snapshot. The hub imports neither torch nor numpy for this.
"""

from __future__ import annotations

import asyncio
import logging
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from hub.learner.child import Child
from hub.learner.heads import Heads, Verdict
from hub.learner.messages import (
    Answers,
    Ask,
    Drawn,
    Greedy,
    Load,
    Loaded,
    LoggedPolicy,
    Question,
    Reply,
    decode_from_actor,
    decode_from_trainer,
    framed,
    payload_of,
    policy_path,
)
from hub.learner.outline import check_fits, read_outline
from hub.learner.start import learner_context, run_actor, run_trainer
from hub.step import Choice
from hub.words import AgentName, Event, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext

    from hub.clock import Clock
    from hub.learner.messages import FromActor, Made
    from hub.registry.fold import Registry, Spec
    from hub.settings import LearnerSettings
    from hub.step import Appender, Step
    from hub.words import Agent

log: Final = logging.getLogger("hub.learner")

QUESTIONS_MAX: Final = 16_384
"""Open at once for one agent; the fallback answers the rest."""


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
        self._learners: dict[AgentName, Learner] = {}
        self._heads = Heads(registry)
        self._closing = False
        self._preparing: asyncio.Task[None] | None = None
        self.choose: Callable[[Step, Choice], None] | None = None
        """Where choices go; set once by the composition root, for the two need each other."""

    def prepare(self) -> None:
        """Have the fork server import torch now, so that no first observation waits 3 s for it.

        Done when there is an agent: a hub without any stays small.
        """
        if self._preparing is None and self._registry.agents:
            starting = asyncio.to_thread(forkserver.ensure_running)
            self._preparing = asyncio.get_running_loop().create_task(starting)

    def ask(self, step: Step) -> str | None:
        """Have an action chosen for the step; wakes the agent's learner.

        Returns why there is no use in waiting, None when an answer can be expected.
        """
        if self._closing:
            return "the hub is stopping"
        name = step.agent.agent.name
        learner = self._learners.get(name)
        if learner is None:
            learner = self.wake(step.agent)
        return learner.ask(step)

    def wake(self, spec: Spec) -> Learner:
        """Start the agent's two processes."""
        assert self.choose is not None, "the composition root sets it"
        learner = Learner(
            spec,
            self._registry,
            self._log,
            self._data,
            self._settings,
            self._context,
            self._clock,
            self._heads,
            self.choose,
        )
        self._learners[spec.agent.name] = learner
        learner.start()
        return learner

    def changed(self, name: AgentName) -> None:
        """The agent was declared, anew or first, deleted, or given another policy."""
        self.prepare()
        learner = self._learners.get(name)
        spec = self._registry.agents.get(name)
        if learner is None:
            return
        if spec is None or spec.agent.seed != learner.seed:
            self._end(name)  # it was deleted, or restarted: the next observation wakes it
        else:
            learner.configure(spec)

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
        learner = self._learners.pop(name, None)
        if learner is not None:
            learner.stop()

    @property
    def processes(self) -> dict[str, int]:
        """`actor-<agent>` and `trainer-<agent>` to process id, of those that run."""
        return {
            child.name: child.pid
            for learner in self._learners.values()
            for child in (learner.actor, learner.trainer)
            if child.pid is not None
        }

    async def close(self) -> None:
        """End all learners; what they had not written they do again from the log."""
        self._closing = True
        for learner in self._learners.values():
            learner.stop()
        for learner in self._learners.values():
            for child in (learner.actor, learner.trainer):
                await child.ended()


class Learner:
    """One agent's actor and trainer, and the steps that wait for the actor."""

    def __init__(
        self,
        spec: Spec,
        registry: Registry,
        log: Appender,
        data: Path,
        settings: LearnerSettings,
        context: ForkServerContext,
        clock: Clock,
        heads: Heads,
        choose: Callable[[Step, Choice], None],
    ) -> None:
        self._spec = spec
        self._registry = registry
        self._log = log
        self._data = data
        self._clock = clock
        self._heads = heads
        self._choose = choose
        self._open: dict[int, Step] = {}
        self._unsent: list[Question] = []
        self._next_id = 0
        self._loaded: int | None = None
        """Version the actor has been given; without one, asking makes no sense."""
        name = spec.agent.name

        def actor_target() -> tuple[Callable[..., None], tuple[object, ...]]:
            return run_actor, (self._spec.agent,)

        def trainer_target() -> tuple[Callable[..., None], tuple[object, ...]]:
            chosen = registry.chosen.get(name, {}).values()
            pinned = frozenset(policy.sha256 for policy in chosen)
            begun = registry.begun[name]
            return run_trainer, (begun, str(data), self._trained(), pinned, settings)

        self.actor = Child(f"actor-{name}", actor_target, context, settings, clock)
        self.trainer = Child(f"trainer-{name}", trainer_target, context, settings, clock)

    def start(self) -> None:
        """Start both processes, and again whenever one ends."""
        self.actor.start(opened=self._actor_opened, received=self._actor_said)
        self.trainer.start(opened=lambda: None, received=self._trainer_said)

    def stop(self) -> None:
        """End both processes."""
        self.actor.stop()
        self.trainer.stop()

    def configure(self, spec: Spec) -> None:
        """Act by the agent as it stands now; the trainer reads the same from the log."""
        self._spec = spec
        self.actor.send(framed(Greedy(on=not spec.agent.learning)))
        self._load()

    def ask(self, step: Step) -> str | None:
        """Queue the question; one frame a loop turn carries all that have come together."""
        if len(self._open) >= QUESTIONS_MAX:
            return "too many questions for one actor"
        self._next_id += 1
        self._open[self._next_id] = step
        self._queue(self._next_id, step)
        return None

    def _queue(self, number: int, step: Step) -> None:
        if self._loaded is None:
            return  # asked when the actor has its policy
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(
            Question(
                number,
                step.device.id,
                step.boot,
                step.number,
                step.observation.values,
                step.observation.mask,
                first=_is_first(step),
            )
        )

    def _flush(self) -> None:
        questions, self._unsent = self._unsent, []
        if questions:
            self.actor.send(framed(Ask(questions)))

    def _newest(self) -> LoggedPolicy | None:
        """The version that acts."""
        policy = self._registry.policies.get(self._name)
        return None if policy is None else LoggedPolicy(policy.version, policy.made.sha256)

    def _trained(self) -> LoggedPolicy | None:
        """The version that a trainer goes on from."""
        trained = self._registry.trained.get(self._name)
        return None if trained is None else LoggedPolicy(trained.version, trained.sha256)

    def _actor_opened(self) -> None:
        self._loaded = None
        self._unsent.clear()
        self._load()

    def _load(self) -> None:
        """Give the actor the newest logged policy; the first time, also what waited for it."""
        newest, before = self._newest(), self._loaded
        if newest is None or newest.version == before:
            return
        path = policy_path(self._data, self._name, newest.sha256)
        self.actor.send(framed(Load(newest.version, str(path))))
        self._loaded = newest.version
        if before is not None:
            return
        self.actor.send(framed(Greedy(on=not self._spec.agent.learning)))
        self._open = {number: step for number, step in self._open.items() if not step.chosen}
        for number, step in self._open.items():
            self._queue(number, step)

    def _actor_said(self, body: bytes) -> None:
        message: FromActor = decode_from_actor(body)
        if isinstance(message, Loaded):
            if message.error is not None:
                log.error("actor of %s: version %s: %s", self._name, message.version, message.error)
            return
        assert isinstance(message, Answers)
        for reply in message.replies:
            step = self._open.pop(reply.id, None)
            if step is not None:
                self._choose(step, _choice(reply, step.observation.mask))

    def _trainer_said(self, body: bytes) -> None:
        """A new version: into the log first, then to the actor, so that no action precedes it."""
        made: Made = decode_from_trainer(body)
        verdict = self._heads.follow(self._name, made)
        if verdict is Verdict.ASTRAY:
            log.warning("trainer of %s is not where the log is", self._name)
            self.trainer.restart()
        if verdict is not Verdict.LOG:
            return
        events = []
        if made.update is not None:
            events.append(self._event(Kind.UPDATE, made.version, made.update))
        policy = self._event(Kind.POLICY, made.version, made.policy)
        events.append(policy)

        def committed(_seq: int) -> None:
            self._registry.apply(policy)
            self._load()

        self._log.append(events, committed)

    def _event(self, kind: Kind, version: int, fact: msgspec.Struct) -> Event:
        return Event(
            kind=kind,
            ts=self._clock.now_us(),
            agent=self._name,
            policy=version,
            payload=msgspec.json.encode(fact).decode(),
        )

    @property
    def seed(self) -> int:
        """Of the agent; another one means that it was restarted."""
        return self._spec.agent.seed

    @property
    def _name(self) -> AgentName:
        return self._spec.agent.name


def _choice(reply: Reply, mask: bytes | None) -> Choice:
    return Choice(
        action=reply.action,
        source=Source.POLICY,
        policy=reply.version,
        logprob=reply.logprob,
        value=reply.value,
        payload=payload_of(Drawn(reply.raw, mask, reply.memory)),
    )


def _is_first(step: Step) -> bool:
    """Whether it follows no other. Not known once it is handed over: then a new actor is asked."""
    return bool(step.events) and bool(step.events[step.observation_at].first)
