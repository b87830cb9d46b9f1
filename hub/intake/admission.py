"""Who a CONNECT is from: refused before anything changes for anyone, or admitted as one device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.errors import AccessDenied
from hub.intake.wire import ConnectCode
from hub.registry.access import admit, agent_of, fingerprint
from hub.spaces import size
from hub.topics import device_topic
from hub.words import AgentName, DeviceId, KeyId

if TYPE_CHECKING:
    from hub.intake.wire import Connect
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings

JSON_BYTES_PER_VALUE: Final = 26
"""A float32 written at full length, with its comma."""
JSON_BYTES_BESIDE: Final = 1024


class Admission(Struct, frozen=True):
    """A device with a key that is accepted."""

    device: DeviceId
    agent: AgentName
    key: KeyId
    secret: bytes
    """SHA-256 of the key; once it is revoked the connection ends."""
    packet_bytes_max: int
    """Enough for one observation of the agent's space."""

    def holds(self, registry: Registry) -> bool:
        """Whether the key is still accepted and the device still the agent's."""
        return self.secret in registry.keys and registry.devices.get(self.device) == self.agent


class TurnedAway(AccessDenied):
    """A CONNECT that is not accepted; `code` is all the device is told."""

    def __init__(self, code: ConnectCode) -> None:
        super().__init__(code.name)
        self.code = code


def admit_connect(registry: Registry, packet: Connect, settings: MqttSettings) -> Admission:
    """The device that may come in.

    Raises:
        TurnedAway: key or device id is not accepted, or its will is for another's topic.
    """
    try:
        # Without user name or password both are empty, and no key is.
        secret = (packet.password or b"").decode("utf-8", "replace")
        key, spec = agent_of(registry, secret)
        device = admit(registry, key, packet.username or "")
    except AccessDenied as error:
        raise TurnedAway(ConnectCode.BAD_CREDENTIALS) from error
    if packet.will_topic not in (None, device_topic(settings.base, device, "status")):
        raise TurnedAway(ConnectCode.NOT_AUTHORIZED)
    observation_bytes = size(spec.observations) * JSON_BYTES_PER_VALUE + JSON_BYTES_BESIDE
    return Admission(
        device=device,
        agent=spec.agent.name,
        key=key.id,
        secret=fingerprint(secret),
        packet_bytes_max=max(settings.packet_bytes_min, observation_bytes),
    )
