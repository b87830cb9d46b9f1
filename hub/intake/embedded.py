"""The hub as its own MQTT broker: the gate for devices, amqtt behind it for people's clients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.intake.broker import Broker
from hub.intake.gate import Gate
from hub.intake.people import People

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.intake.commands import Commands
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings


def embedded(
    registry: Registry,
    sessions: Sessions,
    receiver: Receiver,
    commands: Commands,
    settings: MqttSettings,
    clock: Clock,
) -> Gate:
    """The gate with all that stands behind it; `gate.broker` is to be started."""
    people = People(registry, settings.base)
    broker = Broker(settings.base, people)
    return Gate(registry, sessions, receiver, broker, people, commands, settings, clock)
