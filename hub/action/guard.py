"""What stands between whoever chose an action and the device: no action passes unseen.

    choice = guard.check(step, choice)

1. An action that is not finite or not of the action space never leaves: the agent is paused.
2. An action by a policy that is too old, or of an agent that is being paused, becomes the fallback.
3. What breaks a declared rule is clamped; the log keeps what was wanted beside what was sent.
4. A policy that is clamped again and again, where its operator says so, is paused.

A pause is an act of the hub in the log, as one of an operator would be; until it is durable and
folded the guard itself lets nothing of the policy through. An agent without rules pays for (1) and
one look at `safety`.
"""

from __future__ import annotations

import logging
import struct
from math import isfinite
from operator import le
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import structs

from hub.action.fallback import fallback
from hub.action.safety import read_rules
from hub.errors import DeviceFault
from hub.facts import Alert
from hub.spaces import Box, Discrete, check_floats
from hub.step import Choice, Held
from hub.words import FLOAT_BYTES, Event, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.action.safety import Kept, Rules
    from hub.clock import Clock
    from hub.registry.fold import Registry, Spec
    from hub.spaces import Space
    from hub.step import Step
    from hub.words import AgentName, Floats, Safety

log: Final = logging.getLogger("hub.action")

MICROSECONDS: Final = 1_000_000
_one: Final = struct.Struct("<f").unpack


class Pausing(Protocol):
    """A pause on its way into the log; an `asyncio.Task` is one."""

    def done(self) -> bool:
        """Whether it is folded, or has failed."""
        ...


class Guard:
    """The safety of all agents.

    Args:
        registry: knows the versions of each policy.
        clock: the hub's.
        pause: logs an alert and pauses its agent.
    """

    def __init__(self, registry: Registry, clock: Clock, pause: Callable[[Event], Pausing]) -> None:
        self._registry = registry
        self._clock = clock
        self._pause = pause
        self._rules: dict[AgentName, tuple[Spec, Rules]] = {}
        self._pausing: dict[AgentName, Pausing] = {}
        self.clamped = 0
        """Actions that were not what the policy wanted, since start."""
        self.alerts = 0
        """Agents paused by the hub, since start."""

    def check(self, step: Step, choice: Choice) -> Choice:
        """What may be sent for the step instead of the choice; mostly the choice itself."""
        agent = step.agent.agent
        if choice.source is not Source.FALLBACK:
            wrong = _outside(step.agent, choice)
            if wrong is not None:
                self.alert(step, f"its policy chose an action that is none: {wrong}", choice)
                choice = _replaced(step, choice, wrong)
            elif self._pausing and self.pausing(agent.name):
                choice = _replaced(step, choice, "paused")
        if agent.safety is None:
            return choice
        return self._keep(step, choice, agent.safety)

    def pausing(self, name: AgentName) -> bool:
        """The hub has stopped this agent, and nobody has resumed it since."""
        pausing = self._pausing.get(name)
        if pausing is None:
            return False
        spec = self._registry.agents.get(name)
        if pausing.done() and (spec is None or spec.agent.status == "active"):
            del self._pausing[name]  # resumed, or the pause failed and the next alert tries again
            return False
        return True

    def alert(self, step: Step, message: str, choice: Choice) -> None:
        """Pause the agent and tell the operator, once."""
        name = step.agent.agent.name
        if self.pausing(name):
            return
        message = f"agent {name!r} is paused after device {step.device.id!r}: {message}"
        log.error("%s; 'sheepfold agent resume %s' lets it act again", message, name)
        self.alerts += 1
        event = Event(
            kind=Kind.ADMIN,
            ts=self._clock.now_us(),
            agent=name,
            device=step.device.id,
            session=step.session,
            boot=step.boot,
            step=step.number,
            policy=choice.policy,
            reason=message,
            payload=msgspec.json.encode(Alert(message)).decode(),
        )
        self._pausing[name] = self._pause(event)

    def _keep(self, step: Step, choice: Choice, safety: Safety) -> Choice:
        """The choice by the agent's rules, remembered as what the device was sent."""
        now_s = self._clock.monotonic()
        device = step.device
        # CRUCIAL: by identity. An action sent while there were no rules is another object, and
        # for how long its components have stood is not known.
        if device.held is not None and device.held.action is not device.last_action:
            device.held = None
        if device.held is None and device.last_action is not None:
            device.held = Held(device.last_action, now_s)
        if choice.source is not Source.FALLBACK:
            stale = self._stale(step.agent, choice, safety)
            if stale is not None:
                choice = _replaced(step, choice, stale)
        by_person = choice.source is Source.OVERRIDE
        choice = self._kept(step, choice, now_s)
        if device.held is not None:
            device.held.send(choice.action, now_s)
        elif choice.action is not None:
            device.held = Held(choice.action, now_s)
        if device.held is not None and not by_person:  # whose wish says nothing of the policy
            self._count(step, choice, device.held, safety)
        return choice

    def _kept(self, step: Step, choice: Choice, now_s: float) -> Choice:
        rules = self._rules_of(step.agent)
        observation = step.observation.values
        if choice.source is Source.FALLBACK or choice.action is None:
            kept = rules.keep_fallback(choice.action, observation)
            reasons = (choice.reason, *kept.broken)
            reason = "; ".join(reason for reason in reasons if reason) or None
            return structs.replace(choice, action=kept.action, reason=reason)
        kept = rules.keep(choice.action, observation, step.device.held, now_s)
        return _clamped(choice, kept) if kept.broken else choice

    def _count(self, step: Step, choice: Choice, held: Held, safety: Safety) -> None:
        if choice.source is not Source.CLAMP:
            held.clamps = 0
            return
        self.clamped += 1
        held.clamps += 1
        if safety.clamps_max is not None and held.clamps >= safety.clamps_max:
            held.clamps = 0
            times = f"{safety.clamps_max} times in a row, last by: {choice.reason}"
            self.alert(step, f"its policy's action was clamped {times}", choice)

    def _stale(self, spec: Spec, choice: Choice, safety: Safety) -> str | None:
        """Why the policy is too old to act; None when it is not."""
        if choice.policy is None:
            return None
        newest = self._registry.policies.get(spec.agent.name)
        behind = 0 if newest is None else newest.version - choice.policy
        if safety.versions_behind_max is not None and behind > safety.versions_behind_max:
            return f"stale: policy {choice.policy} is {behind} versions behind"
        if safety.policy_age_s_max is not None:
            made_us = self._registry.made_us(spec.agent.name, choice.policy)
            age_s = 0.0 if made_us is None else (self._clock.now_us() - made_us) / MICROSECONDS
            if age_s > safety.policy_age_s_max:
                return f"stale: policy {choice.policy} is {age_s:.0f} s old"
        return None

    def _rules_of(self, spec: Spec) -> Rules:
        """Read once for each declaration; it was checked when it was made."""
        known = self._rules.get(spec.agent.name)
        if known is not None and known[0] is spec:
            return known[1]
        rules = read_rules(spec)
        assert rules is not None, "only asked for an agent that declares some"
        self._rules[spec.agent.name] = (spec, rules)
        return rules


def _outside(spec: Spec, choice: Choice) -> str | None:
    """Why the action is none of the agent's action space; None when it is one."""
    if choice.action is None or _fits(spec.actions, choice.action):
        return None
    try:
        check_floats(spec.actions, choice.action, what="action")
    except DeviceFault as fault:
        return fault.message
    return None


def _fits(space: Space, action: Floats) -> bool:
    """Whether it is surely of the space; a third of the time of asking what is wrong with it."""
    if isinstance(space, Discrete):
        if len(action) != FLOAT_BYTES:
            return False
        number: float = _one(action)[0]
        return 0 <= number < space.n and number % 1 == 0
    if not isinstance(space, Box) or len(action) != len(space.low) * FLOAT_BYTES:
        return False
    numbers = struct.unpack(f"<{len(space.low)}f", action)
    return (
        all(map(le, space.low, numbers))
        and all(map(le, numbers, space.high))
        and all(map(isfinite, numbers))
    )


def _replaced(step: Step, choice: Choice, reason: str) -> Choice:
    """The fallback instead of the choice, which is kept beside it."""
    action = fallback(step)
    payload = _with_wanted(choice)
    return Choice(action, Source.FALLBACK, reason=reason, payload=payload)


def _clamped(choice: Choice, kept: Kept) -> Choice:
    """Version, log-probability and value stay those of what was wanted."""
    person = [choice.reason] if choice.source is Source.OVERRIDE and choice.reason else []
    return structs.replace(
        choice,
        action=kept.action,
        source=Source.CLAMP,
        reason=", ".join((*person, *kept.broken)),
        payload=_with_wanted(choice),
    )


def _with_wanted(choice: Choice) -> str:
    """The choice's payload with what it wanted: `{"wanted":[…]}`, beside a policy's `raw` sample.

    A number that JSON has no word for is null. Beside a person's wish stands `"by"`, who it was:
    after a restart it still says nothing of the policy.
    """
    beside: dict[str, Any] = {} if choice.payload is None else msgspec.json.decode(choice.payload)
    wanted = _numbers(choice.action or b"")
    by = {"by": choice.reason} if choice.source is Source.OVERRIDE else {}
    return msgspec.json.encode(beside | {"wanted": wanted} | by).decode()


def _numbers(action: Floats | bytes) -> list[float]:
    count = len(action) // FLOAT_BYTES
    return list(struct.unpack(f"<{count}f", action[: count * FLOAT_BYTES]))
