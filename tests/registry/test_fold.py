"""The registry is a fold: the same from any cut of the log, and from nothing else."""

from __future__ import annotations

from typing import Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from hub.errors import HubFault
from hub.facts import (
    AgentMade,
    Alert,
    Claimed,
    ClaimMade,
    ClaimRevoked,
    DeviceAdded,
    DeviceForgotten,
    EpisodeEnded,
    Fact,
    KeyMade,
    KeyReplaced,
    KeyRevoked,
    PolicyMade,
    Sealed,
    SessionOpened,
    UserMade,
    UserRemoved,
)
from hub.registry.fold import VERSIONS_TIMED_MAX, Login, Registry
from hub.words import (
    AgentName,
    Claim,
    ClaimId,
    DeviceId,
    EndedBy,
    Event,
    Hello,
    Key,
    KeyId,
    Kind,
    Protocol,
    Safety,
    User,
)
from tests.intake.fakes import agent_spec


def event(fact: Fact, kind: Kind = Kind.ADMIN, **columns: object) -> Event:
    text = msgspec.json.encode(fact).decode()
    return structs.replace(Event(kind, 5, agent="walker", payload=text), **columns)


def agent(name: str = "walker", **columns: object) -> Event:
    made = structs.replace(agent_spec(name=AgentName(name)).agent, **columns)
    return event(AgentMade(made, "test"), agent=name)


def key(number: int, name: str = "walker") -> Event:
    made = KeyMade(Key(KeyId(f"key{number}"), AgentName(name)), "test")
    return event(made, agent=name, secret=bytes((number,)))


def login(number: int, secret: bytes | None = None) -> Event:
    opened = SessionOpened(Protocol.SHEPHERD, key=KeyId("key1"))
    device = f"http-{number}"
    return event(opened, Kind.HELLO, device=device, session=number, secret=secret)


def policy(version: int, name: str = "walker") -> Event:
    made = PolicyMade(sha256=f"{version}", parent=None, position=version)
    return event(made, Kind.POLICY, agent=name, policy=version)


def device(name: str = "heater", of: str = "walker") -> Event:
    return event(DeviceAdded(DeviceId(name), "test"), agent=of, device=name)


def forgotten(name: str = "heater") -> Event:
    return event(DeviceForgotten(DeviceId(name), "test"), device=name)


def user(
    name: str = "ann", role: Literal["admin", "owner"] = "owner", hashed: bytes = b"#"
) -> Event:
    return event(UserMade(User(name, role), "test"), agent="", secret=hashed)


def removed(name: str = "ann") -> Event:
    return event(UserRemoved(name, "test"), agent="")


def user_key(number: int, name: str = "ann") -> Event:
    made = KeyMade(Key(KeyId(f"key{number}"), None, user=name), "test")
    return event(made, agent="", secret=bytes((number,)))


def claim(number: int) -> Event:
    made = Claim(ClaimId(f"claim{number}"), AgentName("walker"), uses_max=2, expires=9)
    return event(ClaimMade(made, "test"), secret=bytes((100 + number,)))


def claimed(number: int, claim_number: int, name: str) -> Event:
    claim_id = ClaimId(f"claim{claim_number}")
    made = Key(KeyId(f"key{number}"), AgentName("walker"), DeviceId(name), claim=claim_id)
    fact = Claimed(made, claim_id, None, None, "test")
    return event(fact, device=name, secret=bytes((number,)))


def replaced(number: int, old: int) -> Event:
    made = KeyReplaced(Key(KeyId(f"key{number}"), None), KeyId(f"key{old}"), 9, "test")
    return event(made, secret=bytes((number,)))


ANN = User("ann", "owner")

FACTS = st.one_of(
    st.builds(
        agent,
        st.sampled_from(["walker", "runner"]),
        status=st.sampled_from(["active", "paused", "deleted"]),
        deadline_ms=st.integers(1, 9),
        owner=st.sampled_from(["admin", "ann", "bob"]),
    ),
    st.builds(
        user,
        st.sampled_from(["ann", "bob"]),
        st.sampled_from(["admin", "owner"]),
        st.binary(min_size=1, max_size=1),
    ),
    st.builds(removed, st.sampled_from(["ann", "bob"])),
    st.builds(user_key, st.integers(0, 4), st.sampled_from(["ann", "bob"])),
    st.builds(key, st.integers(0, 4), st.sampled_from(["walker", "runner"])),
    st.builds(lambda n: event(KeyRevoked(KeyId(f"key{n}"), "test")), st.integers(0, 4)),
    st.builds(replaced, st.integers(0, 4), st.integers(0, 4)),
    st.builds(claim, st.integers(0, 2)),
    st.builds(lambda n: event(ClaimRevoked(ClaimId(f"claim{n}"), "test")), st.integers(0, 2)),
    st.builds(claimed, st.integers(0, 4), st.integers(0, 2), st.sampled_from(["heater", "pump"])),
    st.builds(device, st.sampled_from(["heater", "http-1"]), st.sampled_from(["walker", "runner"])),
    st.builds(forgotten, st.sampled_from(["heater", "http-1"])),
    st.builds(login, st.integers(1, 3), st.sampled_from([None, b"a", b"b"])),
    st.builds(policy, st.integers(1, 9), st.sampled_from(["walker", "runner"])),
    st.just(Event(Kind.OBSERVATION, 5, agent="walker", device="heater", payload='{"i":1}')),
)


def folded(registry: Registry, events: list[Event]) -> Registry:
    for one in events:
        registry.apply(one)
    return registry


@given(st.lists(FACTS, max_size=20), st.data())
def test_a_fold_of_prefix_and_suffix_is_the_fold_of_the_whole(
    events: list[Event], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(events)))
    whole = folded(Registry(), events)
    twice = folded(folded(Registry(), events[:cut]), events[cut:])
    assert vars(whole) == vars(twice)


@given(st.lists(FACTS, max_size=12))
def test_folding_an_event_twice_in_a_row_changes_nothing(events: list[Event]) -> None:
    once = folded(Registry(), events)
    assert vars(once) == vars(folded(Registry(), [one for one in events for _ in range(2)]))


@given(st.lists(FACTS, max_size=20))
def test_who_is_removed_has_no_password_no_key_and_no_agent(events: list[Event]) -> None:
    registry = folded(Registry(), [*events, removed("ann")])
    assert "ann" not in registry.users
    assert "ann" not in registry.passwords
    assert all(key.user != "ann" for key in registry.keys.values())
    assert registry.visible_to(ANN) == []


@given(st.lists(FACTS, max_size=20))
def test_users_and_passwords_are_the_same_people(events: list[Event]) -> None:
    registry = folded(Registry(), events)
    assert registry.users.keys() == registry.passwords.keys()
    assert registry.agents.keys() | registry.deleted == registry.owners.keys()


def test_what_says_nothing_about_the_registry_passes_by() -> None:
    registry = Registry()
    ended = EpisodeEnded(1, 2, 3.0, 4, EndedBy.TERMINATED)
    registry.apply(event(ended, Kind.EPISODE))
    registry.apply(event(Sealed(1, 9, 9, 2, "hash")))
    registry.apply(Event(Kind.OBSERVATION, 5, payload="not JSON"))
    registry.apply(Event(Kind.REFUSED, 5, payload="not JSON"))
    assert vars(registry) == vars(Registry())


def test_an_agents_spaces_are_parsed_once() -> None:
    registry = folded(Registry(), [agent()])
    spec = registry.agents[AgentName("walker")]
    assert (spec.observations, spec.actions) == (agent_spec().observations, agent_spec().actions)


def test_a_later_declaration_stands() -> None:
    registry = folded(Registry(), [agent(deadline_ms=5), agent(deadline_ms=6)])
    assert registry.agents[AgentName("walker")].agent.deadline_ms == 6


def test_a_deleted_agent_takes_its_keys_along_and_leaves_its_name() -> None:
    events = [agent(), agent("runner"), key(1), key(2, "runner"), agent(status="deleted")]
    registry = folded(Registry(), events)
    assert list(registry.agents) == ["runner"]
    assert list(registry.keys) == [b"\2"]
    assert registry.deleted == {"walker"}


def test_a_revoked_key_is_gone_and_the_others_stay() -> None:
    registry = folded(Registry(), [key(1), key(2), event(KeyRevoked(KeyId("key1"), "test"))])
    assert registry.key(KeyId("key1")) is None
    assert registry.key(KeyId("key2")) is not None


def test_a_login_is_known_by_its_session_keys_hash() -> None:
    registry = folded(Registry(), [login(3, b"hash")])
    assert registry.logins == {
        b"hash": Login(AgentName("walker"), DeviceId("http-3"), 3, 5, KeyId("key1"))
    }


def test_a_hello_without_a_secret_opens_nothing_again() -> None:
    hello = SessionOpened(Protocol.MQTT, Hello(b=7))
    assert folded(Registry(), [event(hello, Kind.HELLO)]).logins == {}


def test_the_newest_policy_stands() -> None:
    registry = folded(Registry(), [policy(1), policy(2)])
    assert registry.policies[AgentName("walker")].version == 2


def test_a_key_without_its_hash_is_a_broken_log() -> None:
    with pytest.raises(AssertionError):
        Registry().apply(structs.replace(key(1), secret=None))


def test_a_user_is_known_with_the_newest_role_and_password() -> None:
    registry = folded(Registry(), [user(hashed=b"old"), user(role="admin", hashed=b"new")])
    assert registry.users == {"ann": User("ann", "admin")}
    assert registry.passwords == {"ann": b"new"}


def test_a_user_without_a_password_is_a_broken_log() -> None:
    with pytest.raises(AssertionError):
        Registry().apply(structs.replace(user(), secret=None))


def test_a_removed_users_keys_go_and_the_others_stay() -> None:
    events = [user(), user("bob"), user_key(1), user_key(2, "bob"), key(3), removed()]
    registry = folded(Registry(), events)
    assert list(registry.keys) == [b"\2", b"\3"]


def test_an_owner_sees_the_own_agents_deleted_ones_too_and_an_admin_all() -> None:
    events = [agent("walker", owner="ann"), agent("runner"), agent("climber", owner="ann")]
    registry = folded(Registry(), [*events, agent("walker", owner="ann", status="deleted")])
    assert registry.visible_to(ANN) == ["climber", "walker"]
    assert registry.visible_to(User("bob", "owner")) == []
    assert registry.visible_to(User("bob", "admin")) is None


def test_an_agent_given_away_is_seen_by_its_new_owner_only() -> None:
    registry = folded(Registry(), [agent(owner="ann"), agent(owner="bob")])
    assert registry.visible_to(ANN) == []
    assert registry.visible_to(User("bob", "owner")) == ["walker"]


def test_a_later_user_of_the_same_name_sees_nothing_of_the_removed_one() -> None:
    deleted = agent(owner="ann", status="deleted")
    registry = folded(Registry(), [user(), user_key(1), deleted, removed(), user()])
    assert registry.visible_to(ANN) == []
    assert registry.keys == {}


def test_a_forgotten_device_is_anyones_and_its_logins_are_over() -> None:
    events = [device("http-3"), device("heater"), login(3, b"three"), login(4, b"four")]
    registry = folded(Registry(), [*events, forgotten("http-3")])
    assert registry.devices == {"heater": "walker"}
    assert list(registry.logins) == [b"four"]
    folded(registry, [device("http-3", "runner")])
    assert registry.devices["http-3"] == "runner"  # type: ignore[index]


def test_an_agent_of_before_there_were_safety_rules_has_none() -> None:
    made = agent()
    text = made.payload or ""
    assert ',"safety":null' in text
    registry = Registry()
    registry.apply(structs.replace(made, payload=text.replace(',"safety":null', "")))
    assert registry.agents[AgentName("walker")].agent.safety is None


def test_rules_that_a_later_version_adds_are_passed_over() -> None:
    made = agent()
    later = (made.payload or "").replace('"safety":null', '"safety":{"high":1,"torque_max":3}')
    registry = Registry()
    registry.apply(structs.replace(made, payload=later))
    assert registry.agents[AgentName("walker")].agent.safety == Safety(high=1.0)


def test_an_alert_changes_nothing() -> None:
    registry = Registry()
    registry.apply(agent())
    before = registry.agents[AgentName("walker")]
    registry.apply(event(Alert("it smells of smoke")))
    assert registry.agents[AgentName("walker")] is before


def test_when_a_version_was_made_is_known_of_the_newest_ones() -> None:
    registry = Registry()
    walker = AgentName("walker")
    assert registry.made_us(walker, 0) is None
    for version in range(VERSIONS_TIMED_MAX + 2):
        made = event(PolicyMade("0", None, 0), Kind.POLICY, policy=version, ts=100 + version)
        registry.apply(made)
    assert registry.made_us(walker, VERSIONS_TIMED_MAX + 1) == 101 + VERSIONS_TIMED_MAX
    assert registry.made_us(walker, 2) == 102
    assert registry.made_us(walker, 1) == 102, "at the latest"


@pytest.mark.parametrize("text", ['{"type":"tomorrow"}', '{"type":"agent_made","by":"ann"}', "{"])
def test_a_fact_of_a_newer_version_is_not_passed_over(text: str) -> None:
    told = structs.replace(Event(Kind.ADMIN, 5, payload=text), seq=77)
    with pytest.raises(HubFault, match=r"event 77 .* a newer Sheepfold wrote it\. Install the"):
        Registry().apply(told)
