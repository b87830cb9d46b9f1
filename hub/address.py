"""Where a broker is, as people write it into settings; and where people find the hub's pages."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from hub.errors import OperatorFault

PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
EVERYWHERE: Final = ("0.0.0.0", "::")  # noqa: S104 - what a hub may be told to listen on


class Address(Struct, frozen=True):
    """Where a broker is, and who we are there."""

    host: str
    port: int
    tls: bool
    user: str | None = None
    password: str | None = None

    def __str__(self) -> str:
        return f"mqtt{'s' if self.tls else ''}://{self.host}:{self.port}"


def read_address(text: str, setting: str) -> Address:
    """`mqtt://[user:password@]host[:port]`, or `mqtts://…` for TLS.

    Args:
        text: what was written.
        setting: where, for the message; what was written may have a password in it.

    Raises:
        OperatorFault: it is none.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as a name is looked up: "a..b" is none
    except ValueError:
        parts, port = urlsplit(""), None
    if (
        parts.scheme not in PORTS
        or not parts.hostname
        or port == 0
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
    ):
        raise OperatorFault(
            f"setting {setting} must be mqtt://[user:password@]host[:port], or mqtts://… for TLS"
        )
    return Address(
        host=parts.hostname,
        port=port or PORTS[parts.scheme],
        tls=parts.scheme == "mqtts",
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def pages_url(host: str, port: int, *, tls: bool, machine: str) -> str:
    """`http://host:port` of a hub that listens there: everywhere, by the machine's name."""
    named = machine if host in EVERYWHERE else host
    named = f"[{named}]" if ":" in named else named
    return f"http{'s' if tls else ''}://{named}:{port}"
