"""One act at a time: what it was checked against must still hold when it is folded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

Answer = TypeVar("Answer")


class Turn:
    """Whoever decides something holds it until that is done."""

    def __init__(self) -> None:
        self._acting = asyncio.Lock()
        self._finishing: set[asyncio.Task[None]] = set()

    async def take(
        self, decide: Callable[[], tuple[Coroutine[None, None, None], Answer]]
    ) -> Answer:
        """Decide when no other can, and keep the turn until what was decided is done.

        Whoever asked may stop waiting. The turn ends with the fold all the same: else the next act
        is checked against a registry that lacks this one, which the log has.
        """
        await self._acting.acquire()
        try:
            work, answer = decide()
        except BaseException:
            self._acting.release()
            raise
        task = asyncio.get_running_loop().create_task(self._finish(work))
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        await asyncio.shield(task)
        return answer

    async def _finish(self, work: Coroutine[None, None, None]) -> None:
        try:
            await work
        finally:
            self._acting.release()
