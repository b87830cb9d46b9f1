"""Where hubs meet, and as whom: what the settings say, or a refusal before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from hub.errors import OperatorFault

if TYPE_CHECKING:
    from hub.settings.federation import FederationSettings

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}


class Place(NamedTuple):
    """A broker."""

    host: str
    port: int
    tls: bool
    ca_file: str
    """PEM; empty = the system's."""


def place_of(settings: FederationSettings) -> Place:
    """Where hubs meet.

    Raises:
        OperatorFault: the setting names no broker.
    """
    url = urlsplit(settings.broker)
    try:
        port = url.port
        (url.hostname or "").encode("idna")  # as a name is looked up: "a..b" is none
    except ValueError:
        port = 0
    if url.scheme not in PORTS or not url.hostname or port == 0 or url.username is not None:
        raise OperatorFault(
            f"federation.broker = {settings.broker!r} is none; write mqtt://host:port or "
            "mqtts://host:port, and user and password into the file of federation.credentials"
        )
    return Place(url.hostname, port or PORTS[url.scheme], url.scheme == "mqtts", settings.ca_file)


def login_of(settings: FederationSettings) -> tuple[str, str] | None:
    """User and password for the broker; None where there are none.

    Raises:
        OperatorFault: the file can't be read, or holds something else.
    """
    if not settings.credentials:
        return None
    try:
        user, colon, password = Path(settings.credentials).read_text().strip().partition(":")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorFault(f"federation.credentials can't be read: {error}") from error
    if not colon or "\n" in password:
        raise OperatorFault("federation.credentials names a file that is not one user:password")
    return user, password
