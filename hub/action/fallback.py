"""What a device is told when no policy answered in time, or none may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.mask import allowed
from hub.spaces import flatten, neutral

if TYPE_CHECKING:
    from hub.step import Step
    from hub.words import Floats

HOLD = "hold"
NONE = "none"


def fallback(step: Step) -> Floats | None:
    """The agent's declared fallback: the last action again, a constant, or None for `none`.

    Where the protocol knows no "no action" (Shepherd) `none` is taken as `hold`. What the device
    does not allow at this step becomes the first choice that it does allow.
    """
    action = _declared(step)
    return None if action is None else allowed(step.agent.actions, action, step.observation.mask)


def _declared(step: Step) -> Floats | None:
    spec, last_action = step.agent, step.device.last_action
    declared = spec.agent.fallback
    if declared == NONE and not step.must_act:
        return None
    if declared in (HOLD, NONE):
        return neutral(spec.actions) if last_action is None else last_action
    return flatten(spec.actions, declared, what="fallback")
