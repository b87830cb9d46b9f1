"""The door for another broker's devices, at Debian's mosquitto, with a log that is behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hub.errors import OperatorFault
from hub.intake.mqtt.external_broker import ExternalBroker
from hub.settings import MqttSettings
from hub.words import DeviceId
from tests.acceptance.mosquitto import PASSWORD, device_broker
from tests.acceptance.paho_client import PahoClient
from tests.intake.fakes import ManualLog
from tests.intake.house import OBS, WALKER, House, become

if TYPE_CHECKING:
    from pathlib import Path


def door(house: House, settings: MqttSettings) -> ExternalBroker:
    """In front of the rooms of a house."""
    return ExternalBroker(
        house.registry,
        house.sessions,
        house.receiver,
        house.gate.commands,
        settings,
        house.clock,
    )


async def test_what_is_held_back_is_held_once_however_often_the_broker_sends_it(
    tmp_path: Path,
) -> None:
    house = House(ManualLog(), MqttSettings())
    house.registry.devices[DeviceId("heater")] = WALKER
    with (
        device_broker(tmp_path, ["heater"]) as broker,
        PahoClient(broker.port, "heater", PASSWORD) as device,
    ):
        external = door(house, MqttSettings(broker=broker.address))
        device.subscribe("rl/v1/hub/status", 1)
        await external.start("1")
        await become(lambda: b"online" in [said[1] for said in device.heard()])
        house.log.crowded = True
        device.publish(OBS, b'{"s":1,"o":[1,2]}', 1)
        await become(lambda: [one.connection for one in external.held] == [1])
        external.come_again()
        await become(lambda: external.held[-1].connection == 2)
        assert [one.connection for one in external.held] == [2]
        house.log.crowded = False
        external.relieve()
        house.log.commit()
        assert house.observed() == [("heater", 1)]
        await external.stop()


async def test_certificates_that_cant_be_read_are_said_before_anything_is_opened(
    tmp_path: Path,
) -> None:
    house = House(ManualLog(), MqttSettings())
    missing = str(tmp_path / "ca.pem")
    with pytest.raises(OperatorFault, match="broker_ca_file"):
        door(house, MqttSettings(broker="mqtts://broker", broker_ca_file=missing))
