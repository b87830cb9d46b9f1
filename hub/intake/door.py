"""The hub's door for MQTT: its own broker, or somebody else's, by one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hub.intake.mqtt.broker import Broker
from hub.intake.mqtt.external_broker import ExternalBroker
from hub.intake.mqtt.gate import Gate
from hub.intake.mqtt.people import People

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.intake.commands import Commands
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings


def make_door(
    registry: Registry,
    sessions: Sessions,
    receiver: Receiver,
    commands: Commands,
    settings: MqttSettings,
    clock: Clock,
) -> Gate | ExternalBroker:
    """One of the two, to be started; only a `Gate` has sockets that devices connect to.

    Raises:
        OperatorFault: the setting names no broker.
    """
    if settings.broker:
        return ExternalBroker(registry, sessions, receiver, commands, settings, clock)
    people = People(registry, settings.base)
    broker = Broker(settings.base, people, filters_max=settings.person_filters_max)
    return Gate(registry, sessions, receiver, broker, people, commands, settings, clock)
