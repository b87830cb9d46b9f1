"""Each view on a small log made by hand, where the right rows are plain to see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from msgspec import structs

from bridge.console import look_up
from bridge.console.log import EXAMPLES
from hub.facts import (
    Advised,
    AlertCleared,
    AlertRaised,
    DeviceAdded,
    DeviceForgotten,
    Guarded,
    Guest,
    GuestsTaken,
    PolicyMade,
    Refusal,
    Sealed,
    SessionOpened,
    UserMade,
    UserRemoved,
)
from hub.intake.mapping import again
from hub.log.analyst import relations
from hub.log.analyst.guard import VIEWS
from hub.log.payload_keys import PREFIX, PayloadKeys
from hub.words import Code, DeviceId, Event, Hello, Kind, Protocol, Source, User
from tests.log.analyst.asking import HUB, Asked
from tests.log.events import NOW_US, action, agent_made, episode, floats, observation, steps, text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Rows = list[dict[str, Any]]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Asked]:
    with Asked(tmp_path) as asked:
        yield asked


@pytest.fixture(params=["newer", "sealed", "both"])
def query(log: Asked, request: pytest.FixtureRequest) -> Callable[[str], Rows]:
    """Asks what was appended: as it is newer than all files, in one file, or in a file each."""
    append = log.append

    def seal_and_append(events: Sequence[Event]) -> None:
        log.seal()
        append(events)

    if request.param == "both":
        log.append = seal_and_append  # type: ignore[method-assign]  # only the last are newer

    def ask(sql: str) -> Rows:
        if request.param == "sealed":
            log.seal()
        return log.rows(sql)

    return ask


REFUSAL = {"reason": "shape", "message": "obs has 3 values, agent expects 4"}
JOINED = (
    "SELECT device, boot, step, action[1]::INTEGER AS did, reward FROM transitions ORDER BY seq"
)


def test_a_transition_joins_two_observations_that_followed(log: Asked, query: Any) -> None:
    log.append([*steps(0, 1), observation(2, terminated=True)])
    assert query("SELECT * FROM transitions ORDER BY seq") == [
        {
            "agent": "walker", "device": "a", "session": 1, "boot": 1, "step": step,
            "obs": [step, -step], "action": [2 * step], "reward": step + 1,
            "next_obs": [step + 1, -step - 1], "terminated": step == 1, "truncated": False,
            "policy": 3, "logprob": -0.1, "source": "policy", "seq": 2 * step + 3,
        }
        for step in (0, 1)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ([observation(3)], "a step is missing"),
        ([observation(2, boot=2)], "another boot"),
        ([observation(2, first=True)], "it says that it is a first one"),
        ([observation(2, reward=None)], "nobody knows the reward"),
        ([observation(2, agent="heater")], "the device has moved to another agent"),
        ([observation(1)], "the same step again"),
        ([observation(2, "b")], "another device"),
    ],
)
def test_no_false_transition(log: Asked, query: Any, after: list[Event], why: str) -> None:
    log.append([*steps(1, 1), *after])
    assert query(JOINED) == [], why


@pytest.mark.parametrize("last", [observation(2, terminated=True), observation(2, truncated=True)])
def test_nothing_follows_the_end_of_an_episode(log: Asked, query: Any, last: Event) -> None:
    log.append([*steps(1, 1), last, *steps(3, 3), observation(4)])
    assert [row["step"] for row in query(JOINED)] == [1, 3]


def test_a_boot_that_comes_again_joins_nothing_until_it_is_further(log: Asked, query: Any) -> None:
    # Both lives have boot 1 and steps 1, 2: they may be late copies of the same messages.
    log.append([*steps(1, 1), observation(2), action(2, action=floats(50))])
    log.append([observation(1, first=True), action(1, action=floats(70)), observation(2)])
    log.append([action(2, action=floats(80)), *steps(3, 3), observation(4)])
    assert [row["did"] for row in query(JOINED)] == [2, 6]


def test_devices_do_not_disturb_each_other(log: Asked, query: Any) -> None:
    log.append([observation(1), observation(1, "b"), action(1), observation(2), action(1, "b")])
    log.append([observation(2, "b")])
    assert [row["device"] for row in query(JOINED)] == ["a", "b"]


def test_an_action_logged_after_the_next_observation_is_found(log: Asked, query: Any) -> None:
    log.append([observation(1), observation(2), action(1), action(2), observation(3)])
    assert [row["did"] for row in query(JOINED)] == [2, 4]


def test_of_two_answers_the_first_was_sent(log: Asked, query: Any) -> None:
    late = action(1, action=floats(99), reason="late")
    log.append([observation(1), action(1, source=Source.FALLBACK), late, observation(2)])
    assert [row["did"] for row in query(JOINED)] == [2]


def test_what_was_executed_counts_and_is_an_override(log: Asked, query: Any) -> None:
    log.append([*steps(1, 1), observation(2, executed=floats(9)), action(2)])
    log.append([observation(3, executed=floats(4))])
    columns = "step, action[1]::INTEGER AS did, source, logprob, policy"
    assert query(f"SELECT {columns} FROM transitions ORDER BY seq") == [
        {"step": 1, "did": 9, "source": "override", "logprob": None, "policy": None},
        {"step": 2, "did": 4, "source": "policy", "logprob": -0.1, "policy": 3},
    ]


def test_no_action_no_transition(log: Asked, query: Any) -> None:
    log.append([observation(1), observation(2), observation(3, executed=floats(7))])
    assert [(row["step"], row["did"]) for row in query(JOINED)] == [(2, 7)]


def test_a_missing_reward_is_what_the_agent_says(log: Asked, query: Any) -> None:
    log.append([agent_made(), agent_made(missing_reward=-1.0), *steps(1, 1)])
    log.append([observation(2, reward=None)])
    assert [row["reward"] for row in query(JOINED)] == [-1.0]


def test_agents_are_as_last_declared_and_deleted_ones_hidden(log: Asked, query: Any) -> None:
    log.append([agent_made("heater"), agent_made(), agent_made(deadline_ms=100)])
    log.append([agent_made("heater", status="deleted")])
    (row,) = query("SELECT * FROM agents")
    assert (row["agent"], row["algorithm"], row["deadline_ms"]) == ("walker", "PPO", 100)
    assert (row["missing_reward"], row["learning"], row["seed"]) == (None, True, 7)
    assert (row["observations"], row["seq"]) == ("[[2],-1,1]", 3)


def test_episodes_say_what_the_fact_says(log: Asked, query: Any) -> None:
    log.append([episode(17)])
    assert query("SELECT * FROM episodes") == [
        {
            "agent": "walker", "device": "a", "session": 1, "episode": 1,
            "started": iso(NOW_US), "ended": iso(NOW_US + 17), "steps": 17, "return": 4.5,
            "ended_by": "terminated",
        }
    ]  # fmt: skip


def test_devices_were_added_or_heard(log: Asked, query: Any) -> None:
    added = DeviceAdded(DeviceId("new"), by="admin")
    opened = SessionOpened(Protocol.MQTT, Hello(dt="thermostat", fw="1.2"))
    log.append([Event(Kind.ADMIN, NOW_US, agent="heater", payload=text(added))])
    log.append([Event(Kind.HELLO, NOW_US, device="a", session=4, payload=text(opened))])
    log.append([*steps(1, 2, boot=1), observation(1, boot=2), episode(2)])
    heard, new = query("SELECT * FROM devices ORDER BY device")
    assert (new["device"], new["agent"], new["observations"]) == ("new", "heater", 0)
    assert (heard["agent"], heard["protocol"], heard["device_type"]) == (
        "walker", "mqtt", "thermostat",
    )  # fmt: skip
    assert (heard["session"], heard["boot"], heard["step"]) == (4, 2, 1)
    assert (heard["observations"], heard["actions"], heard["episodes"]) == (3, 2, 1)


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT refused, actions FROM devices", {"refused": 1, "actions": 0}),
        (f"SELECT reason, message FROM ({EXAMPLES['What was refused']})", REFUSAL),
        (f"SELECT count FROM ({again.REFUSED.format(device='a')})", {"count": 1}),
    ],
    ids=["devices", "console", "mapping"],
)
def test_an_action_that_came_too_late_does_not_count_as_what_the_device_was_refused(
    log: Asked, query: Any, sql: str, expected: dict[str, Any]
) -> None:
    late = structs.replace(action(1), kind=Kind.REFUSED, reason="late", payload='{"own":true}')
    said = text(Refusal(Code.SHAPE, REFUSAL["message"]))
    shape = Event(Kind.REFUSED, NOW_US, "walker", "a", step=2, reason="shape", payload=said)
    log.append([observation(1), shape, late])
    assert query(sql) == [expected]


def test_policies_have_their_metrics(log: Asked, query: Any) -> None:
    made = PolicyMade(sha256="ab", parent=1, position=40, metrics={"loss": 0.5})
    log.append([Event(Kind.POLICY, NOW_US, agent="walker", policy=2, payload=text(made))])
    (row,) = query("SELECT *, (metrics ->> 'loss')::DOUBLE AS loss FROM policies")
    assert (row["version"], row["parent"], row["position"], row["loss"]) == (2, 1, 40, 0.5)


def test_operators_say_who_did_what_to_whom(log: Asked, query: Any) -> None:
    facts = [
        DeviceAdded(DeviceId("a"), by="ann"),
        DeviceForgotten(DeviceId("a"), by="ann"),
        UserMade(User("bob", "owner"), by="ann"),
        UserRemoved("bob", by="ann"),
        Sealed(1, 2, 2, 1, "ab"),
        AlertRaised("disk", "it is full", "free some", NOW_US),
        AlertCleared("disk", "it was full"),
    ]
    log.append([agent_made(), *(Event(Kind.ADMIN, NOW_US, payload=text(fact)) for fact in facts)])
    rows = query("SELECT operator, act, subject FROM operators ORDER BY seq")
    assert [tuple(row.values()) for row in rows] == [
        ("admin", "agent_made", "walker"),
        ("ann", "device_added", "a"),
        ("ann", "device_forgotten", "a"),
        ("ann", "user_made", "bob"),
        ("ann", "user_removed", "bob"),
    ]


def test_an_alert_is_open_until_the_one_of_its_rule_agent_and_device_is_cleared(
    log: Asked, query: Any
) -> None:
    def told(fact: AlertRaised | AlertCleared, at: int, device: str = "", agent: str = "") -> Event:
        return Event(Kind.ADMIN, NOW_US + at, agent=agent, device=device, payload=text(fact))

    silent = AlertRaised("silent", "is silent", "look", NOW_US - 5, {"silent_s": 9.5})
    log.append(
        [
            told(silent, 1, "a", "walker"),
            told(AlertRaised("disk", "it is full", "free some", NOW_US), 2),
            told(silent, 3, "b", "walker"),
            told(AlertCleared("silent", "over"), 4, "a", "walker"),
            told(silent, 5, "a", "walker"),
        ]
    )
    rows = query(
        "SELECT rule, agent, device, seq, cleared_seq,"
        " epoch_us(cleared) - epoch_us(raised) AS lasted,"
        " epoch_us(raised) - epoch_us(since) AS seen FROM alerts ORDER BY seq"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("silent", "walker", "a", 1, 4, 3, 6),
        ("disk", "", "", 2, None, None, 2),
        ("silent", "walker", "b", 3, None, None, 8),
        ("silent", "walker", "a", 5, None, None, 10),
    ]
    (row,) = query('SELECT says, "do", figures FROM alerts WHERE seq = 1')
    assert (row["says"], row["do"]) == ("is silent", "look")
    assert msgspec.json.decode(row["figures"]) == {"silent_s": 9.5}


def test_a_device_belongs_to_whom_it_was_added_or_heard_last(log: Asked, query: Any) -> None:
    def fact(agent: str, what: DeviceAdded | DeviceForgotten) -> Event:
        return Event(Kind.ADMIN, NOW_US, agent=agent, payload=text(what))

    log.append([*steps(1, 1, "moved"), fact("heater", DeviceAdded(DeviceId("moved"), "ann"))])
    log.append([*steps(1, 1, "gone"), fact("walker", DeviceForgotten(DeviceId("gone"), "ann"))])
    log.append([fact("", DeviceForgotten(DeviceId("back"), "ann")), *steps(1, 1, "back")])
    rows = query("SELECT device, agent FROM devices ORDER BY device")
    assert [tuple(row.values()) for row in rows] == [
        ("back", "walker"),
        ("gone", None),
        ("moved", "heater"),
    ]


def test_payloads_of_devices_are_shown_until_their_key_is_gone(log: Asked, query: Any) -> None:
    keys = PayloadKeys(log.data / "keys")
    log.append([observation(1, payload=keys.seal("a", '{"room":"7"}'))])
    log.append([observation(2, payload=keys.seal("a", "gr\u00fcn")), observation(3)])
    shown = "SELECT payload FROM events ORDER BY seq"
    assert [row["payload"] for row in query(shown)] == ['{"room":"7"}', "gr\u00fcn", None]
    keys.destroy("a")
    assert [row["payload"] for row in query(shown)] == [None, None, None]


def test_views_name_the_mark_of_a_sealed_payload_as_the_keys_do() -> None:
    assert f"'{PREFIX}'" in relations.views()


@pytest.mark.parametrize("view", VIEWS)
def test_sealed_payloads_disturb_no_view(log: Asked, query: Any, view: str) -> None:
    sealed = PayloadKeys(log.data / "keys").seal("a", "anything")
    log.append([agent_made(), *steps(1, 2, payload=sealed), episode(2)])
    for kind in (Kind.REFUSED, Kind.REWARD):
        log.append([Event(kind, NOW_US, agent="walker", device="a", payload=sealed)])
    query(f"SELECT * FROM {view}")


def test_advice_is_shown_beside_what_came_without_it(log: Asked, query: Any) -> None:
    for adviser, returned, unadvised in ((None, 20.0, None), ("b", 31.0, 20.0)):
        fact = Advised(adviser, returned, 18.0, unadvised, 1.0, 7)
        payload = msgspec.json.encode(fact).decode()
        event = Event(Kind.ADVICE, NOW_US, "walker", "a", policy=4, value=returned, payload=payload)
        log.append([event])
    alone, advised = query("SELECT * FROM advice ORDER BY seq")
    assert (alone["adviser"], alone["return"], alone["effect"]) == (None, 20.0, None)
    assert (advised["device"], advised["adviser"], advised["effect"]) == ("a", "b", 11.0)
    assert (advised["version"], advised["expected"], advised["ended_seq"]) == (4, 18.0, 7)


def test_the_gain_of_a_pair_is_the_mean_over_its_advised_episodes(log: Asked, query: Any) -> None:
    told = ((None, 90.0, None), ("b", 31.0, 20.0), ("b", 29.0, 20.0), ("c", 5.0, 20.0))
    for adviser, returned, unadvised in told:
        fact = Advised(adviser, returned, 18.0, unadvised, 1.0, 7)
        payload = msgspec.json.encode(fact).decode()
        log.append([Event(Kind.ADVICE, NOW_US, "walker", "a", policy=4, payload=payload)])
    by_b, by_c = query("SELECT * FROM gains ORDER BY adviser")
    assert (by_b["adviser"], by_b["episodes"], by_b["gain"]) == ("b", 2, 10.0)
    assert by_b["gain_ratio"] == 0.5
    assert by_b["gain_within"] == pytest.approx(1.645)
    assert (by_c["gain"], by_c["gain_within"]) == (-15.0, None)


def test_a_guest_is_shown_from_when_to_when_it_was_one(log: Asked, query: Any) -> None:
    old = Guest("site-b/press", "site-b", "press", 4, "ab")
    new = Guest("site-b/press", "site-b", "press", 9, "cd")
    for i, guests in enumerate(([old], [old, new], [])):
        payload = msgspec.json.encode(GuestsTaken(guests)).decode()
        log.append([Event(Kind.ADMIN, NOW_US + i, "walker", payload=payload)])
    rows = query("SELECT * FROM guests ORDER BY seq")
    assert [(row["version"], row["sha256"], row["hub"]) for row in rows] == [
        (4, "ab", "site-b"),
        (9, "cd", "site-b"),
    ]
    assert [(row["since"], row["until"]) for row in rows] == [
        (iso(NOW_US), iso(NOW_US + 2)),
        (iso(NOW_US + 1), iso(NOW_US + 2)),
    ]
    payload = msgspec.json.encode(GuestsTaken([new])).decode()
    log.append([Event(Kind.ADMIN, NOW_US + 3, "walker", payload=payload)])
    assert query("SELECT until FROM guests WHERE sha256 = 'cd'") == [{"until": None}]


def test_what_the_guard_decided_is_shown_with_its_evidence(log: Asked, query: Any) -> None:
    control = Guarded("control", None, 21.5, 180.0, 50, None, None, 7)
    muted = Guarded("muted", None, None, None, 0, -0.2, 0.99, 9)
    for fact in (control, muted):
        payload = msgspec.json.encode(fact).decode()
        log.append([Event(Kind.ADVICE, NOW_US, "walker", "a", policy=4, payload=payload)])
    first, second = query("SELECT * FROM guard ORDER BY seq")
    assert (first["decision"], first["shared"], first["flock"]) == ("control", 21.5, 180.0)
    assert (first["own"], first["episodes"], first["version"]) == (None, 50, 4)
    assert (second["decision"], second["relation"], second["peers"]) == ("muted", -0.2, 0.99)
    assert (second["device"], second["ended_seq"]) == ("a", 9)
    assert query("SELECT * FROM advice") == [], "nobody advised"


def test_a_device_that_comes_back_to_its_agent_joins_nothing(log: Asked, query: Any) -> None:
    log.append([*steps(1, 1), observation(2, agent="heater", first=True)])
    log.append([observation(2, first=True)])
    assert query(JOINED) == []


def test_the_console_lists_who_is_told_apart_as_the_agents_devices_share_now(
    log: Asked, query: Any
) -> None:
    def version(number: int, position: int, *devices: str) -> Event:
        made = PolicyMade("ab", number - 1, position, devices=list(devices))
        return Event(Kind.POLICY, NOW_US, "walker", policy=number, payload=text(made))

    log.append([agent_made(sharing="shared"), version(1, 1, "a", "b")])
    log.append([version(2, 1, "c"), agent_made(sharing="none")])
    log.append(
        [version(3, 3, "d"), version(4, 4, "a", "b"), agent_made(sharing="none", owner="ann")]
    )
    log.append([version(5, 7, "c")])

    def listed(sharing: str, since: int = 0) -> list[int]:
        sql = look_up.JOINED.format(agent="walker", sharing=sharing, since=since)
        return [row["version"] for row in query(sql)]

    assert listed("none") == [5, 4], "version 3 was made before its trainer had read of the change"
    assert listed("none", since=6) == [5], "the agent was restarted at 6"


def test_events_carry_the_hub(log: Asked, query: Any) -> None:
    log.append([observation(1)])
    (row,) = query("SELECT * FROM events")
    assert (row["hub"], row["kind"], row["source"]) == (HUB, "observation", None)
    assert row["ts"] == iso(NOW_US + 1)


def iso(now_us: int) -> str:
    moment = datetime.fromtimestamp(now_us // 1_000_000, tz=UTC).replace(
        microsecond=now_us % 1_000_000, tzinfo=None
    )
    return moment.isoformat()
