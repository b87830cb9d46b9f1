"""A Gymnasium space as an agent declares it, and whether an agent's fits an environment."""

from __future__ import annotations

import math
from typing import Any

import gymnasium

from hub import spaces
from hub.errors import OperatorFault
from hub.spaces import Box, Dict, Space, bounds


def declared(space: gymnasium.spaces.Space[Any], what: str) -> Any:
    """The space in the words of `agent create`.

    Raises:
        OperatorFault: there are none for it.
    """
    match space:
        case gymnasium.spaces.Discrete():
            n, start = int(space.n), int(space.start)
            return {"discrete": n, "start": start} if start else n
        case gymnasium.spaces.MultiDiscrete() if space.nvec.ndim == 1 and not space.start.any():
            return {"multi_discrete": [int(n) for n in space.nvec]}
        case gymnasium.spaces.MultiBinary() if isinstance(space.n, int):
            return {"multi_binary": space.n}
        case gymnasium.spaces.Box():
            dtype = "uint8" if space.dtype == "uint8" else "float32"
            shape = list(space.shape) or [1]
            return [shape, _bound(space.low), _bound(space.high), dtype]
        case gymnasium.spaces.Dict():
            return {name: declared(part, f"{what}.{name}") for name, part in space.items()}
    raise OperatorFault(f"{what} are {space}, which no agent can have (docs/device-maker.md)")


def check_fits(environment: Space, agent: Space, what: str) -> None:
    """Refuse an agent that would refuse what the environment sends, or tell it what it can't do.

    Observations may be of wider bounds than the environment's, actions of narrower.

    Raises:
        OperatorFault: it would.
    """
    wide, narrow = (environment, agent) if what == "actions" else (agent, environment)
    if not _holds(wide, narrow):
        raise OperatorFault(
            f"the {what} of the agent are {_shown(agent)}, those of the environment "
            f"{_shown(environment)}; choose another agent, or make one with --create"
        )


def _bound(numbers: Any) -> Any:
    """One number where all are the same; lists else."""
    flat = [_number(x) for x in numbers.ravel().tolist()]
    return flat[0] if len(set(flat)) == 1 else flat


def _number(x: float) -> Any:
    if abs(x) >= spaces.UNBOUNDED_FROM:
        return "inf" if x > 0 else "-inf"
    return x


def _holds(wide: Space, narrow: Space) -> bool:
    """Whether each value of the narrow space is one of the wide."""
    match wide, narrow:
        case Dict(parts), Dict(others):
            return parts.keys() == others.keys() and all(
                _holds(part, others[name]) for name, part in parts.items()
            )
        case (Dict(), _) | (_, Dict()):
            return False
        case Box(), Box() if wide.shape != narrow.shape:
            return False
        case _ if type(wide) is not type(narrow):
            return False
    lows, highs = bounds(wide)
    lows_in, highs_in = bounds(narrow)
    return len(lows) == len(lows_in) and all(
        low <= low_in and high_in <= high
        for low, high, low_in, high_in in zip(lows, highs, lows_in, highs_in, strict=True)
    )


def _shown(space: Space) -> str:
    if isinstance(space, Dict):
        return (
            "{" + ", ".join(f"{name}: {_shown(part)}" for name, part in space.spaces.items()) + "}"
        )
    lows, highs = bounds(space)
    kind = type(space).__name__
    if isinstance(space, Box):
        low, high = min(lows), max(highs)
        return f"{kind}{list(space.shape)} from {_short(low)} to {_short(high)}"
    counts = spaces.choices(space)
    return f"{kind}({', '.join(map(str, counts))})" + (f" from {lows[0]:.0f}" if lows[0] else "")


def _short(x: float) -> str:
    return f"{x:g}" if math.isfinite(x) else str(x)
