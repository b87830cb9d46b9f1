"""MQTT by somebody else's broker: the hub is its client, and devices are told apart by topic.

Rule 1: the broker has acknowledged to the device before we have anything; what proves that an
    observation is in the log is its action. The broker keeps it until then, for we acknowledge
    after the commit.
Rule 2: who may publish where is the broker's to say (`deploy/mosquitto`): a topic is proof enough.
    Only devices that an operator has given an agent (`sheepfold device add`) are heard.
Rule 3: what the broker sends once more, after a crash of either, is recognised as a repeat.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from hub.address import read_address
from hub.errors import DeviceFault, SheepfoldError
from hub.intake.mqtt.admission import packet_bytes_max
from hub.intake.mqtt.outbox import Outbox
from hub.intake.mqtt.publish import MqttReply, Publications
from hub.intake.mqtt.takeovers import Takeovers
from hub.intake.mqtt.wire import Publish
from hub.mqtt_hub import HubLink, Incoming, trust
from hub.payloads import Err
from hub.registry.buckets import Buckets
from hub.topics import (
    DEVICE_PUBLISHES,
    OPERATOR_PUBLISHES,
    birth,
    device_leaf,
    device_topic,
    hub_status,
)
from hub.words import Code, DeviceId, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.intake.commands import Commands
    from hub.intake.mapping.bound import Heard
    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings

HEARD: Final = (*(leaf for leaf in DEVICE_PUBLISHES if leaf != "status"), *OPERATOR_PUBLISHES)
BROKER: Final = "broker"
"""Who commands, in the log: the broker knows, and does not say."""
STRANGERS_MAX: Final = 10_000
HELD_MAX: Final = 1000
"""A connection brings a few before its reading pauses; those of QoS 1 come again on the next."""
AGAIN_S: Final = 1.0
"""After something could not be made durable, until the broker is asked for it again."""


class ExternalBroker:
    """Does for devices of another broker what `Gate` does for those of our own."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        receiver: Receiver,
        commands: Commands,
        settings: MqttSettings,
        clock: Clock,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._receiver = receiver
        self._commands = commands
        self._settings = settings
        self._clock = clock
        self._mappings = receiver.mappings
        self._address = read_address(settings.broker, "mqtt.broker")
        self._trusted = trust(settings.broker_ca_file) if self._address.tls else None
        self._link: HubLink | None = None
        self._running: asyncio.Task[None] | None = None
        self._devices: dict[DeviceId, _Device] = {}
        self.held: deque[Incoming] = deque(maxlen=HELD_MAX)
        """Read, and not taken yet: the log is behind."""
        self._again: asyncio.TimerHandle | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self.on_birth: Callable[[bytes], None] = _nobody
        """Called with what Home Assistant says of itself."""
        self._statuses: set[DeviceId] = set()
        """Devices whose own word on how they are is kept by the broker."""
        self._strangers: Buckets[str] = Buckets(1.0, burst_s=1.0, most=STRANGERS_MAX)
        self.connections: frozenset[DeviceId] = frozenset()
        """Devices' sockets are the broker's: nobody's is known here."""
        self.takeovers = Takeovers(clock)
        """None either."""
        self.logins_refused = 0
        """Messages of devices that have no agent."""

    @property
    def sockets(self) -> int:
        """To the broker; those of the devices are its own."""
        return int(self._link is not None and self._link.online)

    async def start(self, hub_id: str) -> None:
        """Begin to connect; a broker that is not there yet is waited for."""
        settings = self._settings
        self._link = HubLink(
            self._address,
            client_id=f"sheepfold-{hub_id}",
            filters=self._filters(),
            status_topic=hub_status(settings.base),
            under_way_max=settings.broker_under_way_max,
            retry_s_max=settings.broker_retry_s_max,
            trusted=self._trusted,
        )
        self._link.on_message = self._receive
        self._running = asyncio.get_running_loop().create_task(self._link.run())

    def listen(self) -> None:
        """Mappings have changed: hear what they want."""
        if self._link is not None:
            self._link.listen(self._filters())

    def _filters(self) -> list[str]:
        """Of all that devices and operators publish, legacy devices too."""
        settings = self._settings
        prefix = f"$share/{settings.broker_share}/" if settings.broker_share else ""
        native = [f"{settings.base}/+/{leaf}" for leaf in HEARD]
        shared = [prefix + one for one in (*native, *sorted(self._mappings.filters))]
        if not settings.home_assistant:
            return shared
        # Each hub for itself: what is retained does not come by a shared subscription.
        return [*shared, f"{settings.base}/+/status", birth(settings.home_assistant)]

    async def stop(self) -> None:
        """Leave."""
        if self._link is not None and self._running is not None:
            await self._link.say_goodbye()
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def say_offline(self) -> None:
        """Said by `stop`, when all answers have left."""

    def relieve(self) -> None:
        """The log has caught up: take what waits, and read on."""
        while self.held and not self._receiver.crowded:
            self._take(self.held.popleft())
        if not self.held and self._link is not None:
            self._link.resume()

    def disconnect(self, device: DeviceId) -> None:
        """The device's session is over, and so is what the broker keeps of its state."""
        self._devices.pop(device, None)
        self.tell(device, "state", b"", qos=0, retain=True)

    def recheck(self) -> None:
        """Nobody is connected here: each message is looked at for itself."""

    def tell(
        self, device: DeviceId, leaf: str, payload: bytes, *, qos: int, retain: bool = False
    ) -> None:
        """Publish below the device's id."""
        if self._link is not None:
            topic = device_topic(self._settings.base, device, leaf)
            self._link.publish(topic, payload, qos=qos, retain=retain)

    @property
    def connection(self) -> int:
        """Counts those to the broker; 0 before the first."""
        return 0 if self._link is None else self._link.connection

    def announce(self, topic: str, payload: bytes) -> None:
        """Retained, to whom the broker lets hear it; nothing = no more."""
        if self._link is not None:
            self._link.publish(topic, payload, qos=1, retain=True)

    def keeps_status(self, device: DeviceId) -> bool:
        """Whether the device's own word on how it is is kept; known while devices are announced."""
        return device in self._statuses

    def acknowledge(self, message: Incoming) -> None:
        """The broker may forget it."""
        if self._link is not None and message.qos:
            self._link.acknowledge(message.packet_id, message.connection)

    def come_again(self) -> None:
        """Something was not taken: the broker sends it again on the next connection."""
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._lose)

    def _lose(self) -> None:
        self._again = None
        if self._link is not None:
            self._link.lose()

    def _receive(self, message: Incoming) -> None:
        if self.held or self._receiver.crowded:
            if self.held and self.held[-1].connection != message.connection:
                self._forget_older()
            self.held.append(message)
            assert self._link is not None, "it brought the message"
            self._link.pause()
        else:
            self._take(message)

    def _forget_older(self) -> None:
        """On a new connection the broker sends all again that waits to be acknowledged."""
        never_again = [message for message in self.held if not message.qos]
        self.held.clear()
        self.held.extend(never_again)

    def _take(self, message: Incoming) -> None:
        found = device_leaf(self._settings.base, message.topic)
        heard = self._mappings.overhear(message.topic) if found is None else None
        if heard is not None:
            self._take_mapped(heard, message)
            return
        if found is None and message.topic == birth(self._settings.home_assistant):
            self.on_birth(message.payload)
        elif found is not None and found[1] == "status":
            self._note_status(DeviceId(found[0]), message.payload)
        if found is None or found[1] not in HEARD or message.retained:
            self.acknowledge(message)  # what is retained was said to somebody else, some time ago
            return
        device, leaf = DeviceId(found[0]), found[1]
        if device not in self._registry.devices:
            self._turn_away(device)
            self.acknowledge(message)
        elif leaf in OPERATOR_PUBLISHES:
            task = asyncio.get_running_loop().create_task(self._command(device, leaf, message))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)
        else:
            self._device(device).take_from(message, leaf)

    def _note_status(self, device: DeviceId, payload: bytes) -> None:
        if not payload:
            self._statuses.discard(device)
        elif device in self._registry.devices or len(self._statuses) < STRANGERS_MAX:
            self._statuses.add(device)

    def _take_mapped(self, heard: Heard, message: Incoming) -> None:
        device = heard.device
        assert device is not None, "it was overheard by its device"
        if heard.is_status:  # retained or not: it is how the device is now
            word = heard.bound.status_word(message.payload)
            if word is not None:
                self.tell(device, "status", word, qos=message.qos, retain=True)
        if heard.is_status or message.retained:
            self.acknowledge(message)
        else:
            self._device(device).take_mapped_from(message, heard)

    def publish(self, topic: str, payload: bytes, *, qos: int) -> None:
        """To a topic of a legacy device's own."""
        if self._link is not None:
            self._link.publish(topic, payload, qos=qos)

    def _turn_away(self, device: DeviceId) -> None:
        self.logins_refused += 1
        if self._strangers.take(device, self._clock.monotonic()) == 0.0:
            text = f"device {device!r} has no agent; its operator can 'sheepfold device add' it"
            self.tell(device, "err", msgspec.json.encode(Err(e=Code.AUTH, m=text)), qos=1)

    async def _command(self, device: DeviceId, leaf: str, message: Incoming) -> None:
        try:
            await self._commands.carry_out(BROKER, device, leaf, message.payload)
        except DeviceFault as fault:
            if fault.code is Code.BUSY:
                self.come_again()
                return
        except SheepfoldError:
            self._receiver.refused += 1
        self.acknowledge(message)

    def _device(self, device: DeviceId) -> _Device:
        """The device's session, opened at its first message; anew once it was moved."""
        agent = self._registry.devices[device]
        known = self._devices.get(device)
        if known is None or known.session.agent != agent:
            session = self._sessions.open(device, agent, Protocol.MQTT)
            known = self._devices[device] = _Device(
                self, self._receiver, self._sessions, session, self._settings
            )
        return known


class _Device(Publications):
    """A device's publishes; the broker has its subscriptions and its connection."""

    __slots__ = ("_broker", "_settings")

    def __init__(
        self,
        broker: ExternalBroker,
        receiver: Receiver,
        sessions: Sessions,
        session: Session,
        settings: MqttSettings,
    ) -> None:
        outbox = Outbox(session.device.id, settings.base, lasts_s=0, unreleased_max=0)
        super().__init__(
            _NoLine(), receiver, sessions, session, outbox, settings.unacknowledged_max
        )
        self._broker = broker
        self._settings = settings

    def take_from(self, message: Incoming, leaf: str) -> None:
        """One message of the device."""
        publish, reply = _as_publish(message), _Reply(self, leaf, message, self._broker)
        if self._refuses(message, reply):
            return
        packet = (publish.packet_id, crc32(publish.payload)) if publish.qos else None
        self._dispatch(leaf, publish.payload, reply, packet, duplicate=publish.duplicate)

    def take_mapped_from(self, message: Incoming, heard: Heard) -> None:
        """One message of a legacy device."""
        reply = _Reply(self, "obs", message, self._broker)
        if not self._refuses(message, reply):
            self._take_mapped(_as_publish(message), heard, reply)

    def command(self, topic: str, payload: bytes, qos: int) -> None:
        """To a legacy device, by the broker."""
        self._broker.publish(topic, payload, qos=qos)

    def _refuses(self, message: Incoming, reply: _Reply) -> bool:
        """Whether it is larger than the device may send; then it is told."""
        spec = self._sessions.spec(self.session)
        limit = self._settings.packet_bytes_min
        if spec is not None:
            limit = packet_bytes_max(spec, self._settings)
        if len(message.payload) > limit:
            text = f"{len(message.payload)} bytes, this agent's devices may send {limit}"
            self._receiver.refuse(self.session, DeviceFault(Code.SIZE, text), reply)
        return len(message.payload) > limit

    def send(self, leaf: str, payload: bytes, qos: int) -> None:
        """To the device, by the broker."""
        self._broker.tell(self.device, leaf, payload, qos=qos)


def _as_publish(message: Incoming) -> Publish:
    return Publish(
        message.topic,
        message.payload,
        message.qos,
        message.duplicate,
        retain=False,
        packet_id=message.packet_id,
    )


class _Reply(MqttReply):
    """Answers one message, and lets the broker forget it when it is in the log."""

    __slots__ = ("_broker", "_message")

    def __init__(
        self, device: _Device, leaf: str, message: Incoming, broker: ExternalBroker
    ) -> None:
        super().__init__(device, leaf, message.qos, message.packet_id)
        self._message = message
        self._broker = broker

    def durable(self, seq: int) -> None:
        """On disk."""
        del seq
        self._broker.acknowledge(self._message)

    def refuse(self, fault: DeviceFault, *, acknowledge: bool) -> None:
        """Refused for good, or to be sent again by the broker."""
        if acknowledge:
            self._broker.acknowledge(self._message)
        elif self._message.qos:
            self._broker.come_again()
        self.warn(fault)


class _NoLine:
    """The device's connection is the broker's: nothing is paused or sent there."""

    is_open = True

    def send(self, packet: bytes) -> None:
        raise AssertionError(f"the broker speaks with the device: {packet!r}")

    def pause(self, reason: str = "") -> None:
        """Others are on the same connection."""

    def resume(self, reason: str = "") -> None:
        """It was not paused."""


def _nobody(_: bytes) -> None:
    """Before anybody wants to know."""
