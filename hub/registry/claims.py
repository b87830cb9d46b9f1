"""Claim tokens as they stand: a fold of the log's facts, as the registry's others are."""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from hub.facts import Claimed, ClaimMade, ClaimRevoked
from hub.words import AgentName, Claim, ClaimId, DeviceId, KeyId

KEPT_US: Final = 30 * 86_400 * 1_000_000
"""A claim that has expired is shown for so long, at least."""


class Redeemed(Struct, frozen=True):
    """What a device got for a token."""

    key: KeyId
    nonce: str | None
    """SHA-256 of what it asks again by, as hex; None = it can't."""
    at_us: int


class Standing(Struct, frozen=True):
    """A claim, and what has come of it."""

    claim: Claim
    secret: bytes
    """SHA-256 of its token."""
    redeemed: dict[DeviceId, Redeemed] = field(default_factory=dict)

    def state(self, now_us: int) -> str:
        """`open`, `spent` or `expired`."""
        if len(self.redeemed) >= self.claim.uses_max:
            return "spent"
        return "open" if now_us < self.claim.expires else "expired"


class Claims(Struct):
    """All that were not revoked."""

    standing: dict[ClaimId, Standing] = field(default_factory=dict)
    came: dict[DeviceId, AgentName] = field(default_factory=dict)
    """Devices that came in by a claim, standing or not, with its agent: they may by another."""
    _by_secret: dict[bytes, ClaimId] = field(default_factory=dict)

    def of_secret(self, secret: bytes) -> Standing | None:
        """The claim whose token has this SHA-256."""
        known = self._by_secret.get(secret)
        return None if known is None else self.standing[known]

    def apply(
        self, fact: ClaimMade | ClaimRevoked | Claimed, secret: bytes | None, ts: int
    ) -> None:
        """Take in one fact; `secret` and `ts` are its event's."""
        match fact:
            case ClaimMade(claim):
                assert secret is not None, "a token is known by its hash"
                self._drop_old(ts)
                self.standing[claim.id] = Standing(claim, secret)
                self._by_secret[secret] = claim.id
            case ClaimRevoked(claim_id):
                self._drop(claim_id)
            case Claimed(key, claim_id, nonce):
                assert key.device is not None, "a claimed key is of one device"
                if key.agent is not None:
                    self.came[key.device] = key.agent
                standing = self.standing.get(claim_id)
                if standing is not None:
                    standing.redeemed[key.device] = Redeemed(key.id, nonce, ts)

    def drop_agent(self, agent: AgentName) -> None:
        """It was deleted."""
        for one in list(self.standing.values()):
            if one.claim.agent == agent:
                self._drop(one.claim.id)

    def _drop_old(self, now_us: int) -> None:
        for one in list(self.standing.values()):
            if one.claim.expires + KEPT_US < now_us:
                self._drop(one.claim.id)

    def _drop(self, claim_id: ClaimId) -> None:
        standing = self.standing.pop(claim_id, None)
        if standing is not None:
            del self._by_secret[standing.secret]
