"""How a device gets its next action: three protocols behind one call, and one way to retry.

    reply = answered(exchange, said, clock=clock, pause=time.sleep)

Rule 1: what was not answered is sent again, byte for byte, under the same step number: the hub
    knows a repeat by (device, boot, step) and gives the action it stored.
Rule 2: only a lost connection, a late answer and "busy" are retried. A refusal would be refused
    again, so it ends the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.payloads import Act

ANSWER_TIMEOUT_S: Final = 1.0
"""Four times the hub's default deadline; after it the step is repeated."""
PAUSE_S_FIRST: Final = 0.05
"""Before the first repeat; doubles each time."""
PAUSE_S_MAX: Final = 1.0
PATIENCE_S: Final = 60.0
"""Without an answer for so long a device gives up: longer than any restart of a hub."""


class Said(Struct, frozen=True, omit_defaults=True):
    """One observation as a device sends it, in the short names of docs/device-maker.md."""

    s: int
    o: list[float] | int
    b: int = 0
    r: float | None = None
    d: int = 0
    tr: int = 0
    f: int = 0
    x: list[float] | int | None = None
    device: str | None = None
    """Native HTTP only; over MQTT the topic says it."""


class Busy(Exception):
    """Nothing can be made durable now; the same step may be sent again."""


class Exchange(Protocol):
    """One way to reach the hub. It connects when first asked, and again after it was lost."""

    numbered: bool
    """Whether the hub is told step and boot; otherwise it counts arrivals."""

    def ask(self, said: Said) -> Act:
        """Send once and wait for the answer.

        Raises:
            OSError: connection lost, or no answer within `ANSWER_TIMEOUT_S`.
            Busy: try again later.
            DeviceFault: the hub refused the content.
            AccessDenied: the hub refused the key.
        """
        ...

    def close(self) -> None:
        """Give the connection back; never raises."""
        ...


class Answered(Struct, frozen=True):
    """An answer and what it took to get it."""

    act: Act
    latency_ms: float
    """From the first sending to the answer, all repeats included."""
    repeats: int


def answered(
    exchange: Exchange, said: Said, *, clock: Clock, pause: Callable[[float], None]
) -> Answered:
    """Ask until the hub has answered.

    Raises:
        DeviceFault, AccessDenied: as `Exchange.ask`.
        TimeoutError: no answer within `PATIENCE_S`.
    """
    started = clock.monotonic()
    pause_s = PAUSE_S_FIRST
    repeats = 0
    while True:
        try:
            act = exchange.ask(said)
        except (OSError, Busy) as error:
            waited_s = clock.monotonic() - started
            if waited_s > PATIENCE_S:
                message = f"step {said.s} got no answer for {waited_s:.0f} s: {error}"
                raise TimeoutError(message) from error
            repeats += 1
            pause(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        else:
            return Answered(act, (clock.monotonic() - started) * 1000, repeats)
