"""What is measured of learners; read by the report, which needs no torch."""

from __future__ import annotations

from msgspec import Struct


class ActCost(Struct, frozen=True):
    """Choosing, from questions to answers, in one process."""

    algorithm: str
    alone_us: float
    """The middle of all that were asked one by one."""
    batch_us: float
    """Of each in a batch of 256, the middle batch."""
    frames_us: float
    """The same from the questions' frame to the answers', as the actor's process has them."""
    predict_us: float
    """The library's own `predict()` of one observation, drawing."""


class Lateness(Struct, frozen=True):
    """From when an observation was due to be sent to its action's arrival, over a socket."""

    training: str
    """What trains meanwhile in other processes at the trainers' priority; `nothing`."""
    actions: int
    p50_ms: float
    p99_ms: float
    max_ms: float


class Throughput(Struct, frozen=True):
    """The same transitions and gradient steps, in seconds of processor time."""

    algorithm: str
    transitions: int
    trainer_s: float
    """Events folded, trained on, and written as versions."""
    learn_s: float
    """SB3's `learn()` without its environment, acting included."""
    ratio: float
    """`learn_s / trainer_s`: what the trainer does while `learn()` does 1."""


class Refolded(Struct, frozen=True):
    """A policy made again from a DuckDB log of four devices."""

    algorithm: str
    transitions: int
    transitions_per_s: float
    """A second of processor time, reading the log included."""
    equal: bool
    """Every version came again, bit for bit."""
