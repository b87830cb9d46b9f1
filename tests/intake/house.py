"""A gate that listens, with the real broker behind it and a log that commits when told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hub.intake.commands import Commands
from hub.intake.mqtt import wire
from hub.intake.mqtt.broker import Broker
from hub.intake.mqtt.connection import Connection
from hub.intake.mqtt.gate import Gate
from hub.intake.mqtt.people import People
from hub.intake.overrides import Overrides
from hub.intake.receive import Receiver
from hub.intake.session import Sessions
from hub.registry.access import fingerprint
from hub.registry.fold import Registry
from hub.registry.quotas import Quotas
from hub.settings import MqttSettings, QuotaSettings, StepSettings
from hub.words import AgentName, DeviceId, Key, KeyId, Kind
from tests.intake.fakes import EchoDelivery, ManualClock, ManualLog, NoClaims, agent_spec
from tests.intake.mqtt.raw_client import WAIT_S, Packet, RawClient

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "walkers"
WALKER = AgentName("walker")
ACT, ERR, CFG = "rl/v1/heater/act", "rl/v1/heater/err", "rl/v1/heater/cfg"
OBS = "rl/v1/heater/obs"


class House:
    """A gate that listens, and all that stands behind it."""

    def __init__(self, log: ManualLog, settings: MqttSettings) -> None:
        self.log = log
        self.clock = ManualClock()
        self.registry = Registry()
        for name in ("walker", "runner"):
            self.registry.agents[AgentName(name)] = agent_spec(name=AgentName(name))
            key = Key(KeyId(name), AgentName(name))
            self.registry.keys[fingerprint(f"{name}s")] = key
        self.quotas = Quotas(self.registry, QuotaSettings(), self.clock)
        self.sessions = Sessions(self.registry, log, self.clock, self.quotas)
        self.delivery = EchoDelivery(log)
        self.receiver = Receiver(self.registry, log, self.delivery, self.clock, StepSettings())
        self.people = People(self.registry, "rl/v1", settings.home_assistant)
        self.broker = Broker("rl/v1", self.people, filters_max=settings.person_filters_max)
        self.switched: list[tuple[str, bool, str]] = []
        self.overrides = Overrides(self.registry, log, self.clock, lasts_s=3600.0)
        commands = Commands(
            self.registry, self.sessions, self.receiver, self.overrides, self._switch_learning
        )
        self.gate = Gate(
            self.registry,
            self.sessions,
            self.receiver,
            self.broker,
            self.people,
            commands,
            settings,
            self.clock,
            NoClaims(),
        )
        self.port = 0

    async def _switch_learning(self, agent: str, on: bool, who: str) -> None:
        self.switched.append((agent, on, who))

    def client(self) -> RawClient:
        """A client, not connected yet."""
        return RawClient(self.port)

    def connection(self, device: str = "heater") -> Connection:
        """The gate's side of a device's connection."""
        return self.gate.connections[DeviceId(device)]

    def observed(self) -> list[tuple[str, int | None]]:
        """Device and step of each observation that is durable."""
        return [(event.device, event.step) for event in self.log.of_kind(Kind.OBSERVATION)]


async def become(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event of its own
            await asyncio.sleep(0)


def publish(
    payload: bytes, *, topic: str = OBS, qos: int = 1, packet_id: int = 7, **more: Any
) -> bytes:
    return wire.publish(topic, payload, qos=qos, packet_id=packet_id, **more)


async def step(client: RawClient, number: int, **options: Any) -> list[Packet]:
    """Send an observation; PUBACK and action."""
    client.send(publish(b'{"s":%d,"o":[1,2]}' % number, **options))
    return [await client.read(), await client.read()]
