"""Waits, for one request, until its step is answered or refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from hub.errors import DeviceFault
from hub.words import Code

if TYPE_CHECKING:
    from hub.words import Answer

WAIT_S_BESIDE: Final = 2.0
"""Over the deadline, if there is one: all is answered by then, or the log is down."""


class HttpReply:
    """A `hub.step.Reply` whose end is a future."""

    __slots__ = ("_done", "warning")

    def __init__(self) -> None:
        self.warning: str | None = None
        """What of the observation was not taken as it was sent."""
        self._done: asyncio.Future[Answer | int] = asyncio.get_running_loop().create_future()

    def durable(self, seq: int) -> None:
        """On disk; the request's answer waits for its action."""

    def act(self, answer: Answer) -> None:
        """On disk with its action."""
        if not self._done.done():
            self._done.set_result(answer)

    def warn(self, fault: DeviceFault) -> None:
        """It goes with the answer."""
        self.warning = fault.message if self.warning is None else f"{self.warning}; {fault.message}"

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Refused, or not durable in time."""
        del acknowledge  # the status says it
        if not self._done.done():
            self._done.set_exception(fault)

    async def answer(self, deadline_ms: int | None) -> Answer:
        """The answer; without a deadline it is waited for as long as it takes.

        Raises:
            DeviceFault: it was refused; `busy` when nothing can be made durable now.
        """
        timer = None
        if deadline_ms is not None:  # a timer, for `asyncio.timeout` takes three times as long
            wait_s = deadline_ms / 1000 + WAIT_S_BESIDE
            timer = asyncio.get_running_loop().call_later(wait_s, self._give_up)
        try:
            answer = await self._done
        except asyncio.CancelledError:  # by the server's shutdown, and by nothing else
            message = "the hub is stopping; send the same step again"
            raise DeviceFault(Code.BUSY, message) from None
        finally:
            if timer is not None:
                timer.cancel()
        assert not isinstance(answer, int), "a step is answered, a reward is only made durable"
        return answer

    def _give_up(self) -> None:
        message = "the log can't commit now; send the same step again"
        self.refuse(DeviceFault(Code.BUSY, message), acknowledge=False)


class DurableReply(HttpReply):
    """The reply to a login or a person's reward: being durable is all there is to say."""

    __slots__ = ()

    def durable(self, seq: int) -> None:
        """On disk."""
        if not self._done.done():
            self._done.set_result(seq)

    async def seq(self) -> int:
        """Where it stands in the log.

        Raises:
            DeviceFault: as `answer`.
        """
        try:
            async with asyncio.timeout(WAIT_S_BESIDE):
                seq = await self._done
        except TimeoutError:
            message = "the log can't commit now; what was sent may count all the same"
            raise DeviceFault(Code.BUSY, message) from None
        assert isinstance(seq, int), "nothing acts on it"
        return seq
