"""What a simulated device tells its parent: JSON lines on stdout and in the acknowledged file."""

from __future__ import annotations

from msgspec import Struct


class Progress(Struct, frozen=True):
    """What a device did since its last line, and in all."""

    device: str
    steps: int
    """Acknowledged, in all."""
    repeats: int
    """Sendings beyond the first of a step, in all."""
    returns: list[float]
    """Of the episodes that ended since the last line."""
    latencies_ms: list[float]
    """Of the steps since the last line."""
    policy: int | None
    """Newest version an answer named."""


class Acknowledged(Struct, frozen=True):
    """One step the hub answered: durable, so it must be in the log."""

    device: str
    boot: int | None
    """None where the hub numbers the steps; `step` is then the device's own count, `info.n`."""
    step: int
    action: int | list[float] | None
    seq: int | None = None
    """Where the protocol tells it."""
