"""The writing side of one WebSocket: answers, in the order in which they are durable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bridge import errors
from hub.payloads import Act, act_of

if TYPE_CHECKING:
    from litestar.types import Send

    from hub.errors import DeviceFault
    from hub.words import Answer

CLOSE_NORMAL: Final = 1000
_encode: Final = msgspec.json.Encoder().encode


class ActFrame(Act, frozen=True, omit_defaults=True):
    """The answer to one observation, for one of the devices that share the socket."""

    device: str = ""


class Line:
    """What waits to be written, and how much waits to be answered.

    Args:
        send: ASGI's; it waits while the other side does not read.
        waiting_max: frames taken and not yet answered, above which no more are read.
    """

    def __init__(self, send: Send, waiting_max: int) -> None:
        self.waiting = 0
        """Frames taken whose answer has not been written."""
        self.closing = False
        self._send = send
        self._waiting_max = waiting_max
        self._unsent: list[tuple[bytes, bool]] = []
        """Frames, and whether each is the answer to one."""
        self._more = asyncio.Event()
        self._written = asyncio.Event()
        self._close_code = CLOSE_NORMAL

    def settle(self, frame: bytes) -> None:
        """The answer to one frame."""
        self._unsent.append((frame, True))
        self._more.set()

    def say(self, document: Any) -> None:
        """What answers no frame."""
        self._unsent.append((_encode(document), False))
        self._more.set()

    def refuse(self, fault: DeviceFault, device: str | None) -> None:
        """The problem document as the answer; `retry_s` where HTTP has Retry-After."""
        document = errors.document(fault, device=device)
        if fault.retry_s is not None:
            document["retry_s"] = fault.retry_s
        self.settle(_encode(document))

    def close(self, code: int) -> None:
        """Hang up once all is written."""
        self.closing = True
        self._close_code = code
        self._more.set()

    async def room(self, wait_s: float) -> bool:
        """Waits until one more frame may be taken; False = nothing was answered for `wait_s`."""
        try:
            while self.waiting >= self._waiting_max:
                self._written.clear()
                await asyncio.wait_for(self._written.wait(), wait_s)
        except TimeoutError:
            return False
        return True

    async def write(self) -> None:
        """Write as it comes, until told to close or the other side is gone."""
        while self._unsent or not self.closing:
            await self._more.wait()
            self._more.clear()
            frames, self._unsent = self._unsent, []
            for frame, answers in frames:
                await self._send({"type": "websocket.send", "bytes": None, "text": frame.decode()})
                self.waiting -= answers
            self._written.set()
        await self._send({"type": "websocket.close", "code": self._close_code, "reason": ""})


class StepReply:
    """A `hub.step.Reply` that becomes one frame."""

    __slots__ = ("_device", "_line")

    def __init__(self, line: Line, device: str) -> None:
        self._line = line
        self._device = device

    def durable(self, seq: int) -> None:
        """On disk; the frame waits for the action."""

    def act(self, answer: Answer) -> None:
        """On disk with its action."""
        act = act_of(answer)
        frame = ActFrame(act.s, act.a, act.pv, act.src, answer.seq, device=self._device)
        self._line.settle(_encode(frame))

    def warn(self, fault: DeviceFault) -> None:
        """Beside the answer."""
        self._line.say(errors.document(fault, device=self._device))

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Instead of the answer."""
        del acknowledge  # the frame says it
        self._line.refuse(fault, self._device)


class RewardReply(StepReply):
    """The same of a person's reward: being durable is all there is to say."""

    __slots__ = ()

    def durable(self, seq: int) -> None:
        """On disk."""
        self._line.settle(_encode({"seq": seq, "device": self._device}))
