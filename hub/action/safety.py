"""An agent's declared safety rules, and what they make of an action.

    rules = read_rules(spec)                             # checked when the agent is declared
    kept = rules.keep(wanted, observation, held, now_s)
    kept.action, kept.broken                             # () = it may be sent as it is

Of two rules that can't both be kept, the first here is:

    interlock   its action, as long as its condition holds, or can't be computed
    bounds      each component from `low` to `high`
    dwell       a component that changed lately stays
    rate        a component changes by so much at most from one action to the next

Interlocks and bounds hold for the fallback too. Dwell and rate do not: they spare a machine what a
policy may try, and the fallback is what its operator declared to be safe at any moment.

Pure, and without numpy: all of it runs on the hub's loop, in less than 10 µs an action.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.action.limits import float32_within, read_limits, read_locks
from hub.over_observation import Undefined
from hub.words import Floats

if TYPE_CHECKING:
    from hub.action.limits import Limit, Lock
    from hub.registry.fold import Spec
    from hub.step import Held

ORDER: Final = ("bounds", "dwell", "rate")


def read_rules(spec: Spec) -> Rules | None:
    """The rules of an agent, None when it declares none.

    Raises:
        OperatorFault: they make no sense for its spaces; the message says which and why.
    """
    safety = spec.agent.safety
    if safety is None:
        return None
    limits = read_limits(safety, spec.actions)
    return Rules(limits, read_locks(spec, safety, limits))


class Kept(Struct, frozen=True, gc=False):
    """What may be sent."""

    action: Floats | None
    broken: tuple[str, ...] = ()
    """The rules that the wanted action would have broken, in the order of the table above."""


class Rules:
    """One agent's rules."""

    def __init__(self, limits: list[Limit], locks: list[Lock]) -> None:
        self._limits = limits
        self._locks = locks
        self._numbers = struct.Struct(f"<{len(limits)}f")
        self._slow = any(
            limit.rate_max < math.inf or limit.dwell_s or limit.dwell_steps for limit in limits
        )
        """There is a rule about what was sent before."""

    def keep(self, wanted: Floats, observation: Floats, held: Held | None, now_s: float) -> Kept:
        """What may be sent of a policy's action.

        Args:
            wanted: float32 (m,), in the action space.
            observation: float32 (n,), what it answers.
            held: what the device was sent last; None = nothing yet.
            now_s: on the monotonic clock.
        """
        lock = self._lock(observation)
        if lock is not None:
            return Kept(wanted) if wanted == lock.action else Kept(lock.action, (lock.name,))
        broken: dict[str, None] = {}
        numbers = list(self._numbers.unpack(wanted))
        if held is not None and self._slow:
            for i, before in enumerate(self._numbers.unpack(held.action)):
                numbers[i], rule = self._slowed(i, numbers[i], before, held, now_s)
                if rule:
                    broken[rule] = None
        return self._bounded(wanted, numbers, broken)

    def keep_fallback(self, fallback: Floats | None, observation: Floats) -> Kept:
        """What may be sent of a declared fallback; None when no action is to be sent."""
        lock = self._lock(observation)
        if lock is not None:
            return Kept(fallback) if fallback == lock.action else Kept(lock.action, (lock.name,))
        if fallback is None:
            return Kept(None)
        return self._bounded(fallback, list(self._numbers.unpack(fallback)), {})

    def _lock(self, observation: Floats) -> Lock | None:
        for lock in self._locks:
            try:
                if lock.holds(observation):
                    return lock
            except Undefined:  # nobody knows that it is safe
                return lock
        return None

    def _slowed(
        self, i: int, number: float, before: float, held: Held, now_s: float
    ) -> tuple[float, str]:
        """The component by dwell and rate, and which of them changed it."""
        limit = self._limits[i]
        if number == before:
            return number, ""
        if held.actions[i] < limit.dwell_steps or now_s - held.since_s[i] < limit.dwell_s:
            return before, "dwell"
        if number > before + limit.rate_max:
            return float32_within(before + limit.rate_max, towards=before), "rate"
        if number < before - limit.rate_max:
            return float32_within(before - limit.rate_max, towards=before), "rate"
        return number, ""

    def _bounded(self, wanted: Floats, numbers: list[float], broken: dict[str, None]) -> Kept:
        for i, limit in enumerate(self._limits):
            if not limit.low <= numbers[i] <= limit.high:
                numbers[i] = min(max(numbers[i], limit.low), limit.high)
                broken["bounds"] = None
        if not broken:
            return Kept(wanted)
        return Kept(Floats(self._numbers.pack(*numbers)), tuple(sorted(broken, key=ORDER.index)))
