"""How the log's processes end: with the hub, whatever they do; loudly when nobody expected it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NoReturn

import msgspec

if TYPE_CHECKING:
    import asyncio

FAILED: Final = 1
"""Exit status: look at stderr."""
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2)."""


def end_with_parent() -> None:
    """Have the kernel kill us with the hub, should we be too busy to see its socket end."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def crash_on_faults(loop: asyncio.AbstractEventLoop, process: str) -> None:
    """Let every error that nobody expected end the process."""
    loop.set_exception_handler(partial(_crash_for, process))


def crash(process: str, message: str) -> NoReturn:
    """End without any clean-up: after a database error nothing in this process is to be trusted."""
    report(process, f"{process} process failed", message)
    os._exit(FAILED)


def report(process: str, event: str, message: str) -> None:
    """One line of JSON on stderr, which is the hub's."""
    line = msgspec.json.encode({"process": process, "event": event, "message": message})
    sys.stderr.write(line.decode() + "\n")
    sys.stderr.flush()


def _crash_for(process: str, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> NoReturn:
    del loop
    crash(process, f"{context.get('message')}: {context.get('exception')!r}")
