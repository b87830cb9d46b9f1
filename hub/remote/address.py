"""`sheepfold://KEY@HOST:PORT/AGENT?devices=a,b`: where a learner finds its devices.

`sheepfolds` is the same over TLS. The key may also stand in the query, `&key=KEY`; without
`devices` all are meant that the agent has.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from msgspec import Struct

from hub.remote.errors import RemoteFault

PORTS: Final = {"sheepfold": 8000, "sheepfolds": 443}
EXAMPLE: Final = "sheepfold://KEY@hub.local:8000/agent?devices=cart-1,cart-2"
QUERY: Final = {"devices", "key"}


class Address(Struct, frozen=True):
    """A hub, an agent and some of its devices."""

    host: str
    port: int
    agent: str
    key: str
    devices: tuple[str, ...] = ()
    """Empty = all there are."""
    tls: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address in a text.

        Raises:
            RemoteFault: it is none; the key is never shown.
        """
        try:
            parts = urlsplit(text)
            port, host = parts.port, parts.hostname
        except ValueError as error:
            raise RemoteFault(f"no address ({error}); write {EXAMPLE}") from error
        if parts.scheme not in PORTS or not host:
            raise RemoteFault(f"the address begins with sheepfold:// and a host: {EXAMPLE}")
        query = parse_qs(parts.query, keep_blank_values=True)
        if set(query) - QUERY:
            wrong = ", ".join(sorted(set(query) - QUERY))
            raise RemoteFault(f"the address has {wrong} in its query; it may have devices and key")
        agent = parts.path.strip("/")
        key = query.get("key", [unquote(parts.username or "")])[-1]
        if not agent or not key:
            raise RemoteFault(f"the address names no agent or no key: {EXAMPLE}")
        named = (name.strip() for text in query.get("devices", []) for name in text.split(","))
        devices = tuple(name for name in named if name)
        if len(set(devices)) < len(devices):
            raise RemoteFault("the address names a device twice")
        return cls(
            host, port or PORTS[parts.scheme], agent, key, devices, parts.scheme == "sheepfolds"
        )
