"""What a device is told when no policy answered in time, or none may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.spaces import flatten, neutral

if TYPE_CHECKING:
    from hub.registry.fold import Spec
    from hub.words import Floats

HOLD = "hold"
NONE = "none"


def fallback(spec: Spec, last_action: Floats | None, *, must_act: bool = False) -> Floats | None:
    """The agent's declared fallback: the last action again, a constant, or None for `none`.

    `must_act`: the protocol knows no "no action" (Shepherd); `none` is then taken as `hold`.
    """
    declared = spec.agent.fallback
    if declared == NONE and not must_act:
        return None
    if declared in (HOLD, NONE):
        return neutral(spec.actions) if last_action is None else last_action
    return flatten(spec.actions, declared, what="fallback")
