"""Two real hubs with devices of their own, joined by a broker or a bridge, killed and cut apart."""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub import control
from hub.federation.payloads import Announcement, Gains
from hub.mqtt_meeting import BrokerLink, Denied
from hub.registry.key_acts import RevokeKey
from hub.registry.user_acts import CreateUser
from tests.acceptance.cart import Cart
from tests.acceptance.meeting_place import federation_at, federation_settings, meeting_place
from tests.acceptance.mosquitto import PASSWORD
from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.mosquitto import Mosquitto
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

LONG_S: Final = 90.0
"""A busy machine: processes start, torch is imported, and policies are made meanwhile."""
PPO: Final = {"n_steps": "256", "batch_size": "64", "n_epochs": "10", "learning_rate": "1e-3"}
OFTEN: Final = {"n_steps": "64", "batch_size": "64", "n_epochs": "4"}
"""Versions come four times as often, where it does not matter what is learnt."""
USERS: Final = ("site-a", "site-b", "listener")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with meeting_place(tmp_path) as broker:
        yield broker


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Mosquitto]:
    with meeting_place(tmp_path, USERS) as broker:
        yield broker


def site(new_hub: Callable[[str], RealHub], broker: Mosquitto, name: str) -> RealHub:
    hub = new_hub(federation_at(broker, name))
    hub.start()
    return hub


def federation(hub: RealHub) -> dict[str, Any]:
    return dict(hub.ask_status()["federation"])


def count(hub: RealHub, what: str) -> int:
    return int(hub.value(f"SELECT count(*) FROM {what}"))


def heard(broker: Mosquitto, topic: str, kind: type[Any]) -> Any:
    """The next message on a topic, as it is documented."""
    found: list[Any] = []
    link = BrokerLink("listener", HOST, broker.port, login=("listener", PASSWORD))
    link.open()
    link.subscribe(topic)

    def look() -> bool:
        found.extend(msgspec.json.decode(data, type=kind) for _, data in link.receive() if data)
        return bool(found)

    until(look, topic, timeout_s=LONG_S)
    link.close()
    return found[0]


def test_replicas_of_one_hub_advise_those_of_the_other_whatever_is_killed(
    new_hub: Callable[[str], RealHub], guarded: Mosquitto
) -> None:
    broker = guarded
    a, b = site(new_hub, broker, "site-a"), site(new_hub, broker, "site-b")
    key_a, key_b = (
        hub.make_agent("cart", sharing="advice", hubs="policies", parameters=OFTEN)
        for hub in (a, b)
    )
    with ExitStack() as stack:
        for i, name in enumerate(("a-1", "a-2")):
            stack.enter_context(Cart(a, key_a, name, seed=i))
        told = heard(broker, "rl/v1/agents/cart/policy/site-a", Announcement)
        assert {offer.device for offer in told.offers} <= {"*", "a-1", "a-2"}
        until(lambda: count(b, "policies WHERE agent = 'cart'"), "b has joined", timeout_s=LONG_S)
        joined = b.sql("SELECT act, payload FROM operators WHERE act = 'policy_chosen'")
        assert [msgspec.json.decode(row["payload"])["how"] for row in joined] == ["joined"]

        one = stack.enter_context(Cart(b, key_b, "b-1"))
        by_a = "advice WHERE device = 'b-1' AND adviser IN ('site-a/a-1', 'site-a/a-2')"
        until(lambda: count(b, by_a) > 3, "b's device is advised by a's", timeout_s=LONG_S)
        until(lambda: count(a, "advice WHERE adviser = 'site-b/b-1'"), "and a's", timeout_s=LONG_S)
        gains = heard(broker, "rl/v1/agents/cart/advice/site-b", Gains)
        assert gains.episodes >= 1
        assert {pair.device for pair in gains.pairs} == {"b-1"}

        b.kill_nine()
        b.start()
        broker.kill_nine()  # before b has heard anything
        before = count(b, by_a)
        until(lambda: count(b, by_a) > before, "advice goes on without a broker", timeout_s=LONG_S)
        steps = one.steps
        until(lambda: one.steps > steps + 50, "and so do steps", timeout_s=LONG_S)
        assert not federation(a)["connected"]
        broker.start()
        newer = count(b, "guests WHERE hub = 'site-a'")
        until(lambda: count(b, "guests WHERE hub = 'site-a'") > newer, "newer", timeout_s=LONG_S)
        a.change("cart", hubs="none")
        until(lambda: not count(b, "guests WHERE until IS NULL"), "they leave", timeout_s=LONG_S)
        until(lambda: federation(b)["hubs"] == 0, "nobody is heard", timeout_s=LONG_S)
    for hub in (a, b):
        rebuilt = msgspec.json.decode(hub.command("rebuild", "cart").stdout.splitlines()[-1])
        assert rebuilt["equal"], rebuilt


def test_hubs_meet_at_the_broker_of_one_of_them_until_its_operator_ends_it(
    new_hub: Callable[[str], RealHub],
) -> None:
    a, b = new_hub(""), new_hub("")
    a.start()
    a.ask(CreateUser("root", "admin", PASSWORD))
    keys = {name: made(a, "--user", "root", "--hub", name) for name in ("site-a", "site-b")}
    a.stop()
    for hub, name in ((a, "site-a"), (b, "site-b")):
        login = hub.data.with_name(f"{name}.login")
        login.write_text(keys[name])
        hub.settings = federation_settings(a.ready.mqtt, name, login)
        hub.start()
    key_a, key_b = (
        hub.make_agent("cart", sharing="advice", hubs="policies", parameters=OFTEN)
        for hub in (a, b)
    )
    with Cart(a, key_a, "a-1"), Cart(b, key_b, "b-1", seed=1) as one:
        by_a = "advice WHERE device = 'b-1' AND adviser = 'site-a/a-1'"
        until(lambda: count(b, by_a), "b's device is advised by a's", timeout_s=LONG_S)
        by_b = "advice WHERE adviser = 'site-b/b-1'"
        until(lambda: count(a, by_b), "and a's by b's", timeout_s=LONG_S)
        (key,) = (one for one in a.ask(control.Show("keys")) if one.get("hub") == "site-b")
        a.ask(RevokeKey(key["id"]))
        until(lambda: not federation(b)["connected"], "b is let in no more", timeout_s=LONG_S)
        until(lambda: "refuses" in federation(b)["lost_because"], "and says so", timeout_s=LONG_S)
        assert "its key was revoked" in b.says.read_text()
        until(lambda: not count(a, "guests WHERE until IS NULL"), "b's leave", timeout_s=LONG_S)
        steps = one.steps
        until(lambda: one.steps > steps + 50, "steps go on at b", timeout_s=LONG_S)


def test_a_broker_says_of_a_wrong_name_what_it_denies(guarded: Mosquitto) -> None:
    link = BrokerLink("site-b", HOST, guarded.port, login=("site-a", PASSWORD))
    link.open()
    mine, another = (f"rl/v1/agents/cart/policy/{name}" for name in ("site-a", "site-b"))
    for topic in (another, mine, another):
        link.publish(topic, b"x", retain=True)
    link.subscribe("rl/v1/agents/cart/policy/+")
    denied: list[Denied] = []
    heard: list[str] = []

    def look() -> bool:
        heard.extend(topic for topic, _ in link.receive())
        denied.extend(link.denied())
        return len(denied) + len(heard) == 3

    until(look, "the broker's answers")
    link.close()
    assert denied == [Denied(another, "Not authorized", is_heard=False)] * 2
    assert heard == [mine]


def made(hub: RealHub, *whose: str) -> str:
    """A key, as the command line prints it."""
    return hub.command("key", "create", *whose).stdout


def test_a_newcomer_hub_over_a_bridge_begins_with_what_the_other_knows(
    new_hub: Callable[[str], RealHub], broker: Mosquitto, tmp_path: Path
) -> None:
    a = site(new_hub, broker, "site-a")
    with Cart(a, a.make_agent("cart", hubs="policies", parameters=PPO), "a-1") as knows:

        def mean() -> float:
            return statistics.fmean(knows.returns[-10:] or [0.0])

        until(lambda: mean() > 90, "a has learnt something", timeout_s=3 * LONG_S)
    with meeting_place(tmp_path, bridged_to=broker.port) as theirs:
        b = site(new_hub, theirs, "site-b")
        key = b.make_agent("cart", hubs="policies", parameters=PPO)
        until(lambda: count(b, "policies WHERE agent = 'cart'"), "b has joined", timeout_s=LONG_S)
        with Cart(b, key, "b-1", seed=9) as newcomer:
            until(lambda: len(newcomer.returns) > 4, "five episodes", timeout_s=LONG_S)
        assert statistics.fmean(newcomer.returns[:5]) > 45, newcomer.returns  # untrained: 22
    first = b.sql("SELECT policy FROM events WHERE kind = 'action' ORDER BY seq LIMIT 1")
    assert first == [{"policy": 0}]


def test_a_flood_and_huge_or_random_messages_cost_the_hub_nothing(
    new_hub: Callable[[str], RealHub], broker: Mosquitto
) -> None:
    b = site(new_hub, broker, "site-b")
    key = b.make_agent("cart", sharing="advice", hubs="policies", parameters=PPO)
    enemy = BrokerLink("enemy", HOST, broker.port)
    enemy.open()
    prefix = "rl/v1/agents/cart"
    with Cart(b, key, "b-1") as cart:
        heard(broker, f"{prefix}/policy/site-b", Announcement)
        process = b.processes["federation"]
        for i, junk in enumerate((bytes(1 << 20), b"\xff" * 3000, b"{}", b"[" * 4000)):
            enemy.publish(f"{prefix}/policy/enemy-{i}", junk, retain=True)
        until(lambda: federation(b)["refused"].get("payload", 0) > 1, "junk is counted")
        steps = cart.steps
        until(lambda: _flooded(b, enemy, prefix), "the hub leaves the broker", timeout_s=LONG_S)
        until(lambda: cart.steps > steps + 50, "steps go on", timeout_s=LONG_S)
        assert b.processes["federation"] == process
    enemy.close()
    assert count(b, "guests") == 0


def _flooded(hub: RealHub, enemy: BrokerLink, prefix: str) -> bool:
    for i in range(500):
        enemy.publish(f"{prefix}/policy/e{i}", b"x" * 100)
        enemy.publish(f"{prefix}/want/site-b", b"x" * 100)
    enemy.receive()
    return bool(federation(hub)["refused"].get("flood"))
