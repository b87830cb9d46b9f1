"""The feed for readers on other machines: TCP, and a token as the first thing they say.

Plain text: between machines it belongs in a tunnel, or in a network of its own.
"""

from __future__ import annotations

import os
import secrets
import socket
from typing import TYPE_CHECKING, Final

from hub.errors import LogUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from hub.settings import LogSettings

TOKEN_NAME: Final = "feed.token"  # noqa: S105 - a file's name
TOKEN_BYTES: Final = 32


def listen(data: Path, settings: LogSettings) -> socket.socket | None:
    """A listening socket; None when the setting says nobody is let in from afar.

    Raises:
        LogUnavailable: the port is taken or not ours to take.
    """
    if settings.feed_port < 0:
        return None
    token(data)
    try:
        return socket.create_server((settings.feed_host, settings.feed_port))
    except OSError as error:
        raise LogUnavailable(
            f"can't listen on log.feed_port {settings.feed_port} ({error.strerror})"
        ) from error


def token(data: Path) -> str:
    """The content of `DATA/feed.token`, made at first. Who has it may read the whole log."""
    path = data / TOKEN_NAME
    if not path.exists():
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:  # noqa: PTH123 - of the descriptor with the narrow mode
            file.write(secrets.token_urlsafe(TOKEN_BYTES))
    return path.read_text()
