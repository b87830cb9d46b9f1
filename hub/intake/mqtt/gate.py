"""The gate: owns every MQTT socket; what they share is here, each one's own in `connection.py`.

Devices are served by the hub itself, for amqtt takes 350 µs a round trip and 37 KB a session; what
people's clients do goes through to it as whole, checked packets (`person_client.py`). Other hubs
meet in `meeting.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hub.intake.mqtt.connection import LOG_BEHIND, Connection
from hub.intake.mqtt.keep_alive import KeepAlive
from hub.intake.mqtt.meeting import Meeting
from hub.intake.mqtt.outbox import HUB_STATUS
from hub.intake.mqtt.outboxes import Outboxes
from hub.intake.mqtt.reasons import Reason
from hub.intake.mqtt.strangers import Strangers
from hub.intake.mqtt.takeovers import Takeovers
from hub.topics import device_topic, hub_status

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.intake.commands import Commands
    from hub.intake.mqtt.broker import Broker
    from hub.intake.mqtt.claim_client import Claiming
    from hub.intake.mqtt.people import People
    from hub.intake.mqtt.person_client import PersonClient
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings
    from hub.words import DeviceId


class Gate:
    """What all connections share."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        receiver: Receiver,
        broker: Broker,
        people: People,
        commands: Commands,
        settings: MqttSettings,
        clock: Clock,
        claiming: Claiming,
    ) -> None:
        self.registry = registry
        self.sessions = sessions
        self.receiver = receiver
        self.broker = broker
        self.people = people
        self.commands = commands
        self.claiming = claiming
        self.settings = settings
        self.connections: dict[DeviceId, Connection] = {}
        self.outboxes = Outboxes(settings)
        self.people_online: dict[str, PersonClient] = {}
        self.meeting = Meeting(
            registry,
            settings.base,
            retained_max=settings.hub_retained_max,
            filters_max=settings.person_filters_max,
        )
        self.strangers = Strangers(settings, clock)
        self.takeovers = Takeovers(clock)
        self.keep_alive = KeepAlive(asyncio.get_running_loop())
        self.on_birth: Callable[[bytes], None] = _nobody
        """Called with what Home Assistant says of itself."""
        self.held: set[Connection] = set()
        """Not read from until the log has caught up."""

    @property
    def sockets(self) -> int:
        """That are open."""
        return self.strangers.sockets

    @property
    def logins_refused(self) -> int:
        """Since start."""
        return self.strangers.refused

    async def start(self, hub_id: str) -> None:
        """Have the broker ready for those who come in."""
        del hub_id  # nobody outside needs to know us by it
        await self.broker.start()

    async def stop(self) -> None:
        """End every session."""
        for connection in self.connections.values():
            connection.say_goodbye(Reason.SERVER_SHUTTING_DOWN)
        for visitor in list(self.meeting.online.values()):
            visitor.end(Reason.SERVER_SHUTTING_DOWN)
        await self.broker.stop()

    def hold(self, connection: Connection) -> bool:
        """Whether the log is too far behind to take more; then `relieve` reads on."""
        if self.receiver.crowded:
            self.held.add(connection)
            connection.pause(LOG_BEHIND)
        return self.receiver.crowded

    def relieve(self) -> None:
        """The log has caught up: read on from all who wait."""
        held, self.held = self.held, set()
        for connection in held:
            connection.resume(LOG_BEHIND)

    def disconnect(self, device: DeviceId) -> None:
        """End the device's connection; what was kept for its next one, or of it, is gone too."""
        if device in self.connections:
            self.connections[device].end(Reason.ADMINISTRATIVE_ACTION)
        self.outboxes.forget(device)
        for leaf in ("status", "state"):
            topic = device_topic(self.settings.base, device, leaf)
            if self.broker.retained(topic) is not None:
                self.broker.publish(topic, b"", qos=1, retain=True)

    def recheck(self) -> None:
        """Keys, users, agents or devices have changed: end what would not be let in any more."""
        for connection in list(self.connections.values()):
            connection.recheck()
        for person in list(self.people_online.values()):
            person.recheck()
        for visitor in list(self.meeting.online.values()):
            visitor.recheck()
        self.meeting.recheck()

    def accept(self) -> Connection:
        """The protocol of a new socket: for `loop.create_server`."""
        return Connection(self)

    def tell(
        self, device: DeviceId, leaf: str, payload: bytes, *, qos: int, retain: bool = False
    ) -> None:
        """To the device and to people, as far as they have subscribed and may hear it."""
        outbox = self.outboxes.get(device)
        if outbox is not None:
            outbox.pass_on(leaf, payload, qos, retained=retain)
        topic = device_topic(self.settings.base, device, leaf)
        self.broker.publish(topic, payload, qos=qos, retain=retain)

    @property
    def connection(self) -> int:
        """To the broker, which is our own: there is one from the start on."""
        return 1

    def announce(self, topic: str, payload: bytes) -> None:
        """Retained, to people who may hear it; nothing = no more."""
        self.broker.publish(topic, payload, qos=1, retain=True)

    def keeps_status(self, device: DeviceId) -> bool:
        """Whether the device's own word on how it is is kept."""
        return self.broker.retained(device_topic(self.settings.base, device, "status")) is not None

    def say_offline(self) -> None:
        """The hub is stopping: whoever listens to its status is told."""
        for outbox in self.outboxes.values():
            outbox.pass_on(HUB_STATUS, b"offline", 1, retained=True)
        self.broker.publish(hub_status(self.settings.base), b"offline", qos=1, retain=True)


def _nobody(_: bytes) -> None:
    """Before anybody wants to know."""
