"""A step becomes an action that is on disk, and then an answer.

Rule 1: nothing is acknowledged and no action leaves before it is durable.
Rule 2: a step is answered once; whoever chooses second is too late, and the log says so.
Rule 3: by the deadline somebody has chosen: the policy, or the agent's declared fallback. Only an
    external agent may have none: its remote learner takes as long as it takes.
Rule 4: whoever chose, the guard has looked at it; what it made of it is what is logged and sent.

    begin ─▶ ask the actor ─┬─ answer ─────────────▶ one commit: observation + action ─▶ answer
                            ├─ grace over: observation alone; the action follows in a later commit
                            ├─ deadline: fallback ─▶ commit ─▶ answer
                            └─ no commit in time: `busy`, and nothing else
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Final, Protocol

from hub.action.fallback import fallback
from hub.counts import Counts
from hub.errors import DeviceFault
from hub.spaces import unflatten
from hub.step import Choice
from hub.words import Answer, Code, Event, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.action.guard import Guard
    from hub.clock import Clock
    from hub.settings import StepSettings
    from hub.step import Appender, Step, Timer
    from hub.words import Agent, AgentName

MICROSECONDS: Final = 1_000_000


def _nobody(_: Step) -> Choice | None:
    """No person acts for any device."""
    return None


class Actors(Protocol):
    """The actors of all agents: `External`, which asks `Pool`, which asks an agent's `Pair`."""

    def ask(self, step: Step) -> str | None:
        """Have an action chosen; the answer comes to `Deliver.choose`.

        Returns why there is no use in waiting, None when an answer can be expected.
        """
        ...


class Deliver:
    """Steps between their arrival and their answer."""

    def __init__(
        self,
        log: Appender,
        actors: Actors,
        clock: Clock,
        settings: StepSettings,
        call_later: Callable[[float, Callable[[Step], None], Step], Timer],
        guard: Guard,
        override: Callable[[Step], Choice | None] = _nobody,
    ) -> None:
        self._log = log
        self._actors = actors
        self._clock = clock
        self._settings = settings
        self._call_later = call_later
        self._guard = guard
        self._override = override
        """A person's choice, where one acts for the device."""
        self._newest: dict[str, Step] = {}
        """Each device's newest step that is not answered yet."""
        self.waiting = 0
        """Steps begun and not yet answered."""
        self.idle = asyncio.Event()
        """Set while no step waits."""
        self.idle.set()
        self.fallbacks = 0
        """Steps that the fallback acted for."""
        self.counts: defaultdict[AgentName, Counts] = defaultdict(Counts)
        """What was answered for each agent since the hub started, and how long it took."""

    def begin(self, step: Step) -> None:
        """Take a placed step on; one that was repeated after `busy` is on its way already."""
        if step.chosen:
            step.timer = self._call_later(self._settings.commit_s_max, self._busy, step)
            return
        self.waiting += 1
        self.idle.clear()
        # CRUCIAL: a device's observations are logged in the order it sent them, however their
        # actors answer; what the log has last is where its counter stands.
        before = self._newest.get(step.device.id)
        if before is not None:
            self.log_alone(before)
        self._newest[step.device.id] = step
        if step.ends_episode:
            step.chosen = True
            step.timer = self._call_later(self._settings.commit_s_max, self._busy, step)
            self._send(step, None)
            return
        agent = step.agent.agent
        step.timer = self._call_later(self._grace_s(agent), self._grace_over, step)
        paused = agent.status == "paused" or self._guard.pausing(agent.name)
        hopeless = "paused" if paused else None
        override = None if paused else self._override(step)
        if override is not None:
            self.choose(step, override)
            return
        if hopeless is None and self.waiting > self._settings.waiting_max:
            hopeless = "too many steps are waiting"
        hopeless = hopeless or self._actors.ask(step)
        if hopeless is not None:
            self.fall_back(step, hopeless)

    @property
    def answered(self) -> int:
        """Steps, since the hub started."""
        return sum(sum(counts.sent.values()) for counts in self.counts.values())

    @property
    def crowded(self) -> bool:
        """Too much is waiting for the log: nothing new should be chosen that can wait."""
        return self._log.crowded

    def choose(self, step: Step, choice: Choice) -> None:
        """An action for the step: have it checked, log it, and send it once it is durable."""
        now = self._clock.monotonic()
        latency_us = int((now - step.arrived) * MICROSECONDS)
        late = step.chosen
        if not late:
            choice = self._guard.check(step, choice)
        event = Event(
            kind=Kind.REFUSED if late else Kind.ACTION,
            ts=self._clock.now_us(),
            agent=step.agent.agent.name,
            device=step.device.id,
            session=step.session,
            boot=step.boot,
            step=step.number,
            action=choice.action,
            policy=choice.policy,
            logprob=choice.logprob,
            value=choice.value,
            source=choice.source,
            reason="late" if late else choice.reason,
            latency_us=latency_us,
            payload=choice.payload,
        )
        if late:
            self._log.append([event], _ignore)
            return
        step.chosen = True
        if step.agent.agent.deadline_ms is None and step.timer is not None:
            step.timer.cancel()  # from now on the commit is bounded, as it is after a deadline
            step.timer = self._call_later(self._settings.commit_s_max, self._busy, step)
        step.device.last_action = choice.action or step.device.last_action
        if choice.source is Source.FALLBACK:
            self.fallbacks += 1
        self._send(step, event)

    def _send(self, step: Step, action: Event | None) -> None:
        """To the log, with the observation if that has not gone yet; to the device when durable."""
        events, step.events = step.events, []
        went_before = not events
        if action is not None:
            events.append(action)

        def committed(first: int) -> None:
            if not went_before:
                self._observation_durable(step, first + step.observation_at)
            self._answer(step, action)

        if events:
            self._log.append(events, committed)
        else:
            self._answer(step, action)

    def _grace_over(self, step: Step) -> None:
        """The actor is slow: the observation goes alone, so that it is acknowledged meanwhile."""
        waited_s = self._clock.monotonic() - step.arrived
        if step.chosen:  # chosen, but not yet durable
            step.timer = self._call_later(self._settings.commit_s_max, self._busy, step)
            return
        deadline_ms = step.agent.agent.deadline_ms
        if deadline_ms is None:
            step.timer = self._call_later(self._settings.commit_s_max, self._not_durable, step)
        else:
            left_s = max(0.0, deadline_ms / 1000 - waited_s)
            step.timer = self._call_later(left_s, self._deadline, step)
        self.log_alone(step)

    def _grace_s(self, agent: Agent) -> float:
        grace_ms, deadline_ms = self._settings.grace_ms, agent.deadline_ms
        return (grace_ms if deadline_ms is None else min(grace_ms, deadline_ms)) / 1000

    def log_alone(self, step: Step) -> None:
        """The observation without its action, if it has not gone yet."""
        events, step.events = step.events, []
        if events:
            self._log.append(
                events, lambda first: self._observation_durable(step, first + step.observation_at)
            )

    def _deadline(self, step: Step) -> None:
        step.timer = self._call_later(self._settings.commit_s_max, self._busy, step)
        if not step.chosen:
            self.fall_back(step, "deadline")

    def _not_durable(self, step: Step) -> None:
        """Without a deadline only the observation's commit is bounded."""
        if not step.chosen and not step.seq:
            step.timer = self._call_later(self._settings.commit_s_max, self._not_durable, step)
            self._say_busy(step)

    def _busy(self, step: Step) -> None:
        """The log does not commit. What was promised is kept: no answer that is not durable."""
        step.timer = None
        self._say_busy(step)

    def _say_busy(self, step: Step, why: str = "the log can't commit now") -> None:
        fault = DeviceFault(Code.BUSY, f"{why}; send the same step again", step=step.wire_number)
        for reply in step.replies:
            reply.refuse(fault, acknowledge=False)

    def close(self) -> None:
        """The hub does not wait any more for those who were asked."""
        for step in list(self._newest.values()):
            if not step.chosen:
                self.put_off(step)

    def put_off(self, step: Step) -> None:
        """Nobody chooses for it before the hub ends: its device is told to come again."""
        assert not step.chosen, "what was chosen is sent"
        step.chosen = True  # whoever does now is too late
        if step.timer is not None:
            step.timer.cancel()
            step.timer = None
        self._say_busy(step, "the hub is stopping")
        self._rest()

    def fall_back(self, step: Step, reason: str) -> None:
        """The agent's declared fallback is the choice, for this reason."""
        action = fallback(step)
        self.choose(step, Choice(action, Source.FALLBACK, reason=reason))

    def _observation_durable(self, step: Step, seq: int) -> None:
        step.seq = seq
        for reply in step.replies:
            reply.durable(seq)

    def _answer(self, step: Step, action: Event | None) -> None:
        values = None if action is None else action.action
        step.answer = Answer(
            step=step.wire_number,
            action=None if values is None else unflatten(step.agent.actions, values),
            seq=step.seq,
            policy=None if action is None else action.policy,
            source=None if action is None else action.source,
            values=values,
        )
        if step.timer is not None:
            step.timer.cancel()
            step.timer = None
        if self._newest.get(step.device.id) is step:
            del self._newest[step.device.id]
        self._rest()
        waited_s = self._clock.monotonic() - step.arrived
        self.counts[step.agent.agent.name].answer(action, waited_s)
        for reply in step.replies:
            reply.act(step.answer)
        step.replies.clear()
        step.device.settle(step)

    def _rest(self) -> None:
        """One step less waits."""
        self.waiting -= 1
        if not self.waiting:
            self.idle.set()


def _ignore(_seq: int) -> None:
    """A late action changes nothing for anyone."""
