"""A person acts for a device: what it is told until then is the person's choice, not its agent's.

Rule 1: an override is in the log, under the person's name, before it acts; and so is its end.
Rule 2: it ends by itself, so that no forgotten setpoint keeps an agent from acting and learning.
Rule 3: it is a choice as others are: the guard looks at it, the log has it as `override`, and the
    learner knows that no policy drew it. While its agent is paused the fallback acts, as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from hub.errors import DeviceFault
from hub.facts import Overridden
from hub.mask import allowed
from hub.spaces import flatten
from hub.step import Choice
from hub.words import Code, DeviceId, Event, Floats, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.intake.session import Session
    from hub.registry.fold import Override, Registry, Spec
    from hub.step import Appender, Step

MICROSECONDS: Final = 1_000_000
OFF: Final = b"OFF"
"""The agent acts again."""


class Overrides:
    """Of all devices.

    Args:
        registry: has those in force, folded from the log.
        log: where they go first.
        clock: the hub's.
        lasts_s: an override ends after so long.
    """

    def __init__(self, registry: Registry, log: Appender, clock: Clock, lasts_s: float) -> None:
        self._registry = registry
        self._log = log
        self._clock = clock
        self._lasts_us = int(lasts_s * MICROSECONDS)

    def take(
        self, session: Session, payload: bytes, committed: Callable[[int], None], *, by: str
    ) -> None:
        """What a person published: an action of the device's agent, as JSON, or `OFF`.

        `committed` is called once the log has it; then it is in force.

        Raises:
            DeviceFault: it is no such action, or `busy`: nothing can be made durable now.
        """
        spec = self._registry.agents.get(session.agent)
        if spec is None:
            raise DeviceFault(Code.AUTH, f"agent {session.agent!r} was deleted")
        action = None if payload.strip().upper() == OFF else _action(spec, payload)
        if self._log.crowded:
            raise DeviceFault(Code.BUSY, "the log is behind; send the override again")
        now_us = self._clock.now_us()
        until_us = now_us if action is None else now_us + self._lasts_us
        event = Event(
            kind=Kind.ADMIN,
            ts=now_us,
            agent=session.agent,
            device=session.device.id,
            action=action,
            payload=msgspec.json.encode(Overridden(until_us, by)).decode(),
        )

        def folded(seq: int) -> None:
            self._registry.apply(event)
            committed(seq)

        self._log.append([event], folded)

    def choose(self, step: Step) -> Choice | None:
        """The person's choice for the step; None = nobody acts for its device.

        What the device does not allow at this step becomes the first choice that it does allow.
        """
        override = self.of(DeviceId(step.device.id))
        if override is None or override.agent != step.agent.agent.name:
            return None
        action = allowed(step.agent.actions, override.action, step.observation.mask)
        return Choice(action, Source.OVERRIDE, reason=override.by)

    def of(self, device: DeviceId) -> Override | None:
        """The one in force."""
        override = self._registry.overrides.get(device)
        if override is None or override.until_us <= self._clock.now_us():
            return None
        return override


def _action(spec: Spec, payload: bytes) -> Floats:
    try:
        action: Any = msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = f"override: neither JSON nor OFF: {error}"
        raise DeviceFault(Code.PAYLOAD, why) from error
    return flatten(spec.actions, action, what="override")
