"""Who a CONNECT is from: refused before anything changes for anyone, or a device or person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import AccessDenied
from hub.intake.mqtt.wire import ConnectCode
from hub.registry.access import admit, agent_of, fingerprint
from hub.spaces import size
from hub.topics import device_topic
from hub.words import AgentName, DeviceId, Key, KeyId, User

if TYPE_CHECKING:
    from hub.intake.mqtt.claim_client import Claiming
    from hub.intake.mqtt.people import People
    from hub.intake.mqtt.wire import Connect
    from hub.registry.fold import Registry, Spec
    from hub.settings import MqttSettings

JSON_BYTES_PER_VALUE: Final = 26
"""A float32 written at full length, with its comma."""
JSON_BYTES_BESIDE: Final = 1024
HUB_PACKET_BYTES_MAX: Final = 20_480
"""A part of a network is 16 KiB, and nothing that hubs say is larger."""


class Admission(Struct, frozen=True):
    """A device with a key that is accepted."""

    device: DeviceId
    agent: AgentName
    key: KeyId | None
    secret: bytes | None
    """SHA-256 of the key; once it is revoked the connection ends. None: it has a certificate."""
    packet_bytes_max: int
    """Enough for one observation of the agent's space."""

    @property
    def name(self) -> str:
        """Of who came in."""
        return self.device

    def holds(self, registry: Registry) -> bool:
        """Whether the key is still accepted and the device still the agent's, which is there."""
        accepted = self.secret is None or self.secret in registry.keys
        at_home = registry.devices.get(self.device) == self.agent
        return accepted and at_home and self.agent in registry.agents


class ClaimAdmission(Struct, frozen=True):
    """A device with a claim token that may give it a key."""

    device: DeviceId
    token: str
    packet_bytes_max: int

    @property
    def name(self) -> str:
        """Of who came in."""
        return self.device


class PersonAdmission(Struct, frozen=True):
    """A person with an operator key that is accepted."""

    user: User
    secret: bytes
    """SHA-256 of the key; once it is revoked the connection ends."""


class HubAdmission(Struct, frozen=True):
    """Another hub, with a key for it that is accepted."""

    name: str
    user: str
    """Whose it is."""
    secret: bytes
    """SHA-256 of the key; once it is revoked the connection ends."""
    packet_bytes_max: int = HUB_PACKET_BYTES_MAX

    def holds(self, registry: Registry) -> bool:
        """Whether the key is still accepted."""
        key = registry.keys.get(self.secret)
        return key is not None and (key.hub, key.user) == (self.name, self.user)


Served = Admission | ClaimAdmission | HubAdmission
"""Whom the gate serves itself."""


class TurnedAway(AccessDenied):
    """A CONNECT that is not accepted; `code` is all that a stranger is told.

    `why` is a sentence for whoever has shown a right key, of the id `key`; empty for all others.
    """

    def __init__(self, code: ConnectCode, why: str = "", key: KeyId | None = None) -> None:
        super().__init__(why or code.name)
        self.code = code
        self.why = why
        self.key = key


def admit_connect(
    registry: Registry,
    people: People,
    packet: Connect,
    settings: MqttSettings,
    claiming: Claiming,
    certified: str | None = None,
) -> Admission | PersonAdmission | ClaimAdmission | HubAdmission:
    """The device, person or hub that may come in; the key, or the claim token, tells which.

    `certified` is the name in the client's certificate, if it has shown one: then it is this device
    and no other, and without a password it needs none.

    Raises:
        TurnedAway: key or id is not accepted, or its will is for another's topic.
    """
    # Without user name or password both are empty, and no key is.
    secret = (packet.password or b"").decode("utf-8", "replace")
    shown = registry.keys.get(fingerprint(secret))
    if shown is not None and shown.hub is not None:
        return _admit_hub(registry, shown, packet, fingerprint(secret))
    if shown is not None and shown.agent is None:
        return _admit_person(people, packet, secret)
    if shown is None and registry.claims.of_secret(fingerprint(secret)) is not None:
        return _admit_claim(claiming, packet, secret, settings, certified)
    try:
        if certified is not None and (packet.username or certified) != certified:
            raise AccessDenied(f"the certificate is of {certified!r}")
        if certified is not None and not packet.password:
            key_id, device, spec = None, *_admit_certified(registry, certified)
        else:
            key, spec = agent_of(registry, secret)
            key_id, device = key.id, admit(registry, key, packet.username or "")
    except AccessDenied as error:
        why, key_id = ("", None) if shown is None else (str(error), shown.id)
        raise TurnedAway(ConnectCode.BAD_CREDENTIALS, why, key_id) from error
    is_mapped = registry.is_mapped(spec.agent.name)
    if not _may_will(packet.will_topic, device, settings.base, is_mapped=is_mapped):
        raise TurnedAway(ConnectCode.NOT_AUTHORIZED)
    if packet.lacks_client_id:
        raise TurnedAway(ConnectCode.BAD_CLIENT_ID)  # 3.1.3-8, though the user name says who it is
    return Admission(
        device=device,
        agent=spec.agent.name,
        key=key_id,
        secret=None if key_id is None else fingerprint(secret),
        packet_bytes_max=packet_bytes_max(spec, settings),
    )


def _admit_claim(
    claiming: Claiming, packet: Connect, token: str, settings: MqttSettings, certified: str | None
) -> ClaimAdmission:
    device = packet.username or ""
    try:
        claiming.check_claim(token, device)
    except AccessDenied as error:
        raise TurnedAway(ConnectCode.BAD_CREDENTIALS) from error
    if certified not in (None, device) or packet.will_topic is not None:
        raise TurnedAway(ConnectCode.NOT_AUTHORIZED)  # it speaks for no device yet
    if packet.lacks_client_id:
        raise TurnedAway(ConnectCode.BAD_CLIENT_ID)
    return ClaimAdmission(DeviceId(device), token, settings.packet_bytes_min)


def _may_will(topic: str | None, device: DeviceId, base: str, *, is_mapped: bool) -> bool:
    """On the device's own status; of a legacy device also outside the hub's tree.

    There only its mapping hears it.
    """
    if topic is None or topic == device_topic(base, device, "status"):
        return True
    return is_mapped and not topic.startswith(f"{base}/")


def _admit_certified(registry: Registry, name: str) -> tuple[DeviceId, Spec]:
    """A device that an operator has given an agent, and its agent.

    Raises:
        AccessDenied: it is of none.
    """
    device = DeviceId(name)
    spec = registry.agents.get(registry.devices.get(device, AgentName("")))
    if spec is None:
        raise AccessDenied(f"device {name!r} has no agent; 'sheepfold device add' gives it one")
    return device, spec


def packet_bytes_max(spec: Spec, settings: MqttSettings) -> int:
    """Enough for one observation of the agent's space."""
    observation_bytes = size(spec.observations) * JSON_BYTES_PER_VALUE + JSON_BYTES_BESIDE
    return max(settings.packet_bytes_min, observation_bytes)


def _admit_hub(registry: Registry, key: Key, packet: Connect, secret: bytes) -> HubAdmission:
    user = registry.users.get(key.user or "")
    if user is None or key.hub is None or packet.username != key.hub:
        raise TurnedAway(ConnectCode.BAD_CREDENTIALS)
    if packet.lacks_client_id:
        raise TurnedAway(ConnectCode.BAD_CLIENT_ID)
    return HubAdmission(key.hub, user.name, secret)


def _admit_person(people: People, packet: Connect, secret: str) -> PersonAdmission:
    try:
        user = people.admit(packet.username or "", secret)
    except AccessDenied as error:
        raise TurnedAway(ConnectCode.BAD_CREDENTIALS) from error
    if packet.will_topic not in (None, people.birth):
        raise TurnedAway(ConnectCode.NOT_AUTHORIZED)  # there is nothing for it to be about
    if packet.lacks_client_id:
        raise TurnedAway(ConnectCode.BAD_CLIENT_ID)
    return PersonAdmission(user, fingerprint(secret))
