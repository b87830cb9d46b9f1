"""How a device gets its next action: five protocols behind one call, and one way to retry.

    reply = await answered(exchange, said, clock=clock, pause=asyncio.sleep)

Rule 1: what was not answered is sent again, byte for byte, under the same step number: the hub
    knows a repeat by (device, boot, step) and gives the action it stored.
Rule 2: only a lost connection, a late answer and "busy" are retried. A refusal would be refused
    again, so it is the device's to deal with.
"""

from __future__ import annotations

import ssl
from collections import deque
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
from msgspec import Struct

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.clock import Clock
    from hub.payloads import Act

ANSWER_TIMEOUT_S: Final = 1.0
"""Four times the hub's default deadline; after it the step is repeated."""
PAUSE_S_FIRST: Final = 0.05
"""Before the first repeat; doubles each time."""
PAUSE_S_MAX: Final = 1.0
PATIENCE_S: Final = 60.0
"""Without an answer for so long a device gives up: longer than any restart of a hub."""

HALF_OPEN_MAX: Final = 4
"""Of one device, that the hub has not been told of."""


class Way(StrEnum):
    """How a device speaks to the hub."""

    MQTT = "mqtt"
    MQTT5 = "mqtt5"
    HTTP = "http"
    WS = "ws"
    SHEPHERD = "shepherd"


class Endpoint(Struct, frozen=True):
    """Where a hub is reached by one of the ways."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    """What the hub's certificate is checked by; None = plain text."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host  # RFC 3986, 3.2.2
        return f"{host}:{self.port}"


class Said(Struct, frozen=True, omit_defaults=True):
    """One observation as a device sends it, in the short names of docs/device-maker.md."""

    s: int
    o: Any
    """A number, a list nested as the space's shape, or a dict of those."""
    b: int = 0
    r: float | None = None
    d: int = 0
    tr: int = 0
    f: int = 0
    x: Any = None
    device: str | None = None
    """Native HTTP and WebSocket only; over MQTT the topic says it."""


class Busy(Exception):
    """Nothing can be made durable now; the same step may be sent again."""


class Exchange(Protocol):
    """One way to reach the hub. It connects when first used, and again after it was lost."""

    numbered: bool
    """Whether the hub is told step and boot; otherwise it counts arrivals."""
    ordered: bool
    """Whether all goes over one connection, in order, and is gone with it."""

    async def ask(self, said: Said) -> Act:
        """Send once and wait for the answer.

        Raises:
            OSError: connection lost, or no answer within `ANSWER_TIMEOUT_S`.
            Busy: try again later.
            DeviceFault: the hub refused the content.
            AccessDenied: the hub refused the key.
        """
        ...

    async def send(self, said: Said) -> None:
        """Send once more, and let the answer go; where that fails nobody is told."""
        ...

    def abandon(self) -> None:
        """Leave the connection half open: the hub is not told, and the next `ask` opens another."""
        ...

    def close(self) -> None:
        """Give all connections back; never raises."""
        ...


class HalfOpen:
    """Connections that were left half open; of too many the oldest are closed."""

    def __init__(self) -> None:
        self._closers: deque[Callable[[], None]] = deque()

    def keep(self, close: Callable[[], None]) -> None:
        """One more, with what closes it."""
        self._closers.append(close)
        if len(self._closers) > HALF_OPEN_MAX:
            self._closers.popleft()()

    def close(self) -> None:
        """Close all of them."""
        while self._closers:
            self._closers.popleft()()


class Answered(Struct, frozen=True):
    """An answer and what it took to get it."""

    act: Act
    latency_ms: float
    """From the first sending to the answer, all repeats included."""
    repeats: int


def unheeded(_: Exception) -> None:
    """Nobody asks why."""


async def answered(
    exchange: Exchange,
    said: Said,
    *,
    clock: Clock,
    pause: Callable[[float], Awaitable[object]],
    patience_s: float | None = PATIENCE_S,
    troubled: Callable[[Exception], None] = unheeded,
) -> Answered:
    """Ask until the hub has answered.

    Args:
        exchange: of the device.
        said: the same each time.
        clock: for the latency.
        pause: sleeps between two repeats.
        patience_s: after so long without an answer the device gives up; None = never.
        troubled: told why the step has to be sent again.

    Raises:
        DeviceFault, AccessDenied: as `Exchange.ask`.
        OperatorFault: the hub's certificate is not trusted.
        TimeoutError: no answer within `patience_s`.
    """
    started = clock.monotonic()
    pause_s = PAUSE_S_FIRST
    repeats = 0
    while True:
        try:
            act = await exchange.ask(said)
        except ssl.SSLCertVerificationError as error:
            raise OperatorFault(
                f"the hub's certificate is not accepted: {error.verify_message}; --ca names its "
                "authority (ca.pem, where 'sheepfold tls init' made it), --host a name or address "
                "that stands in it"
            ) from error
        except (OSError, Busy, msgspec.MsgspecError) as error:  # the last: no hub speaks there
            waited_s = clock.monotonic() - started
            if patience_s is not None and waited_s > patience_s:
                message = f"step {said.s} got no answer for {waited_s:.0f} s: {error}"
                raise TimeoutError(message) from error
            troubled(error)
            repeats += 1
            await pause(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
        else:
            return Answered(act, (clock.monotonic() - started) * 1000, repeats)
