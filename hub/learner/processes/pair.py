"""One agent at work: its actor, its trainer, and the steps that wait for the actor.

Either process may die at any moment: it is started again with a growing wait, the actor gets the
newest logged policy and the questions still open, and the trainer goes on from its snapshot.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from msgspec import structs

from hub.facts import Advised, Alert
from hub.learner.algorithms.parameters import algorithm_of
from hub.learner.columns import Questions, Row, unpacked
from hub.learner.messages import (
    Answers,
    Consult,
    Greedy,
    Idle,
    Invite,
    LastWords,
    Load,
    Loaded,
    LoggedPolicy,
    Waiting,
    decode_from_actor,
    decode_from_trainer,
    framed,
    guest_path,
    policy_path,
)
from hub.learner.processes.child import FAILURES, Child
from hub.learner.processes.memory_limit import MemoryWatch
from hub.learner.processes.quota import Quota
from hub.learner.processes.start import run_actor, run_trainer
from hub.learner.processes.together import Together
from hub.learner.versions.heads import Verdict
from hub.words import Event, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerContext
    from pathlib import Path

    from hub.clock import Clock
    from hub.learner.messages import Counsel, FromActor, FromTrainer, Made
    from hub.learner.processes.child import Trouble
    from hub.learner.versions.heads import Heads
    from hub.registry.fold import Registry, Spec
    from hub.settings import LearnerSettings
    from hub.step import Appender, Choice, Step
    from hub.words import AgentName

log: Final = logging.getLogger("hub.learner")

NOBODY: Final = Invite([])
QUESTIONS_MAX: Final = 16_384
"""Open at once for one agent; the fallback answers the rest."""

Target = tuple["Callable[..., None]", tuple[object, ...]]
"""What a process runs, and with what."""


class Around(NamedTuple):
    """What all learners of a hub share."""

    registry: Registry
    log: Appender
    data: Path
    settings: LearnerSettings
    context: ForkServerContext
    clock: Clock
    heads: Heads
    choose: Callable[[Step, Choice], None]
    """Where choices go."""
    consult: Callable[[AgentName, Consult], None]
    """Has an adviser elsewhere asked; the actor does not wait for it beyond its deadline."""


class Pair:
    """Two processes, and the steps that wait for the actor."""

    def __init__(self, spec: Spec, around: Around) -> None:
        self._spec = spec
        self._around = around
        self._open: dict[int, Step] = {}
        self._elsewhere: set[int] = set()
        """Numbers of those that wait for an adviser elsewhere: nobody else is to wait for them."""
        self._together = Together[Row](lambda rows: self.actor.send(framed(Questions.of(rows))))
        self._next_id = 0
        self._loaded: int | None = None
        """Version the actor has been given; without one, asking makes no sense."""
        self._invited: Invite = NOBODY
        """What the actor knows of guests."""
        self._unlogged = 0
        """Versions on their way into the log."""
        self._idle = False
        """The trainer has learnt from all there is."""
        self.waiting = 0
        """Observations that the trainer had read and not learnt from, when it last said so."""
        self.asked = around.clock.monotonic()
        """When an action was last wanted, seconds on the monotonic clock."""
        name, context, settings = spec.agent.name, around.context, around.settings
        self.actor = Child(f"actor-{name}", self._actor_target, context, settings, around.clock)
        self.trainer = Child(
            f"trainer-{name}", self._trainer_target, context, settings, around.clock
        )
        self._quota = Quota(self.trainer, around.clock)
        self._memory = MemoryWatch(self.trainer, self._beyond_memory)
        self._stopping = False
        self._alerted = False
        """An operator was told that the trainer takes too much, and has changed nothing since."""

    def start(self) -> None:
        """Start both processes, and again whenever one ends."""
        self.actor.start(
            opened=self._actor_opened,
            received=self._actor_said,
            failing=lambda: self._failing("actor", "its devices get their fallback"),
        )
        self.trainer.start(
            opened=self._trainer_opened,
            received=self._trainer_said,
            failing=lambda: self._failing("trainer", "the newest policy goes on acting"),
        )
        self._limit()

    def stop(self) -> None:
        """End both processes."""
        self._stopping = True
        self._quota.limit(None)
        self._memory.limit(None)
        self.actor.stop()
        self.trainer.stop()

    async def ended(self) -> None:
        """Returns when both are gone, once they were told to stop."""
        await self.actor.ended()
        await self.trainer.ended()

    @property
    def busy(self) -> bool:
        """Something is under way that a new start would have to begin again."""
        if self._unlogged or any(not step.chosen for step in self._open.values()):
            return True
        return not self._idle

    @property
    def troubles(self) -> list[tuple[str, Trouble]]:
        """Which of the two ends again and again, `actor` or `trainer`, and why."""
        both = (("actor", self.actor.trouble), ("trainer", self.trainer.trouble))
        return [(name, trouble) for name, trouble in both if trouble is not None]

    @property
    def choosing(self) -> bool:
        """The actor has been asked and has not answered yet."""
        return len(self._open) > len(self._elsewhere) and self._loaded is not None

    def configure(self, spec: Spec) -> None:
        """Act by the agent as it stands now; the trainer reads the same from the log."""
        before, self._spec = self._spec.agent, spec
        if (before.memory_mb, before.parameters) != (spec.agent.memory_mb, spec.agent.parameters):
            self._alerted = False
        self._limit()
        self.actor.send(framed(Greedy(on=not spec.agent.learning)))
        self._invite()
        self._load()

    def _limit(self) -> None:
        """Hold the trainer to what the agent allows."""
        if self._stopping:
            return
        agent = self._spec.agent
        # Without any version nobody can act: the first is made at full speed.
        self._quota.limit(None if self._newest() is None else agent.cpu_percent)
        self._memory.limit(agent.memory_mb)

    def ask(self, step: Step) -> str | None:
        """Queue the question; one frame carries all that come together."""
        self.asked = self._around.clock.monotonic()
        if len(self._open) >= QUESTIONS_MAX:
            return "too many questions for one actor"
        self._next_id += 1
        self._open[self._next_id] = step
        self._queue(self._next_id, step)
        return None

    def _queue(self, number: int, step: Step) -> None:
        if self._loaded is None:
            return  # asked when the actor has its policy
        self._together.add(
            # No Question: a plain tuple is made in a quarter of the time.
            (
                number,
                step.device.id,
                step.boot,
                step.number,
                step.observation.values,
                step.observation.mask,
                _is_first(step),
            )
        )

    def _actor_target(self) -> Target:
        return run_actor, (self._spec.agent,)

    def _trainer_target(self) -> Target:
        registry = self._around.registry
        chosen = registry.chosen.get(self.name, {}).values()
        pinned = frozenset(policy.sha256 for policy in chosen)
        begun, data = registry.begun[self.name], str(self._around.data)
        # As it is now: nothing that is learnt depends on it, so no policy file has it.
        agent = structs.replace(begun.agent, lag_max=self._spec.agent.lag_max)
        begun = structs.replace(begun, agent=agent)
        return run_trainer, (begun, data, self._trained(), pinned, self._around.settings)

    def _newest(self) -> LoggedPolicy | None:
        """The version that acts."""
        policy = self._around.registry.policies.get(self.name)
        return None if policy is None else LoggedPolicy(policy.version, policy.made.sha256)

    def _trained(self) -> LoggedPolicy | None:
        """The version that a trainer goes on from."""
        trained = self._around.registry.trained.get(self.name)
        return None if trained is None else LoggedPolicy(trained.version, trained.sha256)

    def _actor_opened(self) -> None:
        self._loaded = None
        self._together.clear()
        self._elsewhere.clear()
        self._invited = NOBODY
        self._invite()
        self._load()

    def _invite(self) -> None:
        """Tell the actor who may advise from other hubs, when that has changed."""
        agent = self._spec.agent
        guests = [] if agent.hubs == "none" else self._around.registry.guests.get(self.name, [])
        data = self._around.data
        here = [one for one in guests if one.sha256]
        paths = [(one.name, str(guest_path(data, self.name, one.sha256))) for one in here]
        asked = [one.name for one in guests if not one.sha256] if agent.hubs == "questions" else []
        # Half of the deadline: the other half is for what comes of it to be chosen and committed.
        within_s = (agent.deadline_ms or 0) / 2000 if asked else 0.0
        invite = Invite(paths, asked, within_s)
        if invite != self._invited:
            self._invited = invite
            self.actor.send(framed(invite))

    def advise(self, counsel: Counsel) -> None:
        """What an adviser elsewhere would do, that the actor had asked."""
        self.actor.send(framed(counsel))

    def _load(self) -> None:
        """Give the actor the newest logged policy; the first time, also what waited for it."""
        newest, before = self._newest(), self._loaded
        if newest is None or newest.version == before:
            return
        path = policy_path(self._around.data, self.name, newest.sha256)
        self.actor.send(framed(Load(newest.version, str(path))))
        self._loaded = newest.version
        if before is not None:
            return
        self._limit()
        self.actor.send(framed(Greedy(on=not self._spec.agent.learning)))
        self._open = {number: step for number, step in self._open.items() if not step.chosen}
        for number, step in self._open.items():
            self._queue(number, step)

    def _actor_said(self, body: bytes) -> None:
        message: FromActor = decode_from_actor(body)
        if isinstance(message, Answers):
            self._answered(message)
            return
        if isinstance(message, Loaded):
            if message.error is not None:
                log.error("actor of %s: version %s: %s", self.name, message.version, message.error)
            return
        if isinstance(message, LastWords):
            self.actor.note(message.error)
            return
        self._elsewhere.add(message.id)
        self._around.consult(self.name, message)

    def _answered(self, answers: Answers) -> None:
        """Hand on what was chosen for the steps that are still open."""
        ids = unpacked(answers.ids)
        # All are taken first: who looks at `choosing` meanwhile waits for none of these.
        if self._elsewhere:
            self._elsewhere.difference_update(ids)
        steps = [self._open.pop(number, None) for number in ids]
        for step, choice in zip(steps, answers.choices, strict=True):
            if step is not None:
                self._around.choose(step, choice)

    def _trainer_opened(self) -> None:
        self._idle, self.waiting = False, 0

    def _trainer_said(self, body: bytes) -> None:
        said: FromTrainer = decode_from_trainer(body)
        if isinstance(said, Idle):
            self._idle, self.waiting = said.on, 0
        elif isinstance(said, Waiting):
            self.waiting = said.observations
        elif isinstance(said, LastWords):
            self.trainer.note(said.error)
        else:
            self._take(said)

    def _take(self, made: Made) -> None:
        """A new version: into the log first, then to the actor, so that no action precedes it."""
        verdict = self._around.heads.follow(self.name, made)
        if verdict is Verdict.ASTRAY:
            log.warning(
                "trainer of %s is not where the log is; it goes on from its last snapshot",
                self.name,
            )
            self.trainer.restart()
        if verdict is not Verdict.LOG:
            return
        events = []
        if made.update is not None:
            events.append(self._event(Kind.UPDATE, made.version, made.update))
        policy = self._event(Kind.POLICY, made.version, made.policy)
        events.append(policy)
        for device, fact in made.advised:
            event = self._event(Kind.ADVICE, made.version, fact)
            value = fact.total_reward if isinstance(fact, Advised) else None
            events.append(structs.replace(event, device=device, value=value))

        def committed(_seq: int) -> None:
            self._unlogged -= 1
            self._around.registry.apply(policy)
            self._load()

        self._unlogged += 1
        self._around.log.append(events, committed)

    def _beyond_memory(self, taken_mb: float) -> None:
        """End the trainer and say what to do; the newest version goes on acting."""
        agent = self._spec.agent
        on_policy = algorithm_of(agent).family == "on_policy"
        smaller = "n_steps, batch_size" if on_policy else "buffer_size, batch_size"
        message = (
            f"the trainer of agent {self.name!r} took {taken_mb:.0f} MB, memory_mb allows "
            f"{agent.memory_mb}: it was ended, and starts again after a growing wait; the policy "
            f"goes on acting. Give it a smaller {smaller} or net_arch, or a larger memory_mb"
        )
        log.error("%s", message)
        if not self._alerted:
            self._alerted = True
            self._alert(message)
        self.trainer.note(f"it took {taken_mb:.0f} MB, memory_mb allows {agent.memory_mb}")
        self.trainer.restart(at_fault=True)

    def _failing(self, process: str, meanwhile: str) -> None:
        message = (
            f"the {process} of agent {self.name!r} ended {FAILURES} times in a row and is started "
            f"again after a growing wait; meanwhile {meanwhile}. What the hub prints says why"
        )
        log.error("%s", message)
        self._alert(message)

    def _alert(self, message: str) -> None:
        alert = self._event(Kind.ADMIN, self._loaded, Alert(message))
        self._around.log.append([structs.replace(alert, reason=message)], lambda _: None)

    def _event(self, kind: Kind, version: int | None, fact: msgspec.Struct) -> Event:
        return Event(
            kind=kind,
            ts=self._around.clock.now_us(),
            agent=self.name,
            policy=version,
            payload=msgspec.json.encode(fact).decode(),
        )

    @property
    def seed(self) -> int:
        """Of the agent; another one means that it was restarted."""
        return self._spec.agent.seed

    @property
    def name(self) -> AgentName:
        """Of the agent."""
        return self._spec.agent.name


def _is_first(step: Step) -> bool:
    """Whether it follows no other. Not known once it is handed over: then a new actor is asked."""
    return bool(step.events) and bool(step.events[step.observation_at].first)
