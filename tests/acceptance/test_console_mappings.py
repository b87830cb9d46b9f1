"""Mappings in the console, without a browser: tried, added, read again, removed; and whose."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Final

import pytest

from bridge.console.mappings import EXAMPLE
from hub import control
from hub.registry.mapping_acts import ShowMappings
from tests.acceptance.devices import Http, bearer
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.people import Person, add_user
from tests.acceptance.real_hub import RealHub

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

SENT: Final = "t=70.7&unit=°F&watts=1200"
BOILERS: Final = [[2], [-20, 0], [60, 10]]


@pytest.fixture(scope="module")
def key(hub: RealHub) -> str:
    """Of alice's boilers."""
    for owner in ("alice", "bob"):
        add_user(hub, owner)
    key = hub.make_agent("boilers", observations=BOILERS, deadline_ms=20)
    hub.change("boilers", owner="alice")
    return key


@pytest.fixture(scope="module")
def alice(hub: RealHub, key: str) -> Iterator[Person]:
    with Person(hub) as alice:
        alice.log_in("alice")
        yield alice


def try_form(**changed: str) -> dict[str, str]:
    return {"text": EXAMPLE, "payload": SENT, "agent": "boilers"} | changed


def test_a_mapping_is_tried_and_nothing_is_changed(hub: RealHub, alice: Person) -> None:
    blank = alice.see("/mappings/try")
    assert html.escape(EXAMPLE, quote=False) in html.unescape(blank).replace("&", "&amp;")
    form = try_form(reward="-abs(temp - 21) - 0.1 * power")
    page = html.unescape(alice.send("/mappings/try", **form).text)
    for shown in ("°F → Cel", "W → kW", "[21.5,1.2]", "-0.62", ">OFF<", ">ON<", SENT):
        assert shown in page, shown
    hexadecimal = try_form(payload=SENT.encode().hex(), written="hex")
    assert "[21.5,1.2]" in alice.send("/mappings/try", **hexadecimal).text
    assert hub.ask(ShowMappings()) == []


@pytest.mark.parametrize(
    ("changed", "status", "says"),
    [
        ({"payload": "t=warm"}, 200, "temp (t) is 'warm', not a number"),
        ({"text": "format = 1"}, 422, "format"),
        ({"payload": "zz", "written": "hex"}, 422, "not hexadecimal"),
        ({"payload": "t=1&" * 20_000}, 422, "not tried here"),
        ({"agent": "nobodys"}, 404, "no such agent"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(
    alice: Person, changed: dict[str, str], status: int, says: str
) -> None:
    answer = alice.send("/mappings/try", **try_form(**changed))
    page = html.unescape(answer.text)
    assert (answer.status_code, says in page) == (status, True), page
    if status != 404:
        assert try_form(**changed)["text"] in page


def test_it_is_added_serves_is_read_again_corrected_and_is_removed(
    hub: RealHub, alice: Person, key: str
) -> None:
    unnamed = alice.send("/mappings", **try_form(name="boiler", agent=""))
    assert (unnamed.status_code, "choose the agent" in unnamed.text) == (422, True)
    assert alice.send("/mappings", **try_form(name="boiler")).status_code == 303
    assert "version 1" in alice.see("/mappings")
    with Http(hub.ready.http) as http:
        for body, status in ((SENT, 200), ("t=warm", 422)):
            path = f"/v1/map/boiler?device=boiler-{status}"
            assert http.ask("POST", path, body.encode(), bearer(key))[0] == status
    corrected = EXAMPLE.replace('unit = "kW"', 'unit = "W"').replace("[0, 10]", "[0, 1000]")
    page = alice.send("/mappings/replay", **try_form(text=corrected, device="boiler-200")).text
    assert "[21.5,1.2" in page
    assert ">1000<" in page
    strict = EXAMPLE.replace('path = "t"', 'path = "other"')
    page = alice.send("/mappings/replay", **try_form(text=strict, device="boiler-200")).text
    assert "temp (other) is missing" in page
    nothing = alice.send("/mappings/replay", **try_form(device="boiler-422"))
    assert (nothing.status_code, "of 1 refused messages" in nothing.text) == (422, True)
    assert "temp" in alice.see("/mappings/try?from=boiler")
    trail = "SELECT act, subject FROM operators WHERE operator = 'alice' AND act LIKE '%mapping%'"
    assert len(hub.sql(trail)) == 1
    assert alice.send("/mappings/boiler/remove").status_code == 303
    assert hub.ask(ShowMappings()) == []


def test_another_owner_sees_and_touches_nothing_of_it(hub: RealHub, alice: Person) -> None:
    assert alice.send("/mappings", **try_form(name="alices-own")).status_code == 303
    hub.make_agent("bobs", observations=BOILERS)
    hub.change("bobs", owner="bob")
    with Person(hub) as bob:
        bob.log_in("bob")
        assert "alices-own" not in bob.see("/mappings")
        assert bob.get("/mappings/try?from=alices-own").status_code == 404
        assert bob.send("/mappings/alices-own/remove").status_code == 404
        assert bob.send("/mappings/replay", **try_form(device="boiler-200")).status_code == 404
        assert bob.send("/mappings", **try_form(name="own")).status_code == 404, "her agent"
        taken = bob.send("/mappings", **try_form(name="alices-own", agent="bobs"))
        assert (taken.status_code, "choose another name" in taken.text) == (422, True)
        assert "boilers" not in taken.text
    assert [one["mapping"] for one in hub.ask(ShowMappings())] == ["alices-own"]
    assert alice.send("/mappings/alices-own/remove").status_code == 303


def test_what_no_mapping_reads_is_counted_where_people_look(
    hub: RealHub, alice: Person, key: str
) -> None:
    text = 'topics = ["tele/{device}/SENSOR"]\n' + EXAMPLE
    assert alice.send("/mappings", **try_form(text=text, name="plug")).status_code == 303
    assert "Not read by any mapping" not in alice.see("/mappings")
    with PahoClient(hub.ready.mqtt, "kitchen", key) as plug:
        plug.publish("tele/kitchen/STATE", b"{}", 1)
    page = alice.see("/mappings")
    assert "Not read by any mapping" in page
    assert "tele/kitchen/STATE" in page
    with Http(hub.ready.http) as http:
        _, metrics = http.ask("GET", "/metrics")
    assert b'sheepfold_unread_total{agent="boilers"} 1.0' in metrics
    alice.send("/mappings/plug/remove")


def test_a_reward_of_the_hub_is_set_in_the_agents_settings(hub: RealHub, alice: Person) -> None:
    page = "/agents/boilers/edit"
    wrong = alice.send(page, reward="humidity")
    assert (wrong.status_code, "is not known" in wrong.text) == (422, True)
    assert 'value="humidity"' in wrong.text
    assert alice.send(page, reward="-abs(o[0] - 21)").status_code == 303
    assert hub.ask(control.Show("agent", "boilers"))["reward"] == "-abs(o[0] - 21)"
    assert 'value="-abs(o[0] - 21)"' in html.unescape(alice.see(page))
    assert alice.send(page, reward="").status_code == 303
    assert hub.ask(control.Show("agent", "boilers"))["reward"] is None
