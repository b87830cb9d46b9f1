"""The hub's door for MQTT: its own broker, or somebody else's, and what it says there by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from hub.intake.commands import Commands
from hub.intake.homeassistant.announce import FILE, Announcements
from hub.intake.mqtt.broker import Broker
from hub.intake.mqtt.external_broker import ExternalBroker
from hub.intake.mqtt.gate import Gate
from hub.intake.mqtt.people import People
from hub.intake.states import States

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hub.clock import Clock
    from hub.intake.commands import SwitchLearning
    from hub.intake.mqtt.claim_client import Claiming
    from hub.intake.overrides import Overrides
    from hub.intake.receive import Receiver
    from hub.intake.session import Sessions
    from hub.registry.fold import Registry
    from hub.settings import MqttSettings


class Rooms(Struct, frozen=True):
    """What stands behind the door."""

    registry: Registry
    sessions: Sessions
    receiver: Receiver
    overrides: Overrides
    switch_learning: SwitchLearning
    clock: Clock
    claiming: Claiming


def make_door(rooms: Rooms, settings: MqttSettings) -> Gate | ExternalBroker:
    """One of the two, to be started; only a `Gate` has sockets that devices connect to.

    Raises:
        OperatorFault: the setting names no broker.
    """
    registry, sessions, receiver = rooms.registry, rooms.sessions, rooms.receiver
    commands = Commands(registry, sessions, receiver, rooms.overrides, rooms.switch_learning)
    if settings.broker:
        return ExternalBroker(registry, sessions, receiver, commands, settings, rooms.clock)
    people = People(registry, settings.base, settings.home_assistant)
    broker = Broker(settings.base, people, filters_max=settings.person_filters_max)
    return Gate(
        registry,
        sessions,
        receiver,
        broker,
        people,
        commands,
        settings,
        rooms.clock,
        rooms.claiming,
    )


def make_announcements(
    rooms: Rooms, door: Gate | ExternalBroker, settings: MqttSettings, data: Path, version: str
) -> Announcements:
    """What Home Assistant is told there of devices."""
    return Announcements(rooms.registry, door, settings, data / FILE, version)


def make_states(
    rooms: Rooms,
    door: Gate | ExternalBroker,
    settings: MqttSettings,
    call_later: Callable[..., object],
) -> States:
    """What is said there of how devices fare."""
    states = States(
        rooms.registry,
        rooms.sessions,
        rooms.overrides,
        door.tell,
        rooms.clock,
        settings.state_s,
        call_later,
    )
    rooms.receiver.episode_ended = states.episode_ended
    return states
