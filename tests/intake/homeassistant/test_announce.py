"""When Home Assistant is told of a device, who may hear it, and when it is taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from msgspec import structs

from hub.intake.homeassistant.announce import AT_ONCE, FILE, Announcements
from hub.intake.mqtt.wire import ConnectCode
from hub.registry.access import fingerprint
from hub.registry.fold import spec_of
from hub.settings import MqttSettings
from hub.topics import discovery_topic
from hub.words import AgentName, DeviceId, Key, KeyId, User
from tests.intake.fakes import agent_spec
from tests.intake.homeassistant.rules import entities, taken
from tests.intake.house import KEY, WALKER, publish
from tests.intake.mqtt.raw_client import PUBACK, PUBLISH

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.intake.house import House
    from tests.intake.mqtt.raw_client import Packet, RawClient

PREFIX: Final = "homeassistant"
BIRTH: Final = "homeassistant/status"
FILTERS: Final = ("sensor/+/+/config", "device/+/config", "device/+/+/config")
"""Some of those that it subscribes to, below its prefix; by the others nothing can come."""
HEATER, COOLER = DeviceId("heater"), DeviceId("cooler")
RUNNER: Final = AgentName("runner")


def topic(owner: str, device: str) -> str:
    return discovery_topic(PREFIX, owner, "rl/v1", device)


class Home:
    """A house whose devices are announced; ann owns the walkers, bob the runners."""

    def __init__(self, house: House, file: Path, setting: str = PREFIX) -> None:
        self.house = house
        self.registry = house.registry
        for name, role in (("ann", "owner"), ("bob", "owner"), ("root", "admin")):
            self.registry.users[name] = User(name, role)  # type: ignore[arg-type]  # one of the two
            self.registry.keys[fingerprint(f"{name}'s")] = Key(KeyId(name), None, user=name)
        self.registry.owners = {WALKER: "ann", RUNNER: "bob"}
        settings = MqttSettings(home_assistant=setting)
        self.announcements = Announcements(
            self.registry, house.gate, settings, file / FILE, "0.1.0"
        )
        self.file = file / FILE

    async def look(self) -> None:
        """Once."""
        await self.announcements.look()


@pytest.fixture
async def home(open_house: Callable[..., Any], tmp_path: Path) -> Home:
    return Home(await open_house(home_assistant=PREFIX), tmp_path)


async def home_assistant(client: RawClient, count: int, user: str = "ann") -> list[Packet]:
    """Connect as it does: with its will, its filters, its birth; what it is sent at once."""
    await client.connected(user, f"{user}'s", will=(BIRTH, b"offline"))
    filters = [f"{PREFIX}/{below}" for below in FILTERS]
    assert await client.subscribed(*filters, qos=0) == [0x80, 0x80, 0]
    client.send(publish(b"online", topic=BIRTH, qos=0))
    return await heard(client, count)


async def heard(client: RawClient, count: int) -> list[Packet]:
    """So many messages, and no more than these."""
    packets = [await client.read() for _ in range(count)]
    assert await client.answers_ping() == []
    assert {packet.type for packet in packets} <= {PUBLISH}
    return packets


def named(packets: list[Packet]) -> list[tuple[str, bool]]:
    """Topic, and whether it announces something."""
    return [(packet.topic, bool(packet.payload)) for packet in packets]


async def test_a_device_is_announced_kept_and_not_said_again_while_it_is_the_same(
    home: Home,
) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as client:
        (announced,) = await home_assistant(client, 1)
        assert announced.topic == topic("ann", "heater")
        assert taken(announced.topic, announced.payload)["device"]["name"] == "heater"
        await home.look()
        await heard(client, 1)  # it has started, and is told once more
        spec = home.registry.agents[WALKER]
        home.registry.agents[WALKER] = spec_of(structs.replace(spec.agent, learning=False))
        await home.look()
        await heard(client, 0)  # nothing of that is announced


async def test_owners_hear_of_their_own_devices_and_admins_of_all(home: Home) -> None:
    home.registry.devices = {HEATER: WALKER, COOLER: RUNNER}
    await home.look()
    expected = {"ann": ["ann"], "bob": ["bob"], "root": ["ann", "bob"]}
    for user, owners in expected.items():
        async with home.house.client() as client:
            packets = await home_assistant(client, len(owners), user)
            assert sorted(packet.topic.split("/")[2] for packet in packets) == [
                f"sheepfold_{owner}" for owner in owners
            ]


async def test_an_owner_hears_no_other_by_asking_for_it_by_name(home: Home) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as client:
        await client.connected("bob", "bob's")
        await client.subscribed(topic("ann", "heater"), "#", f"{PREFIX}/#", qos=0)
        came = [one.topic for one in await client.answers_ping() if one.type == PUBLISH]
        assert came == ["rl/v1/hub/status"]


async def test_devices_hear_nothing_of_it(home: Home) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as device:
        await device.connected("heater", KEY)
        assert await device.subscribed(f"{PREFIX}/#", topic("ann", "heater")) == [0x80, 0x80]


@pytest.mark.parametrize("what", ["forgotten", "deleted"])
async def test_what_is_gone_is_taken_back(home: Home, what: str) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as client:
        await home_assistant(client, 1)
        await home.look()
        await heard(client, 1)
        if what == "forgotten":
            del home.registry.devices[HEATER]
        else:
            del home.registry.agents[WALKER]
        await home.look()
        assert named(await heard(client, 1)) == [(topic("ann", "heater"), False)]
    assert home.house.broker.retained(topic("ann", "heater")) is None
    assert msgspec.json.decode(home.file.read_bytes()) == []


@pytest.mark.parametrize("what", ["moved", "given away"])
async def test_a_device_that_is_anothers_is_taken_back_there_and_announced_here(
    home: Home, what: str
) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as ann, home.house.client() as bob:
        await home_assistant(ann, 1, "ann")
        await home_assistant(bob, 0, "bob")
        await home.look()
        await heard(ann, 1)
        if what == "moved":
            home.registry.devices[HEATER] = RUNNER
        else:
            home.registry.owners[WALKER] = "bob"
        await home.look()
        assert named(await heard(ann, 1)) == [(topic("ann", "heater"), False)]
        (now,) = await heard(bob, 1)
        assert now.topic == topic("bob", "heater")


async def test_a_device_of_another_agent_of_the_same_owner_stays_what_it_was(home: Home) -> None:
    home.registry.agents[WALKER] = agent_spec(actions=[[1], 0.0, 30.0])
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as client:
        (before,) = await home_assistant(client, 1)
        await home.look()
        await heard(client, 1)
        home.registry.owners[RUNNER] = "ann"
        home.registry.devices[HEATER] = RUNNER
        await home.look()
        (after,) = await heard(client, 1)
    then, now = (taken(packet.topic, packet.payload) for packet in (before, after))
    assert then["device"]["identifiers"] == now["device"]["identifiers"]
    assert "setpoint" in entities(then)
    assert now["components"]["setpoint"] == {"platform": "number"}, "there is no such any more"


async def test_a_device_that_says_how_it_is_is_available_by_that_too(home: Home) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    async with home.house.client() as client, home.house.client() as device:
        await home_assistant(client, 1)
        await home.look()
        await heard(client, 1)
        await device.connected("heater", KEY)
        device.send(publish(b"online", topic="rl/v1/heater/status", retain=True))
        assert (await device.read()).type == PUBACK
        await home.look()
        (announced,) = await heard(client, 1)
    places = [one["topic"] for one in taken(announced.topic, announced.payload)["availability"]]
    assert places == ["rl/v1/hub/status", "rl/v1/heater/status"]


async def test_sessions_without_a_name_are_not_announced(home: Home) -> None:
    home.registry.devices[DeviceId("http-7")] = WALKER
    await home.look()
    async with home.house.client() as client:
        await home_assistant(client, 0, "root")


async def test_after_a_restart_without_the_setting_what_was_said_is_taken_back(
    home: Home, open_house: Callable[..., Any], tmp_path: Path
) -> None:
    home.registry.devices[HEATER] = WALKER
    await home.look()
    again = Home(await open_house(), tmp_path, setting="")
    again.registry.devices[HEATER] = WALKER
    await again.announcements.open()
    await again.look()
    async with again.house.client() as client:
        await home_assistant(client, 0)  # nothing is kept
        await again.look()
        assert named(await heard(client, 1)) == [(topic("ann", "heater"), False)]
    assert msgspec.json.decode(again.file.read_bytes()) == []


class Doorman:
    """Takes down what the file has when something is said."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.connection = 0
        self.on_birth: Callable[[bytes], None] = lambda _: None
        self.said: list[tuple[str, bool, list[str]]] = []

    def announce(self, where: str, payload: bytes) -> None:
        self.said.append((where, bool(payload), msgspec.json.decode(self.file.read_bytes())))

    def keeps_status(self, device: DeviceId) -> bool:
        return False


async def test_topics_are_in_the_file_before_anything_is_said_on_them(home: Home) -> None:
    door = Doorman(home.file)
    settings = MqttSettings(home_assistant=PREFIX)
    announcements = Announcements(home.registry, door, settings, home.file, "0.1.0")
    home.registry.devices[HEATER] = WALKER
    await announcements.look()
    assert door.said == [], "there is no broker yet"
    where = topic("ann", "heater")
    for door.connection in (1, 1, 2):
        await announcements.look()
    assert door.said == [(where, True, [where])] * 2, "and once more to another connection"
    home.registry.devices.clear()
    await announcements.look()
    assert door.said[2:] == [(where, False, [where])]


@pytest.mark.parametrize("content", [b"", b"{", b'{"a":1}', b"\xff"])
async def test_a_file_that_cannot_be_read_stops_nothing(
    home: Home, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    home.file.write_bytes(content)
    await home.announcements.open()
    assert "can't be read" in caplog.text
    home.registry.devices[HEATER] = WALKER
    await home.look()
    assert msgspec.json.decode(home.file.read_bytes()) == [topic("ann", "heater")]


async def test_of_many_devices_each_is_announced(home: Home) -> None:
    many = [DeviceId(f"d-{number}") for number in range(2 * AT_ONCE + 1)]
    home.registry.devices = dict.fromkeys(many, WALKER)
    await home.look()
    kept = [home.house.broker.retained(topic("ann", device)) for device in many]
    assert None not in kept


async def test_only_home_assistants_own_words_are_a_will_or_a_birth(home: Home) -> None:
    async with home.house.client() as client:
        client.connect_with("ann", "ann's", will=("homeassistant/other", b"offline"))
        (refused,) = await client.read_until_closed()
        assert refused.body[1] == ConnectCode.NOT_AUTHORIZED
    async with home.house.client() as client:
        await client.connected("ann", "ann's")
        client.send(publish(b"online", topic=topic("ann", "heater")))
        await client.read_until_closed()


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_birth_is_acknowledged(home: Home, qos: int) -> None:
    async with home.house.client() as client:
        await client.connected("ann", "ann's")
        client.send(publish(b"online", topic=BIRTH, qos=qos))
        assert (await client.read()).packet_id == 7
