"""What is one owner's is no other's: all routes, pages, forms, streams, views, topics are asked.

Ann's agents, devices, keys and numbers are planted with marks that nobody could guess; Bob asks for
all there is, with each key he has, and no answer has a mark in it. The routes are those of the
application, so that one that is added is asked too; an admin, asking the same, is shown every mark.
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import httpx
import msgspec
import pytest
from websockets.sync.client import connect

from hub import control
from hub.log.analyst.guard import VIEWS
from hub.registry.claim_acts import CreateClaim
from hub.registry.key_acts import CreateKey, CreateUserKey
from hub.registry.mapping_acts import AddMapping
from hub.words import Publishable
from tests.acceptance.devices import Http, bearer
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.people import Person, add_user
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.acceptance.routes import CONSOLE, filled, pages, routes
from tests.intake.mapping.mapped import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

MARK: Final = "zq7v"
"""In the name of whatever of Ann's nobody names to the hub."""
REWARD: Final = 7351.0625
NUMBERS: Final = ("7351", "22053", "22,053")
"""The reward, and the return of an episode of three, as files and pages write them."""
FORMS: Final = (
    "application/x-ndjson",
    "text/csv",
    "application/vnd.apache.arrow.stream",
    "application/vnd.apache.parquet",
)
PAGE: Final = "https://museum.example"
REFUSED: Final = 0x80
"""MQTT 3.1.1, 3.9.3."""
DEVICES: Final = ("hers-device", "puppet")
"""Hers: of an agent that learns in the hub, and of an external one."""
SPEAK: Final = ("/v1/step", "/v1/reward", "/v1/map")
"""Routes that take what a device says of itself."""
NEAR: Final = {"/metrics"}
"""Who asks from the hub's own machine may read them, as the tests do (docs/watching.md)."""
ALIKE: Final = {"/reward/{device:str}"}
"""A page that is the same for every device, whether there is one or not."""


class Flock(NamedTuple):
    """What two owners have in one hub."""

    hub: RealHub
    marks: list[str]
    """Of Ann's, in no question."""
    said: dict[str, str]
    """Of Ann's by the names of parameters: Bob knows it, and asks for it."""
    actions: list[int]
    """The seqs of what Ann's devices were told."""
    keys: dict[str, str]
    """Bob's, by kind."""


@pytest.fixture(scope="module")
def flock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flock]:
    """A hub with an admin, and two owners with all that an owner can have."""
    hub = RealHub(tmp_path_factory.mktemp("hub") / "data")
    hub.start()
    try:
        add_user(hub, "root", "admin")
        add_user(hub, f"{MARK}-ann")
        add_user(hub, "bob")
        marks = [MARK, *NUMBERS]
        for name in ("hers", f"{MARK}-agent"):
            marks += plant(hub, name, owner=f"{MARK}-ann", device=f"{name}-device")
            hub.ask(AddMapping(name, name, shipped("form").mapping))  # called as their agents
        plant(hub, "hers-remote", owner=f"{MARK}-ann", device="puppet", algorithm="external")
        page = Publishable((PAGE,), sessions_max=9, messages_per_s=1e6)
        keys = {
            "device": own_key(hub, "his", "PPO"),
            "remote": own_key(hub, "his-remote", "external"),
            "page": hub.ask(CreateKey("his", publishable=page))["api_key"],
            "operator": hub.ask(CreateUserKey("bob"))["api_key"],
        }
        said = {
            "name": "hers", "device": "hers-device", "agent": "hers", "mapping": "hers",
            "key_id": hub.ask(CreateKey("hers"))["api_key"].partition(".")[0],
            "claim_id": hub.ask(CreateClaim("hers"))["claim"],
            "user": f"{MARK}-ann", "version": "0", "form": "zip", "how": "promote", "what": "pause",
        }  # fmt: skip
        told = hub.sql("SELECT seq FROM events WHERE agent LIKE '%hers%' AND kind = 'action'")
        yield Flock(hub, marks, said, [row["seq"] for row in told], keys)
    finally:
        hub.end()


def plant(hub: RealHub, name: str, *, owner: str, device: str, algorithm: str = "PPO") -> list[str]:
    """An agent of hers whose device has stepped; the id of its key."""
    key = hub.make_agent(
        name,
        algorithm=algorithm,
        observations=[[2], [-20, 0], [60, 10]],
        parameters={},
        deadline_ms=50,
    )
    hub.change(name, owner=owner)
    with Http(hub.ready.http) as http:
        for step in range(4):
            said = {"s": step, "o": [0, 1], "r": REWARD, "d": int(step == 3)}
            info = {"room": f"{MARK}-attic"}
            assert http.step(key, said | {"device": device, "i": info})[0] == 200
    return [key.partition(".")[0]]


def own_key(hub: RealHub, name: str, algorithm: str) -> str:
    """Of an agent of his, whose device has stepped."""
    key = hub.make_agent(name, algorithm=algorithm, parameters={}, deadline_ms=50)
    hub.change(name, owner="bob")
    with Http(hub.ready.http) as http:
        assert http.step(key, {"device": f"{name}-device", "o": [0, 0, 0, 0]})[0] == 200
    return key


def leaked(flock: Flock, text: str, where: object, *, told: str = "") -> None:
    """Nothing of hers stands in an answer but what was asked for by name."""
    for word in sorted([*flock.said.values(), told], key=len, reverse=True):
        if len(word) > 3:  # `zip` is nothing of hers
            text = text.replace(word, "")
    assert [mark for mark in flock.marks if mark in text] == [], (where, text[:2000])


def hers(flock: Flock) -> Any:
    """Whatever Bob could have changed."""
    agents = [flock.hub.ask(control.Show("agent", name)) for name in ("hers", "hers-remote")]
    for agent in agents:
        del agent["policy"]  # her trainer goes on
    rows = flock.hub.value(
        "SELECT count(*) FROM events WHERE kind <> 'refused' AND kind <> 'policy' "
        "AND (agent LIKE 'hers%' OR device LIKE 'hers%')"
    )
    return agents, flock.hub.ask(control.Show("devices")), flock.hub.ask(control.Show("keys")), rows


# --- people at the console ----------------------------------------------------------------


async def test_every_page_is_for_people_who_are_logged_in(flock: Flock) -> None:
    with Person(flock.hub) as stranger:
        token = {"_csrf_token": stranger.token()}
        for method, path in await pages():
            where = filled(path, flock.said)
            data = token if method == "POST" else None
            answer = stranger.http.request(method, where, data=data)
            assert answer.status_code in (303, 401), (method, path)
            leaked(flock, answer.text, (method, path))


async def test_no_page_stream_or_form_shows_or_does_anything_of_another_owner(flock: Flock) -> None:
    before = hers(flock)
    with Person(flock.hub) as bob:
        bob.log_in("bob")
        form = {"_csrf_token": bob.token(), **flock.said, "query": "FROM events", "from": "hers"}
        for method, path in await pages():
            where = filled(path, flock.said)
            status, text = asked(bob, method, where, form)
            assert status < 500, (method, path, text)
            if "{" in path:
                assert status == 404, (method, path, text)
            leaked(flock, text, (method, path))
        for page in ("/agents", "/devices", "/keys", "/trail"):  # where a form says what it did
            leaked(flock, bob.see(page), page)
    assert hers(flock) == before


async def test_an_admin_is_shown_every_mark(flock: Flock) -> None:
    """So that the tests above look for something that is there to be found."""
    shown = ""
    with Person(flock.hub) as root:
        root.log_in("root")
        for method, path in await pages():
            if method == "GET" and "{form" not in path:
                where = filled(path, flock.said | {"name": f"{MARK}-agent"})
                shown += asked(root, method, where, {})[1]
    assert [mark for mark in flock.marks if mark not in shown] == []


def asked(person: Person, method: str, where: str, form: dict[str, str]) -> tuple[int, str]:
    """Status and text; of a page that stays live what it is sent first."""
    if "/live/" not in where:
        if method == "POST":
            answer = person.http.post(where, data=form)
        else:
            answer = person.http.get(where, params=form)
        return answer.status_code, answer.text
    with person.http.stream(method, where) as stream:
        first = next(stream.iter_text()) if stream.status_code == 200 else ""
        return stream.status_code, first


# --- programs over HTTP ---------------------------------------------------------------------


async def test_no_route_answers_a_key_about_another_owners_devices(flock: Flock) -> None:
    before = hers(flock)
    found = [one for one in await routes() if not one[1].startswith(CONSOLE)]
    keys = {**flock.keys, "none": "nobody.secret"}
    with Http(flock.hub.ready.http) as http:
        for (method, path), (kind, key), device in product(found, keys.items(), DEVICES):
            if path in NEAR or path == "/v1/ws":
                continue
            said = {"device": device, "s": 1, "o": [0, 1], "r": 1, "action": 0, "apikey": key}
            for seq in flock.actions if "{seq" in path else [0]:
                where = filled(path, flock.said | {"device": device, "seq": str(seq)})
                status, answer = http.ask(method, f"{where}?device={device}", said, bearer(key))
                leaked(flock, str(answer), (method, path, kind, seq), told=device)
                assert status != 500, (method, path, kind)
                if path not in ALIKE and ("{" in path or path in SPEAK):
                    assert status in (401, 403, 404, 405, 422), (path, kind, answer)
    assert hers(flock) == before


def test_no_frame_of_a_websocket_speaks_for_another_owners_device(flock: Flock) -> None:
    before = hers(flock)
    url = f"ws://{HOST}:{flock.hub.ready.http}/v1/ws"
    for kind in ("device", "remote"):
        with connect(url, additional_headers=bearer(flock.keys[kind])) as line:
            for said in ({"o": [0, 1]}, {"r": 1}, {"env": "reset"}, {"env": "step", "action": 0}):
                for device in DEVICES:
                    line.send(msgspec.json.encode(said | {"device": device}))
                    text = str(line.recv(30))
                    leaked(flock, text, (kind, said), told=device)
                    assert "status" in msgspec.json.decode(text), text
    assert hers(flock) == before


@pytest.mark.parametrize("view", VIEWS)
def test_no_view_has_a_row_of_another_owner_for_whoever_asks_in_sql(
    flock: Flock, view: str
) -> None:
    query = {"query": f"SELECT * FROM {view}"}
    with httpx.Client(base_url=f"http://{HOST}:{flock.hub.ready.http}", timeout=60) as http:
        for form in FORMS:
            headers = bearer(flock.keys["operator"]) | {"Accept": form}
            answer = http.post("/v1/sql", json=query, headers=headers)
            assert answer.status_code == 200, answer.text
            leaked(flock, answer.content.decode("latin-1"), (view, form))
            if view in ("events", "agents", "devices"):
                assert b"his" in answer.content, "his own are there"


# --- MQTT ----------------------------------------------------------------------------------


def test_no_topic_brings_anything_of_another_owner(flock: Flock) -> None:
    """His device hears its own topics only, and he himself those of his own devices."""
    hub, mqtt = flock.hub, flock.hub.ready.mqtt
    with (
        PahoClient(mqtt, "his-device", flock.keys["device"]) as device,
        PahoClient(mqtt, "bob", flock.keys["operator"], client_id="person") as bob,
        PahoClient(mqtt, "hers-device", hub.ask_key("hers"), client_id="hers") as ann,
    ):
        for everything in ("#", "rl/#", "rl/v1/#", "rl/v1/+/state", "rl/v1/hers-device/#"):
            bob.subscribe(everything, 1)
            assert device.subscribe(everything, 1) == REFUSED
        device.subscribe("rl/v1/his-device/status", 1)
        ann.publish("rl/v1/hers-device/status", b"online", 1, retain=True)
        for step in range(10, 14):
            said = {"s": step, "o": [0, 1], "r": REWARD, "i": {"room": f"{MARK}-attic"}}
            ann.publish("rl/v1/hers-device/obs", msgspec.json.encode(said), 1)
        device.publish("rl/v1/his-device/status", b"last", 1)
        for client in (device, bob):
            until(lambda: b"last" in payloads(client), "his own comes")  # noqa: B023 - now
        for topic, payload, _, _ in [*device.heard(), *bob.heard()]:
            assert re.match("rl/v1/(his-.*|hub)/", topic), (topic, payload)


def payloads(client: PahoClient) -> list[bytes]:
    """What it heard."""
    return [payload for _, payload, _, _ in client.heard()]


@pytest.mark.parametrize("leaf", ["obs", "reward", "act", "status", "cmd/learn", "cmd/reset"])
@pytest.mark.parametrize("who", ["device", "operator"])
def test_nothing_is_taken_on_another_owners_topics(flock: Flock, who: str, leaf: str) -> None:
    before = hers(flock)
    name = "his-device" if who == "device" else "bob"
    with PahoClient(flock.hub.ready.mqtt, name, flock.keys[who]) as client:
        client.paho.publish(f"rl/v1/hers-device/{leaf}", b'{"s":99,"o":[0,1],"r":1}', 1)
        until(lambda: not client.online, "the connection is closed")
    assert hers(flock) == before
