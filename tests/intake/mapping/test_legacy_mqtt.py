"""A legacy device at the gate and at another broker: its own topics, its own words."""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs

from hub.intake.mqtt import wire
from hub.intake.mqtt.external_broker import ExternalBroker
from hub.intake.mqtt.outbox import ELSEWHERE_MAX, Outbox
from hub.intake.mqtt.outbox5 import Outbox5
from hub.intake.mqtt.wire import PacketType
from hub.mappings import MappingName
from hub.registry.fold import Registered
from hub.settings import MqttSettings
from hub.words import DeviceId, Kind
from tests.acceptance.mosquitto import PASSWORD, Mosquitto, device_broker
from tests.acceptance.paho_client import PahoClient
from tests.intake.fakes import EagerLog, ManualLog
from tests.intake.house import KEY, OBS, WALKER, House, become, publish
from tests.intake.mapping.mapped import shipped
from tests.intake.mqtt import raw_client5
from tests.intake.mqtt.raw_client import PUBACK, PUBLISH
from tests.intake.mqtt.raw_client5 import RawClient5

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.mappings import Mapping
    from tests.intake.mqtt.raw_client import RawClient

SENSOR, POWER, LWT = "tele/heater/SENSOR", "cmnd/heater/POWER", "tele/heater/LWT"
SAID = b'{"BME280":{"Temperature":%d,"Humidity":40}}'


def add(house: House, name: str = "plug", **changes: Any) -> None:
    """As an operator would: the walkers are plugs with two sensors."""
    plug = shipped("tasmota").mapping
    mapping: Mapping = structs.replace(plug, observations=plug.observations[:2], **changes)
    known = house.registry.mappings
    made = Registered(MappingName(name), WALKER, 1, mapping)
    house.registry.mappings = known | {made.name: made}


async def plug(house: House, client: RawClient, **options: Any) -> None:
    """Connected, and subscribed as Tasmota does."""
    await client.connected("heater", KEY, **options)
    assert await client.subscribed("cmnd/heater/#", "cmnd/tasmotas/#", qos=0) == [0, 0]
    del house


async def test_a_sensor_message_is_a_step_and_its_action_a_command(house: House) -> None:
    add(house)
    async with house.client() as client:
        await plug(house, client)
        for number, word in ((20, b"OFF"), (21, b"ON")):
            client.send(publish(SAID % number, topic=SENSOR, qos=0))
            command = await client.read()
            assert (command.topic, command.payload) == (POWER, word)
            assert command.flags == 0, "QoS 0, and never retained"
    observations = house.log.of_kind(Kind.OBSERVATION)
    assert [struct.unpack("<2f", one.obs or b"") for one in observations] == [(20, 40), (21, 40)]
    kept = msgspec.json.decode(observations[0].payload or "")
    assert kept == {"mapping": "plug", "version": 1, "raw": (SAID % 20).decode()}


async def test_a_command_leaves_when_its_observation_is_durable_and_a_duplicate_is_no_step(
    open_house: Callable[..., Any],
) -> None:
    house: House = await open_house(ManualLog())
    add(house)
    async with house.client() as client:
        await plug(house, client)
        client.send(publish(SAID % 20, topic=SENSOR))
        await become(lambda: len(house.log.pending) > 1)
        assert await client.answers_ping() == []
        house.log.commit()
        answers = [await client.read(), await client.read()]
        assert [packet.type for packet in answers] == [PUBACK, PUBLISH]
        client.send(publish(SAID % 20, topic=SENSOR, duplicate=True))
        again = [await client.read(), await client.read()]
        assert [packet.type for packet in again] == [PUBACK, PUBLISH]
        assert again[1].payload == answers[1].payload
    assert house.observed() == [("heater", 0)]


@pytest.mark.parametrize(
    "topic", ["tele/cooler/SENSOR", "tele/heater/STATE", "tasmota/discovery/AB/config"]
)
async def test_what_no_mapping_reads_is_acknowledged_and_goes_nowhere(
    house: House, topic: str
) -> None:
    add(house)
    async with house.client() as client, house.client() as other:
        await plug(house, client)
        await other.connected("cooler", KEY)
        await other.subscribed("tele/#", "tasmota/#")
        client.send(publish(SAID % 20, topic=topic, retain=True))
        assert (await client.read()).type == PUBACK
        assert await other.answers_ping() == []
    assert house.observed() == []
    assert house.broker.retained(topic) is None
    unread = house.receiver.mappings.unread
    assert (unread.counts, unread.newest) == ({WALKER: 1}, {WALKER: topic})


@pytest.mark.parametrize("topic", ["rl/v1/cooler/obs", "rl/v1/heater/act", "rl/v1/hub/status"])
async def test_the_hubs_own_tree_stays_closed_to_it(house: House, topic: str) -> None:
    add(house)
    async with house.client() as client:
        await plug(house, client)
        assert (await client.subscribed("rl/v1/cooler/#"))[0] == wire.NOT_GRANTED
        client.send(publish(b"{}", topic=topic))
        assert [packet.type for packet in await client.read_until_closed()] == []


async def test_it_may_speak_natively_too(house: House) -> None:
    add(house)
    async with house.client() as client:
        await plug(house, client)
        client.send(publish(b'{"s":0,"o":[1,2]}', topic=OBS))
        assert (await client.read()).type == PUBACK
    assert house.observed() == [("heater", 0)]


async def test_devices_of_an_agent_without_a_mapping_have_no_such_topics(house: House) -> None:
    async with house.client() as client:
        await client.connected("heater", KEY)
        assert await client.subscribed("cmnd/heater/#") == [wire.NOT_GRANTED]
        client.send(publish(SAID % 20, topic=SENSOR))
        await client.read_until_closed()
    async with house.client() as client:
        client.connect_with("heater", KEY, will=(LWT, b"Offline"))
        (refused,) = await client.read_until_closed()
    assert refused.body[1] == wire.ConnectCode.NOT_AUTHORIZED
    assert house.observed() == []


async def test_its_own_words_and_its_will_become_its_status(house: House) -> None:
    add(house)
    status = "rl/v1/heater/status"
    async with house.client() as client:
        await plug(house, client, will=(LWT, b"Offline"))
        client.send(publish(b"Online", topic=LWT, retain=True))
        await client.read()
        assert house.broker.retained(status) == (b"online", 1)
        client.send(publish(b"Sleeping", topic=LWT, retain=True))
        await client.read()
        assert house.broker.retained(status) == (b"online", 1)
    await become(lambda: house.broker.retained(status) == (b"offline", 0))


async def test_a_will_that_no_mapping_reads_is_nobodys_status(house: House) -> None:
    add(house, status=None)
    async with house.client() as client:
        await plug(house, client, will=(LWT, b"Offline"))
    await become(lambda: not house.gate.connections)
    assert house.broker.retained("rl/v1/heater/status") is None


async def test_a_payload_that_can_not_be_read_is_acknowledged_and_refused(house: House) -> None:
    add(house)
    async with house.client() as client:
        await plug(house, client)
        await client.subscribed("rl/v1/heater/err")
        client.send(publish(b'{"BME280":{}}', topic=SENSOR))
        assert (await client.read()).type == PUBACK
        said = (await client.read()).json
        assert (said["e"], said["m"]) == ("shape", "temp (BME280.Temperature) is missing")
        client.send(publish(b"x" * 20_000, topic=SENSOR, packet_id=8))
        assert {(await client.read()).type, (await client.read()).type} == {PUBACK, PUBLISH}
    refused = house.log.of_kind(Kind.REFUSED)
    assert [one.reason for one in refused] == ["shape", "size"]


async def test_the_topic_may_spell_the_device_in_capitals_and_is_answered_so(house: House) -> None:
    add(house)
    async with house.client() as client:
        await client.connected("heater", KEY)
        await client.subscribed("cmnd/Heater/#")
        client.send(publish(SAID % 20, topic="tele/Heater/SENSOR", qos=0))
        assert (await client.read()).topic == "cmnd/Heater/POWER"


async def test_a_topic_that_names_no_device_is_whoevers_connection_it_is(house: House) -> None:
    add(house, topics=["boiler/values"], action=shipped("tasmota").mapping.action)
    async with house.client() as client:
        await plug(house, client)
        client.send(publish(SAID % 20, topic="boiler/values", qos=0))
        assert (await client.read()).topic == POWER
    assert house.observed() == [("heater", 0)]


OUTBOXES = [
    Outbox("heater", "rl/v1", lasts_s=math.inf, unreleased_max=9),
    Outbox5("heater", "rl/v1", lasts_s=math.inf, unreleased_max=9, now_s=lambda: 0.0),
]


@pytest.mark.parametrize("outbox", OUTBOXES, ids=lambda outbox: type(outbox).__name__)
def test_filters_outside_the_tree_are_bounded_and_the_newest_command_waits(
    outbox: Outbox,
) -> None:
    outbox.elsewhere = True
    filters = [(f"{device}/#", 1) for device in ("cmnd", *range(ELSEWHERE_MAX))]
    codes, _ = outbox.subscribe([*filters, ("x" * 300, 1)])
    assert codes[:-2] == [1] * ELSEWHERE_MAX
    assert all(code >= wire.NOT_GRANTED for code in codes[-2:])
    assert outbox.subscribe([("cmnd/#", 1)])[0] == [1], "it is there already"
    for i in range(10):
        outbox.command(POWER, b"%d" % i, 1)
        outbox.command(f"elsewhere/{i}", b"", 1)
    sent: list[bytes] = []
    outbox.attach(sent.append)
    assert [packet[-1:] for packet in sent] == [b"9"]
    outbox.command(POWER, b"ON", 0)
    assert sent[-1].endswith(POWER.encode() + b"ON") or sent[-1].endswith(b"\0ON")


async def test_mqtt_5_devices_are_served_alike(house: House) -> None:
    add(house)
    async with RawClient5(house.port) as client:
        client.send(raw_client5.connect("heater", KEY))
        await client.hear()
        client.send(raw_client5.subscribe("cmnd/heater/#", options=0))
        assert (await client.hear()).codes == [0]
        client.send(publish_5(SAID % 20))
        heard = [await client.hear(), await client.hear()]
        assert [said.packet.type for said in heard] == [PUBACK, PUBLISH]
        assert (heard[1].topic, heard[1].payload) == (POWER, b"OFF")


def publish_5(payload: bytes) -> bytes:
    """At QoS 1, without properties."""
    body = len(SENSOR).to_bytes(2, "big") + SENSOR.encode() + b"\0\7\0" + payload
    return bytes((PacketType.PUBLISH << 4 | 2, len(body))) + body


# --- another broker ----------------------------------------------------------------------------


def legacy_broker(tmp_path: Path) -> Mosquitto:
    """As docs/legacy.md has it: four lines more in its rules."""
    broker = device_broker(tmp_path, ["heater"])
    acl = broker.folder / "acl"
    own = "topic readwrite rl/v1/#\n"
    rules = acl.read_text().replace(own, f"{own}topic read tele/#\ntopic write cmnd/#\n")
    acl.write_text(f"{rules}pattern write tele/%u/#\npattern read cmnd/%u/#\n")
    return broker


async def test_another_brokers_legacy_devices_are_heard_as_soon_as_they_are_mapped(
    tmp_path: Path,
) -> None:
    house = House(EagerLog(), MqttSettings())
    house.registry.devices[DeviceId("heater")] = WALKER
    with (
        legacy_broker(tmp_path) as broker,
        PahoClient(broker.port, "heater", PASSWORD) as device,
    ):
        settings = MqttSettings(broker=broker.address)
        external = ExternalBroker(
            house.registry,
            house.sessions,
            house.receiver,
            house.gate.commands,
            settings,
            house.clock,
        )
        device.subscribe("cmnd/heater/#", 0)
        device.subscribe("rl/v1/hub/status", 1)
        device.publish(LWT, b"Online", 1, retain=True)
        await external.start("1")
        await become(lambda: b"online" in [said[1] for said in device.heard()])
        add(house)
        external.listen()
        device.subscribe("rl/v1/heater/status", 1)
        await become(lambda: ("rl/v1/heater/status", b"online") in told(device))
        device.publish(SENSOR, SAID % 20, 1)
        await become(lambda: (POWER, b"OFF") in told(device))
        assert house.observed() == [("heater", 0)]
        house.registry.mappings = {}
        external.listen()
        device.publish(SENSOR, SAID % 20, 1)
        device.publish(OBS, b'{"o":[1,2]}', 1)
        await become(lambda: len(house.observed()) > 1)
        assert house.observed() == [("heater", 0), ("heater", 1)], "the native one"
        await external.stop()


def told(device: PahoClient) -> list[tuple[str, bytes]]:
    return [(said[0], said[1]) for said in device.heard()]
