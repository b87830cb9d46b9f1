"""One network on its way here, part by part, until it is whole, wrong or late.

    fetch = Fetch(found, began_s=now, limit_s=30)
    part = fetch.asks(now)               # from which part on it must be asked for now; None = wait
    data = fetch.take(number, payload)   # the whole file once its last part came

Parts may come twice, in any order, or from someone who was not asked: the hash of the whole
decides.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from hub.errors import Unheard
from hub.federation.payloads import PART_BYTES, PARTS_AT_ONCE

if TYPE_CHECKING:
    from hub.federation.heard import Found

RETRY_S: Final = 1.0
"""Parts that have not come by then are asked for again."""


class Fetch:
    """Of one file.

    Args:
        found: what is fetched.
        began_s: now, monotonic.
        limit_s: how long it may take.
    """

    def __init__(self, found: Found, *, began_s: float, limit_s: float) -> None:
        self.found = found
        self._until_s = began_s + limit_s
        self._count = -(-found.offer.bytes // PART_BYTES)
        self._parts: dict[int, bytes] = {}
        self._asked = -1
        self._again_s = began_s

    def is_late(self, now_s: float) -> bool:
        """It has taken too long."""
        return now_s >= self._until_s

    def asks(self, now_s: float) -> int | None:
        """The part from which on to ask now; None while what was asked for may still come."""
        first = next(i for i in range(self._count) if i not in self._parts)
        if first < self._asked + PARTS_AT_ONCE and self._asked >= 0 and now_s < self._again_s:
            return None
        self._asked, self._again_s = first, now_s + RETRY_S
        return first

    def take(self, number: int, payload: bytes) -> bytes | None:
        """A part came; the whole file when it was the last that was missing.

        Raises:
            Unheard: it is no part of this file, or the whole is not what its hash promises: then
                this fetch is over.
        """
        offer = self.found.offer
        length = min(PART_BYTES, offer.bytes - number * PART_BYTES)
        if not 0 <= number < self._count or len(payload) != length:
            raise Unheard("part")
        self._parts[number] = payload
        if len(self._parts) < self._count:
            return None
        data = b"".join(self._parts[i] for i in range(self._count))
        if hashlib.sha256(data).hexdigest() != offer.sha256:
            raise Unheard("hash", f"what came of {self.found.name} is not {offer.sha256[:12]}…")
        return data
