"""A hub that notices by itself what somebody should see to, and says so once."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx
import msgspec
import pytest

from hub import control
from hub.registry.key_acts import CreateUserKey
from tests.acceptance.devices import Http
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.people import PASSWORD, Person, add_user
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.alerts.receiver import SECRET, Receiver
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

SETTINGS: Final = """
[alerts]
look_s = 0.1
hold_s = 0.1
silent_s = 1.2
disk_free_mb = 1e15
same_id_times = 4
same_id_s = 2.0
webhook = "{url}"
webhook_secret = "{secret}"
"""
"""No machine has that much free."""
OBSERVATION: Final = {"o": [0, 0, 0, 0]}
SPEAKS_S: Final = 0.02


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    """Whom the webhook tells."""
    with Receiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[RealHub]:
    """A hub whose disk is too small; device `a` of ann's agent and `b` of the admin's are heard."""
    settings = SETTINGS.format(url=receiver.url, secret=SECRET)
    hub = RealHub(tmp_path_factory.mktemp("alerts") / "data", settings)
    hub.start()
    add_user(hub, "ann")
    add_user(hub, "root", "admin")
    keys = {name: hub.make_agent(name, deadline_ms=20) for name in ("anns", "admins")}
    hub.change("anns", owner="ann")
    with Http(hub.ready.http) as http:
        http.step(keys["anns"], {"device": "a", **OBSERVATION})
        http.step(keys["admins"], {"device": "b", **OBSERVATION})
    yield hub
    hub.end()


@contextmanager
def speaking(hub: RealHub, key: str, device: str) -> Iterator[None]:
    """Heard all the while, however long it takes to ask the hub for something else."""
    over = threading.Event()

    def speak() -> None:
        with Http(hub.ready.http) as http:
            while not over.wait(SPEAKS_S):
                http.step(key, {"device": device, **OBSERVATION})

    speaker = threading.Thread(target=speak)
    speaker.start()
    try:
        yield
    finally:
        over.set()
        speaker.join()


def alerts(hub: RealHub, where: str = "true") -> list[dict[str, Any]]:
    return hub.sql(f"SELECT rule, agent, device, cleared FROM alerts WHERE {where} ORDER BY seq")


def told(receiver: Receiver, **about: str) -> list[dict[str, Any]]:
    """What the webhook was sent about something."""
    bodies = [msgspec.json.decode(body) for body in list(receiver.bodies)]
    return [body for body in bodies if about.items() <= body.items()]


def is_open(hub: RealHub, rule: str, device: str = "") -> bool:
    return bool(alerts(hub, f"rule = '{rule}' AND device = '{device}' AND cleared IS NULL"))


def test_a_disk_that_is_too_small_is_told_with_figures_and_what_to_do(hub: RealHub) -> None:
    until(lambda: is_open(hub, "disk"), "the disk is too small")
    (row,) = hub.sql("SELECT * FROM alerts WHERE rule = 'disk'")
    figures = msgspec.json.decode(row["figures"])
    assert figures["free_mb"] < figures["limit_mb"] == 1e15
    assert "MB are free" in row["says"]
    assert "retain_days" in row["do"]
    assert row["agent"] == ""


def test_a_device_is_silent_until_it_is_heard_again(hub: RealHub) -> None:
    until(lambda: is_open(hub, "silent", "a"), "a is silent")
    with speaking(hub, hub.ask_key("anns"), "a"):
        until(lambda: not is_open(hub, "silent", "a"), "a is heard for long enough")
    until(lambda: is_open(hub, "silent", "a"), "a is silent again")
    first, second = alerts(hub, "device = 'a'")
    assert first["cleared"] is not None
    assert second["cleared"] is None


def test_the_webhook_is_told_what_was_raised_and_what_is_over(
    hub: RealHub, receiver: Receiver
) -> None:
    rows = hub.sql(
        "SELECT seq, cleared_seq FROM alerts WHERE device = 'a' AND cleared IS NOT NULL LIMIT 1"
    )
    until(lambda: len(told(receiver, device="a")) >= 2, "it was told both")
    raised, cleared = told(receiver, device="a")[:2]
    assert (raised["state"], cleared["state"]) == ("raised", "cleared")
    assert [(raised["seq"], cleared["seq"])] == [tuple(row.values()) for row in rows]
    assert raised["figures"]["limit_s"] == 1.22
    assert cleared["says"].endswith(raised["says"])
    (disk,) = told(receiver, rule="disk")
    assert "agent" not in disk
    assert receiver.forged == 0


def test_an_alert_is_retained_for_its_agents_owner_until_it_is_over(hub: RealHub) -> None:
    until(lambda: is_open(hub, "silent", "a") and is_open(hub, "silent", "b"), "both are silent")
    key = hub.ask(CreateUserKey("ann"))["api_key"]
    with PahoClient(hub.ready.mqtt, "ann", key) as ann:
        assert ann.subscribe("rl/v1/#", 1) == 1
        topic = "rl/v1/agents/anns/alert/silent/a"
        until(
            lambda: [m.topic for m in ann.messages if "alert" in m.topic] == [topic], "it is told"
        )
        (message,) = (m for m in ann.messages if m.topic == topic)
        assert message.retain
        assert msgspec.json.decode(message.payload)["says"].startswith("device 'a' of agent 'anns'")
        hub.ask(control.ForgetDevice("a"))
        until(
            lambda: ann.messages[-1].topic == topic and not ann.messages[-1].payload, "it is over"
        )
    assert not is_open(hub, "silent", "a")


def test_a_hub_that_was_killed_raises_nothing_twice(hub: RealHub, receiver: Receiver) -> None:
    until(lambda: is_open(hub, "silent", "b"), "b is silent")
    before, told_before = alerts(hub), len(told(receiver, rule="disk"))
    hub.kill_nine()
    hub.start()
    key = hub.make_agent("later")
    with Http(hub.ready.http) as http:
        http.step(key, {"device": "c", **OBSERVATION})
    until(lambda: is_open(hub, "silent", "c"), "the hub has looked again and again since")
    assert [row for row in alerts(hub) if row["agent"] != "later"] == before
    assert len(told(receiver, rule="disk")) == told_before
    key = hub.ask(CreateUserKey("root"))["api_key"]
    with PahoClient(hub.ready.mqtt, "root", key) as root:
        root.subscribe("rl/v1/hub/alert/+", 1)
        until(
            lambda: [m.topic for m in root.messages] == ["rl/v1/hub/alert/disk"], "it is retained"
        )


def test_an_owner_sees_the_alerts_of_the_own_agents_and_none_of_the_hub(hub: RealHub) -> None:
    until(lambda: is_open(hub, "silent", "b"), "b is silent")
    key = hub.ask(CreateUserKey("ann"))["api_key"]
    answer = httpx.post(
        f"http://{HOST}:{hub.ready.http}/v1/sql",
        headers={"Authorization": f"Bearer {key}", "Accept": "text/csv"},
        json={"query": "SELECT DISTINCT rule, agent FROM alerts"},
    )
    assert answer.text.split() == ["rule,agent", "silent,anns"]


def test_metrics_top_and_the_console_show_what_is_open(hub: RealHub) -> None:
    until(lambda: is_open(hub, "silent", "b"), "b is silent")
    text = httpx.get(f"http://{HOST}:{hub.ready.http}/metrics").text
    assert 'sheepfold_alerts_open{agent="",rule="disk"} 1.0' in text
    assert 'sheepfold_alerts_open{agent="admins",rule="silent"} 1.0' in text
    (status,) = typed(hub.data, "status").lines
    assert status["alerts"] == len(alerts(hub, "cleared IS NULL"))
    shown = typed(hub.data, "top", "--once", "--interval", "0.1").out
    assert "disk for" in shown
    (line,) = typed(hub.data, "top", "--once", "--json", "--interval", "0.1").lines
    shown_alerts = msgspec.convert(line["alerts"], list[dict[str, object]])
    assert {"disk", "silent"} <= {one["rule"] for one in shown_alerts}
    with Person(hub) as root:
        root.log_in("root", PASSWORD)
        page = root.see("/health")
        assert "MB are free" in page
        assert "What to do: free some" in page
        assert "device &#39;b&#39; of agent &#39;admins&#39;" in root.see("/agents/admins")


def test_two_devices_under_one_id_are_told_with_both_addresses_until_they_are_told_apart(
    hub: RealHub, receiver: Receiver
) -> None:
    key = hub.ask_key("anns")
    with ExitStack() as stack:
        for i in range(5):
            address = ("127.0.0.1", "127.0.0.2")[i % 2]
            stack.enter_context(PahoClient(hub.ready.mqtt, "twin", key, address=address))
        until(lambda: is_open(hub, "same_id", "twin"), "they throw each other out")
    (row,) = hub.sql("SELECT * FROM alerts WHERE rule = 'same_id'")
    assert row["agent"] == "anns"
    assert "device 'twin' of agent 'anns' was taken over by another 4 times" in row["says"]
    assert row["says"].endswith("from 127.0.0.1 and 127.0.0.2")
    assert "two devices have one id" in row["do"]
    until(lambda: not is_open(hub, "same_id", "twin"), "it ends by itself")
    told_of = {"rule": "same_id", "device": "twin"}
    until(lambda: len(told(receiver, **told_of)) == 2, "raised and cleared")
