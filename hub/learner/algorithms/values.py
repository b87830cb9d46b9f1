"""What the text of a parameter means: a reader for each kind of value, or a refusal that helps.

    READERS["schedule"]("learning_rate", "lin_1e-3_1e-4")     # Fall(0.001, 0.0001)

A reader is given the parameter's name too, for what it refuses and for the bounds of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from hub.errors import OperatorFault
from hub.learner.algorithms.row import Activation, Argument, Fall

ACTIVATIONS: Final[dict[str, Activation]] = {
    "tanh": "tanh",
    "relu": "relu",
    "elu": "elu",
    "leaky_relu": "leaky_relu",
}
LAYERS_MAX: Final = 8
LAYER_WIDTH_MAX: Final = 4096
COUNT_MAX: Final = 10_000_000
FALL_PREFIX: Final = "lin_"
NOISE_PREFIX: Final = "normal_"
DRIFT_PREFIX: Final = "ou_"
TRUTHS: Final = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
SHARES: Final = {
    "gamma",
    "gae_lambda",
    "tau",
    "exploration_fraction",
    "exploration_initial_eps",
    "exploration_final_eps",
}
"""Numbers that are never above 1."""
MINIMA: Final = {
    "device_slots": 0,
    "gradient_steps": -1,
    "learning_starts": 0,
    "n_steps": 2,
    "batch_size": 2,
    "sde_sample_freq": -1,
    "guard_episodes": 5,
    "guard_forks": 0,
}
"""Least values of whole numbers where it is not 1. -1 gradient steps = as many as transitions."""
MAXIMA: Final = {"device_slots": 4096, "guard_episodes": 1000, "guard_forks": 64}
"""Greatest values where it is not `COUNT_MAX`."""


def whole(name: str, text: str) -> int:
    """A whole number from its least value up."""
    least = MINIMA.get(name, 1)
    try:
        value = int(text)
    except ValueError:
        raise OperatorFault(f"{name} is a whole number, not {text!r}") from None
    most = MAXIMA.get(name, COUNT_MAX)
    if not least <= value <= most:
        raise OperatorFault(f"{name} is between {least} and {most}, not {value}")
    if value == 0 and name == "gradient_steps":
        raise OperatorFault("gradient_steps 0 never learns; -1 means as many as transitions")
    return value


def number(name: str, text: str) -> float:
    """A finite number from 0 up; `target_entropy` may be below it."""
    try:
        value = float(text)
    except ValueError:
        raise OperatorFault(f"{name} is a number, not {text!r}") from None
    if not math.isfinite(value) or (value < 0 and name != "target_entropy"):
        raise OperatorFault(f"{name} is a finite number from 0 up, not {text!r}")
    if name in SHARES and value > 1:
        raise OperatorFault(f"{name} is between 0 and 1, not {text!r}")
    return value


def truth(name: str, text: str) -> bool:
    """True or false."""
    if text.lower() not in TRUTHS:
        raise OperatorFault(f"{name} is true or false, not {text!r}")
    return TRUTHS[text.lower()]


def switch(name: str, text: str) -> bool:
    """`on` or `off`."""
    if text not in ("on", "off"):
        raise OperatorFault(f"{name} is on or off, not {text!r}")
    return text == "on"


def _schedule(name: str, text: str) -> float | Fall:
    if not text.startswith(FALL_PREFIX):
        return number(name, text)
    start, _, end = text.removeprefix(FALL_PREFIX).partition("_")
    return Fall(number(name, start), number(name, end or "0"))


def _automatic(name: str, text: str) -> str | float:
    head, _, start = text.partition("_")
    if head != "auto":
        return number(name, text)
    if start and (name != "ent_coef" or number(name, start) == 0):
        raise OperatorFault(f"{name} is a number, or auto, not {text!r}")
    return text


def noise(name: str, text: str) -> float:
    """Standard deviation of the noise, 0 = none; whether it drifts is said by `DRIFT_PREFIX`."""
    if text.lower() == "none":
        return 0.0
    for prefix in (NOISE_PREFIX, DRIFT_PREFIX):
        if text.startswith(prefix):
            return number(name, text.removeprefix(prefix))
    raise OperatorFault(
        f"{name} is normal_0.1 (its standard deviation), ou_0.1 (Ornstein-Uhlenbeck) or none, "
        f"not {text!r}"
    )


def layers(name: str, text: str) -> tuple[int, ...]:
    """Widths of the hidden layers, the first one first; empty = none."""
    widths = tuple(whole(name, part) for part in text.split(",")) if text else ()
    if len(widths) > LAYERS_MAX or any(width > LAYER_WIDTH_MAX for width in widths):
        raise OperatorFault(f"{name} is at most {LAYERS_MAX} widths of at most {LAYER_WIDTH_MAX}")
    return widths


def state_width(name: str, texts: dict[str, str]) -> int:
    """Of an LSTM; 0 where the algorithm has none."""
    width = whole(name, texts[name]) if name in texts else 0
    if width > LAYER_WIDTH_MAX:
        raise OperatorFault(f"{name} is at most {LAYER_WIDTH_MAX}, not {width}")
    return width


def activation(name: str, text: str) -> Activation:
    """What stands behind each hidden layer."""
    if text not in ACTIVATIONS:
        raise OperatorFault(f"{name} is one of {', '.join(ACTIVATIONS)}, not {text!r}")
    return ACTIVATIONS[text]


def _or_none(read: Callable[[str, str], Argument]) -> Callable[[str, str], Argument]:
    return lambda name, text: None if text.lower() == "none" else read(name, text)


READERS: Final[dict[str, Callable[[str, str], Argument]]] = {
    "int": whole,
    "float": number,
    "bool": truth,
    "schedule": _schedule,
    "auto": _automatic,
    "float?": _or_none(number),
    "schedule?": _or_none(_schedule),
}
"""How each kind in the table is read from text."""
