"""Claims: made by operators, redeemed by devices for keys of their own.

Rule 1: a token is worth `uses_max` devices, and each of them gets one key for it, ever.
Rule 2: who asks again with the nonce of the first time is told the same key, for a while: an answer
    may be lost. Nobody else is told it, whoever has the token.
Rule 3: a token takes no device away from anybody: not from another agent, and not from the key that
    the device has.

The key is derived from token, device, nonce and the key's public id, so that it can be told again
though the log holds hashes only: HMAC-SHA256 (RFC 2104) by the token, whose 256 bits are random.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any, Final, assert_never

from msgspec import Struct

from hub.errors import AccessDenied, DeviceFault, OperatorFault
from hub.facts import Claimed, ClaimMade, ClaimRevoked, DeviceAdded, KeyRevoked
from hub.registry.access import check_room, fingerprint, make_secret
from hub.registry.admin import admin_event, agent_named, iso
from hub.topics import is_device_id
from hub.words import AgentName, Claim, ClaimId, Code, DeviceId, Event, Key

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.registry.claims import Redeemed, Standing
    from hub.registry.fold import Registry

USES_MAX: Final = 100_000
EXPIRES_S: Final = 86_400.0
EXPIRES_S_MAX: Final = 366 * 86_400.0
DEVICE_TYPE_LETTERS_MAX: Final = 40
NONCE: Final = re.compile(r"[A-Za-z0-9_-]{16,64}")
"""A shorter one could be guessed."""
CLAIMS_MAX: Final = 1000
"""Of one agent that can still be redeemed."""
MICROSECONDS: Final = 1_000_000


class CreateClaim(Struct, frozen=True, tag="create_claim"):
    """`sheepfold claim create AGENT`."""

    agent: str
    uses: int = 1
    expires_s: float = EXPIRES_S
    """From now."""
    prefix: str = ""
    device_type: str | None = None


class RevokeClaim(Struct, frozen=True, tag="revoke_claim"):
    """`sheepfold claim revoke`."""

    id: str
    keys: bool = False
    """The keys that came of it, too."""


ClaimAct = CreateClaim | RevokeClaim


class Asked(Struct, frozen=True):
    """What a device says that redeems a token."""

    token: str
    device: str
    nonce: str | None = None
    """What it asks again by, should the answer be lost; None = it can't."""
    device_type: str | None = None


class Given(Struct, frozen=True):
    """What it gets."""

    agent: str
    device: str
    key: str


class UnknownToken(AccessDenied):
    """No claim stands behind it: there never was one, or it was revoked."""


class NotForThis(AccessDenied):
    """The token is known, and does not give this device a key."""

    def __init__(self, message: str, claim: Claim) -> None:
        super().__init__(message)
        self.claim = claim


class ClaimActs:
    """The acts, over one registry.

    Args:
        registry: as the log has it.
        now_us: the hub's clock.
        random_bytes: for tokens and ids.
        again_s: as `KeySettings.claim_again_s`.
    """

    def __init__(
        self,
        registry: Registry,
        now_us: Callable[[], int],
        random_bytes: Callable[[int], bytes],
        again_s: float,
    ) -> None:
        self._registry = registry
        self._now_us = now_us
        self._random_bytes = random_bytes
        self._again_us = round(again_s * MICROSECONDS)

    def decide(self, act: ClaimAct, by: str) -> tuple[list[Event], Any]:
        """What is to be logged, and the answer.

        Raises:
            OperatorFault: it can't be done; the message says why.
        """
        match act:
            case CreateClaim():
                return self._create(act, by)
            case RevokeClaim(claim_id, keys):
                return self._revoke(claim_id, by, keys=keys)
            case _:
                assert_never(act)

    def listed(self) -> list[Any]:
        """All that were not revoked: what each is for and what has come of it, no token."""
        now_us = self._now_us()
        return [_shown(one, now_us) for one in self._registry.claims.standing.values()]

    def check(self, token: str, device: str) -> Standing:
        """What the token stands for, where it may give the device a key; nothing is changed.

        Raises:
            AccessDenied: it would not, whatever else the device says, and why.
        """
        standing = self._registry.claims.of_secret(fingerprint(token))
        if standing is None:
            raise UnknownToken(
                "this claim token is not accepted: it was revoked, or there never was one; "
                "'sheepfold claim create AGENT' makes another"
            )
        if not is_device_id(device):
            raise NotForThis(
                f"device id {device[:40]!r} must match [a-z0-9_-]{{1,23}}, not hub, agents, http-*",
                standing.claim,
            )
        if DeviceId(device) not in standing.redeemed:
            self._check_new(standing, device)
        return standing

    def redeem(self, asked: Asked) -> tuple[list[Event], Given]:
        """A key of the device's own; no event where it is told the same one again.

        Raises:
            AccessDenied: as `check`; or the device has redeemed it and does not show how.
        """
        standing = self.check(asked.token, asked.device)
        claim, device = standing.claim, DeviceId(asked.device)
        before = standing.redeemed.get(device)
        if before is not None:
            self._check_again(before, asked, claim)
            secret = _derived(asked, before.key)
            return [], Given(claim.agent, device, secret)
        if claim.device_type not in (None, asked.device_type):
            why = f"this claim token is for devices of type {claim.device_type!r}: say so in 'dt'"
            raise NotForThis(why, claim)
        key_id, secret = make_secret(self._random_bytes)
        if asked.nonce is not None:  # else it is never told again, and nobody may compute it
            secret = _derived(asked, key_id)
        fact = Claimed(
            key=Key(key_id, claim.agent, device, claim=claim.id),
            claim=claim.id,
            nonce=None if asked.nonce is None else _hashed(asked.nonce),
            dt=asked.device_type,
            by=f"claim {claim.id}",
        )
        now_us = self._now_us()
        events = [admin_event(now_us, fact, claim.agent, device, fingerprint(secret))]
        if device not in self._registry.devices:
            added = DeviceAdded(device, fact.by)
            events.append(admin_event(now_us, added, claim.agent, device))
        return events, Given(claim.agent, device, secret)

    def _check_new(self, standing: Standing, device: str) -> None:
        """Refuse a device that has not redeemed the token yet, and may not."""
        claim, now_us = standing.claim, self._now_us()
        state = standing.state(now_us)
        owner = self._registry.devices.get(DeviceId(device))
        why = None
        if state == "spent":
            many = "one device" if claim.uses_max == 1 else f"{claim.uses_max} devices"
            why = f"this claim token was for {many}, and so many have redeemed it"
        elif state == "expired":
            why = f"this claim token has expired, at {iso(claim.expires)}"
        elif not device.startswith(claim.prefix):
            why = f"this claim token is for devices {claim.prefix}…, not {device!r}"
        elif owner not in (None, claim.agent):
            why = f"device {device!r} belongs to another agent; its operator can move it"
        elif owner is not None and self._registry.claims.came.get(DeviceId(device)) != owner:
            why = (
                f"device {device!r} is there already: 'sheepfold key create {claim.agent} "
                f"--device {device}' gives it a key of its own"
            )
        elif self._has_key(device, claim.agent):
            why = (
                f"device {device!r} has a key of its own: 'sheepfold key rotate' gives it "
                "another, or 'sheepfold key revoke' ends it first"
            )
        if why is not None:
            raise NotForThis(why, claim)
        if owner is None:
            check_room(self._registry, claim.agent)

    def _has_key(self, device: str, agent: AgentName) -> bool:
        """One that opens something: other agents' keys of the same device do not."""
        keys = self._registry.keys.values()
        return any(
            key.device == device and key.agent == agent and key.rewarding is None for key in keys
        )

    def _check_again(self, before: Redeemed, asked: Asked, claim: Claim) -> None:
        """Refuse who redeems a token a second time and is not who did it first, just now."""
        why = None
        if before.nonce is None or asked.nonce is None or _hashed(asked.nonce) != before.nonce:
            why = "only with the nonce of the first time is it told again what it got"
        elif self._now_us() > before.at_us + self._again_us:
            why = "that is too long ago to be told again what it got"
        elif self._registry.key(before.key) is None:
            why = "the key it got is not accepted any more"
        if why is not None:
            raise NotForThis(
                f"device {asked.device!r} has redeemed this claim token; {why}. Its operator can "
                "revoke the device's key, which 'sheepfold key list' names; another token then "
                "lets it in anew",
                claim,
            )

    def _create(self, act: CreateClaim, by: str) -> tuple[list[Event], Any]:
        agent = agent_named(self._registry, act.agent).agent
        if not 1 <= act.uses <= USES_MAX:
            raise OperatorFault(f"a claim token is for 1 to {USES_MAX} devices, not {act.uses}")
        if not 1 <= act.expires_s <= EXPIRES_S_MAX:
            raise OperatorFault(
                f"a claim expires after 1 second to 366 days, not {act.expires_s} s"
            )
        if act.prefix and not (is_device_id(act.prefix + "x") or is_device_id(act.prefix)):
            raise OperatorFault(f"no device id begins with {act.prefix[:40]!r}")
        if act.device_type is not None and not 1 <= len(act.device_type) <= DEVICE_TYPE_LETTERS_MAX:
            raise OperatorFault(f"a device type has 1 to {DEVICE_TYPE_LETTERS_MAX} letters")
        now_us = self._now_us()
        if self._open(agent.name, now_us) >= CLAIMS_MAX:
            raise OperatorFault(
                f"agent {agent.name!r} has {CLAIMS_MAX} open claims; revoke some, or make one for "
                "more devices"
            )
        claim_id, token = make_secret(self._random_bytes)
        claim = Claim(
            id=ClaimId(claim_id),
            agent=agent.name,
            uses_max=act.uses,
            expires=now_us + round(act.expires_s * MICROSECONDS),
            prefix=act.prefix,
            device_type=act.device_type,
        )
        event = admin_event(now_us, ClaimMade(claim, by), agent.name, secret=fingerprint(token))
        answer = {"agent": agent.name, "claim": claim.id, "token": token}
        return [event], answer | {"uses": act.uses, "expires": iso(claim.expires)}

    def _revoke(self, claim_id: str, by: str, *, keys: bool) -> tuple[list[Event], Any]:
        standing = self._registry.claims.standing.get(ClaimId(claim_id))
        # A claim that was revoked before, or is long over, has left keys that may have to go, too.
        came = [key for key in self._registry.keys.values() if keys and key.claim == claim_id]
        if standing is None and not came:
            raise OperatorFault(f"there is no claim {claim_id!r}; see the list of claims")
        now_us = self._now_us()
        events = [admin_event(now_us, KeyRevoked(key.id, by), key.agent or "") for key in came]
        if standing is not None:
            claim = standing.claim
            events.append(admin_event(now_us, ClaimRevoked(claim.id, by), claim.agent))
        return events, {"revoked": claim_id, "keys": [key.id for key in came]}

    def _open(self, agent: str, now_us: int) -> int:
        all_ = self._registry.claims.standing.values()
        return sum(one.claim.agent == agent and one.state(now_us) == "open" for one in all_)


def asked(token: str, device: str, nonce: object, device_type: object) -> Asked:
    """What a device says, over whatever protocol.

    Raises:
        DeviceFault: `type` or `payload`; nonce or type can't be meant.
    """
    for name, value in (("nonce", nonce), ("dt", device_type)):
        if value is not None and not isinstance(value, str):
            raise DeviceFault(Code.TYPE, f"'{name}' is text, or left out")
    if isinstance(nonce, str) and not NONCE.fullmatch(nonce):
        raise DeviceFault(
            Code.PAYLOAD,
            "'nonce' is 16 to 64 of A-Z a-z 0-9 _ -, by chance: the device asks again by it",
        )
    said = device_type if isinstance(device_type, str) else None
    if said is not None and len(said) > DEVICE_TYPE_LETTERS_MAX:
        raise DeviceFault(Code.PAYLOAD, f"'dt' has at most {DEVICE_TYPE_LETTERS_MAX} letters")
    return Asked(token, device, nonce if isinstance(nonce, str) else None, said)


def _derived(asked: Asked, key_id: str) -> str:
    said = "\0".join(("sheepfold claim", asked.device, asked.nonce or "", key_id))
    digest = hmac.new(asked.token.encode(), said.encode(), hashlib.sha256).digest()
    return f"{key_id}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def _hashed(nonce: str) -> str:
    return hashlib.sha256(nonce.encode()).hexdigest()


def _shown(standing: Standing, now_us: int) -> dict[str, Any]:
    claim = standing.claim
    return {
        "claim": claim.id,
        "agent": claim.agent,
        "state": standing.state(now_us),
        "uses": len(standing.redeemed),
        "uses_max": claim.uses_max,
        "expires": iso(claim.expires),
        "prefix": claim.prefix,
        "device_type": claim.device_type,
        "devices": sorted(standing.redeemed),
    }
