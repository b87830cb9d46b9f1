"""The intake's sockets are tested on the event loop that the hub runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import uvloop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], AbstractEventLoop]]:
    """For pytest-asyncio."""
    return {"uvloop": uvloop.new_event_loop}
