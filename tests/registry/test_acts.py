"""What an operator may do, what is refused, and that an act becomes true by its events alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub.errors import AccessDenied, OperatorFault
from hub.facts import KeyMade, Origin, PolicyMade
from hub.intake.mapping.bound import check_mapping
from hub.registry.access import agent_of, fingerprint, operator_of
from hub.registry.acts import Acts, Chosen, NewAgent
from hub.registry.admin import admin_event
from hub.registry.fold import Login, Registry, spec_of
from hub.words import (
    AgentName,
    DeviceId,
    Event,
    Interlock,
    Key,
    KeyId,
    Kind,
    Publishable,
    Rewarding,
    Safety,
)
from tests.intake.fakes import Policies

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.words import Agent, Event

WALKER = NewAgent(name="walker", algorithm="PPO", observations=[[2], -1.0, 1.0], actions=2)


class Office:
    """Acts on one registry, whose events are folded at once."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.log: list[Event] = []
        self._drawn = 0
        self.now_us = 1
        self.policies = Policies()
        self.acts = Acts(
            self.registry,
            lambda: self.now_us,
            self._random_bytes,
            self._check,
            self.policies,
            check_mapping,
        )
        self.checked: list[Agent] = []

    def do(self, result: tuple[list[Event], Any]) -> Any:
        """Log and fold an act's events; its answer."""
        events, answer = result
        for event in events:
            self.log.append(msgspec.structs.replace(event, seq=len(self.log) + 1))
            self.registry.apply(self.log[-1])
        return answer

    def create(self, **changes: Any) -> Any:
        """An agent; `walker` unless told otherwise."""
        return self.do(self.acts.create_agent(msgspec.structs.replace(WALKER, **changes), "test"))

    def _random_bytes(self, count: int) -> bytes:
        self._drawn += 1
        return self._drawn.to_bytes(count, "big")

    def _check(self, agent: Agent) -> None:
        self.checked.append(agent)
        if agent.algorithm not in ("PPO", "DQN", "SAC"):
            raise OperatorFault(f"unknown algorithm {agent.algorithm}")


def test_an_act_changes_nothing_until_its_events_are_folded() -> None:
    office = Office()
    events, _ = office.acts.create_agent(WALKER, "test")
    assert office.registry.agents == {}
    assert len(events) == 2


def test_a_new_agent_comes_with_a_key_that_is_shown_once_and_kept_as_a_hash() -> None:
    office = Office()
    answer = office.create()
    assert answer["agent"] == "walker"
    secret = answer["api_key"]
    key, spec = agent_of(office.registry, secret)
    assert (key.agent, key.device, spec.agent.name) == ("walker", None, "walker")
    assert all(secret not in (event.payload or "") for event in office.log)
    assert office.log[1].secret == fingerprint(secret)
    assert "api_key" not in str(office.acts.keys.listed())


def test_agents_differ_in_their_seed() -> None:
    office = Office()
    office.create()
    office.create(name="runner")
    seeds = [spec.agent.seed for spec in office.registry.agents.values()]
    assert len(set(seeds)) == 2


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": ""}, "must match"),
        ({"name": "Walker"}, "must match"),
        ({"name": "a" * 41}, "must match"),
        ({"name": "a b"}, "must match"),
        ({"name": "walker\n"}, "must match"),
        ({"name": "_hub"}, "stands for no agent"),
        ({"owner": "ann"}, "no user 'ann' to own the agent; there are: admin"),
        ({"algorithm": "A3C"}, "unknown algorithm"),
        ({"observations": 0}, "at least 1 choice"),
        ({"observations": "many"}, "is not a space"),
        ({"observations": [[2], 1.0, 0.0]}, "below its high"),
        ({"actions": {"a": 2}}, "not a Dict"),
        ({"actions": True}, "not a space"),
        ({"deadline_ms": 0}, "deadline"),
        ({"deadline_ms": 3_600_001}, "deadline"),
        ({"cpu_percent": 0}, "cpu_percent is 1 to 100, or none, not 0"),
        ({"memory_mb": 63}, "memory_mb is 64 to 1048576, or none, not 63"),
        ({"lag_max": -1}, "lag_max is 0 to 1000000, or none, not -1"),
        ({"algorithm": "external", "cpu_percent": 7}, "cpu_percent has nothing to limit"),
        ({"algorithm": "external", "memory_mb": 64}, "memory_mb has nothing to limit"),
        ({"algorithm": "external", "lag_max": 0}, "lag_max has nothing to limit"),
        ({"fallback": 2}, "fallback"),
        ({"fallback": "stop"}, "fallback"),
        ({"missing_reward": float("nan")}, "missing_reward"),
        ({"missing_reward": float("inf")}, "missing_reward"),
        ({"max_episode_steps": 0}, "max_episode_steps is 1 to"),
        ({"silent_s": 0.0}, "silent_s is 0.001 to"),
        ({"silent_s": float("inf")}, "silent_s is 0.001 to"),
        ({"silent_s": float("nan")}, "silent_s is 0.001 to"),
        ({"reward": "o[0] - 1/0"}, "reward of agent 'walker': '1/0' never has a value"),
        ({"reward": "o[0] / (2 - 2) if o[0] > 1 else 0"}, "a division by 0"),
        ({"reward": "1e308 * 10"}, "too large"),
    ],
)
def test_an_agent_that_could_not_be_served_is_refused(changes: dict[str, Any], why: str) -> None:
    office = Office()
    with pytest.raises(OperatorFault, match=why):
        office.create(**changes)
    assert office.log == []


@pytest.mark.parametrize(
    "reward", ["1 / o[0]", "-1 / 2", "o[0] * 0 / (1 - o[1])", "+max(1, o[0]) / 3"]
)
def test_a_reward_that_some_observation_gives_is_taken(reward: str) -> None:
    office = Office()
    office.create(reward=reward)
    assert office.acts.show_agent("walker")["reward"] == reward


def test_an_agent_of_before_whose_reward_has_no_value_can_be_paused_and_mended() -> None:
    office = Office()
    office.create()
    agent = msgspec.structs.replace(office.registry.agents[AgentName("walker")].agent, reward="1/0")
    office.registry.agents[AgentName("walker")] = spec_of(agent)
    office.do(office.acts.change_agent("walker", {"status": "paused"}, "test"))
    with pytest.raises(OperatorFault, match="division by 0"):
        office.acts.change_agent("walker", {"reward": "2/0"}, "test")
    office.do(office.acts.change_agent("walker", {"reward": "o[0]"}, "test"))


@pytest.mark.parametrize("fallback", ["hold", "none", 0, 1])
def test_each_kind_of_fallback_is_taken(fallback: Any) -> None:
    office = Office()
    office.create(fallback=fallback)
    assert office.acts.show_agent("walker")["fallback"] == fallback


def test_an_agents_name_is_given_once() -> None:
    office = Office()
    office.create()
    with pytest.raises(OperatorFault, match=r"exists; .*: sheepfold key create "):
        office.create()


def test_a_deleted_agents_name_stays_taken() -> None:
    """The log and the policies go by the name: another agent would inherit what this one learnt."""
    office = Office()
    office.create()
    office.do(office.acts.change_agent("walker", {"status": "deleted"}, "test"))
    with pytest.raises(OperatorFault, match="was deleted"):
        office.create()


def test_delete_hides_the_agent_and_revokes_its_keys() -> None:
    office = Office()
    secret = office.create()["api_key"]
    office.create(name="runner")
    office.do(office.acts.change_agent("walker", {"status": "deleted"}, "test"))
    assert [agent["name"] for agent in office.acts.list_agents()] == ["runner"]
    with pytest.raises(AccessDenied):
        agent_of(office.registry, secret)
    with pytest.raises(OperatorFault, match="no agent 'walker'"):
        office.acts.show_agent("walker")
    assert len(office.acts.keys.listed()) == 1


def test_an_agent_is_made_together_with_the_policy_that_was_trained_for_it() -> None:
    office = Office()
    chosen = Chosen("a" * 64, "trained_again", origin=Origin("walker", 9, 4))
    with pytest.raises(OperatorFault, match="no policy"):
        office.acts.create_trained(WALKER, chosen, "test")
    office.policies.files.add("a" * 64)
    shown = office.do(office.acts.create_trained(WALKER, chosen, "test"))
    assert (shown["agent"], shown["version"], "api_key" in shown) == ("walker", 0, True)
    (fact,) = office.registry.chosen[AgentName("walker")].values()
    assert fact.origin == Origin("walker", 9, 4)
    assert office.registry.policies[AgentName("walker")].version == 0


def test_a_declared_seed_is_kept() -> None:
    office = Office()
    office.create(seed=77)
    assert office.registry.agents[AgentName("walker")].agent.seed == 77


def test_an_agent_changes_field_by_field() -> None:
    office = Office()
    office.create(parameters={"learning_rate": "3e-4"})
    changes = {"parameters": {"n_steps": "64"}, "deadline_ms": 40, "learning": False}
    changes |= {"max_episode_steps": 500, "silent_s": 30}
    shown = office.do(office.acts.change_agent("walker", changes, "test"))
    assert shown["parameters"] == {"learning_rate": "3e-4", "n_steps": "64"}
    assert (shown["deadline_ms"], shown["learning"]) == (40, False)
    assert (shown["max_episode_steps"], shown["silent_s"]) == (500, 30.0)
    assert office.registry.agents[AgentName("walker")].agent.deadline_ms == 40


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"observations": 5}, "can't be changed"),
        ({"seed": 5}, "can't be changed"),
        ({"name": "runner"}, "can't be changed"),
        ({"deadline_ms": "soon"}, "Expected `int | null`"),
        ({"lag_max": 1_000_001}, "lag_max is 0 to"),
        ({"deadline_ms": 0}, "deadline"),
        ({"owner": "ann"}, "no user 'ann' to own the agent; there are: admin"),
        ({"owner": 5}, "Expected `str`"),
        ({"status": "asleep"}, "Invalid enum"),
        ({"sharing": "all"}, "Invalid enum"),
        ({"fallback": 7}, "fallback"),
        ({"parameters": {"a": 1}}, "Expected `str`"),
        ({"parameters": ["a"]}, "parameters"),
        ({"parameters": None}, "parameters"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(changes: dict[str, Any], why: str) -> None:
    office = Office()
    office.create()
    with pytest.raises(OperatorFault, match=why):
        office.acts.change_agent("walker", changes, "test")


def test_what_is_not_there_is_said_with_what_is() -> None:
    office = Office()
    office.create()
    for act in (
        lambda: office.acts.change_agent("runner", {}, "test"),
        lambda: office.acts.keys.create("runner", None, "test"),
        lambda: office.acts.add_device("heater", "runner", "test"),
        lambda: office.acts.show_agent("runner"),
    ):
        with pytest.raises(OperatorFault, match=r"no agent 'runner'; there are: walker"):
            act()


def test_a_device_key_names_its_device() -> None:
    office = Office()
    office.create()
    answer = office.do(office.acts.keys.create("walker", "heater", "test"))
    key, _ = agent_of(office.registry, answer["api_key"])
    assert key.device == "heater"


@pytest.mark.parametrize("device", ["hub", "agents", "http-1", "Heater", "", "a" * 24, "a/b", "+"])
def test_a_key_or_place_for_a_reserved_or_malformed_device_is_refused(device: str) -> None:
    office = Office()
    office.create()
    with pytest.raises(OperatorFault, match="device id"):
        office.acts.keys.create("walker", device, "test")
    with pytest.raises(OperatorFault, match="device id"):
        office.acts.add_device(device, "walker", "test")


def test_a_revoked_key_opens_nothing() -> None:
    office = Office()
    first = office.create()["api_key"]
    second = office.do(office.acts.keys.create("walker", None, "test"))["api_key"]
    office.do(office.acts.keys.revoke(first.split(".")[0], "test"))
    with pytest.raises(AccessDenied):
        agent_of(office.registry, first)
    assert agent_of(office.registry, second)[0].agent == "walker"


def test_a_key_that_is_not_there_cannot_be_revoked() -> None:
    office = Office()
    office.create()
    with pytest.raises(OperatorFault, match="no key"):
        office.acts.keys.revoke("abc", "test")


def test_a_device_is_added_and_moved() -> None:
    office = Office()
    office.create()
    office.create(name="runner")
    office.do(office.acts.add_device("heater", "walker", "test"))
    assert office.acts.list_devices() == [{"device": "heater", "agent": "walker"}]
    office.do(office.acts.add_device("heater", "runner", "test"))
    assert office.acts.list_devices() == [{"device": "heater", "agent": "runner"}]


def test_an_operators_key_opens_no_agent() -> None:
    office = Office()
    office.registry.keys[fingerprint("secret")] = Key(KeyId("abc"), None, user="ann")
    with pytest.raises(AccessDenied):
        agent_of(office.registry, "secret")
    assert office.registry.devices.get(DeviceId("heater")) is None


def test_a_forgotten_device_may_be_taken_by_any_agent() -> None:
    office = Office()
    office.create()
    office.do(office.acts.add_device("heater", "walker", "test"))
    assert office.do(office.acts.forget_device("heater", "test")) == {"forgotten": "heater"}
    assert office.acts.list_devices() == []
    assert (office.log[-1].agent, office.log[-1].device) == ("walker", "heater")


def test_a_forgotten_device_can_be_forgotten_again_until_it_is_anothers() -> None:
    office = Office()
    office.create()
    office.create(name="runner")
    office.do(office.acts.add_device("heater", "walker", "test"))
    for _ in range(2):
        assert office.do(office.acts.forget_device("heater", "test")) == {"forgotten": "heater"}
        assert (office.log[-1].agent, office.log[-1].device) == ("walker", "heater")
    office.do(office.acts.add_device("heater", "runner", "test"))
    office.do(office.acts.forget_device("heater", "test"))
    assert office.log[-1].agent == "runner"


@pytest.mark.parametrize("device", ["heater", "", "../keys", "a" * 100])
def test_a_device_that_is_not_there_cannot_be_forgotten(device: str) -> None:
    with pytest.raises(OperatorFault, match="no device"):
        Office().acts.forget_device(device, "test")


# --- users ----------------------------------------------------------------------------------


def test_a_user_is_listed_with_the_role_and_no_hash() -> None:
    office = Office()
    office.do(office.acts.users.add("bob", "admin", b"$hash-of-bob", "test"))
    answer = office.do(office.acts.users.add("ann", "owner", b"$hash-of-ann", "test"))
    ann = {"user": "ann", "role": "owner"}
    assert answer == ann
    assert office.acts.users.listed() == [ann, {"user": "bob", "role": "admin"}]
    assert office.registry.passwords["ann"] == b"$hash-of-ann"
    assert all("$hash" not in (event.payload or "") for event in office.log)


@pytest.mark.parametrize("name", ["", "Ann", "a" * 41, "ann b", "ann\n", "änn"])
def test_a_malformed_user_name_is_refused(name: str) -> None:
    with pytest.raises(OperatorFault, match="must match"):
        Office().acts.users.add(name, "owner", b"#", "test")


def test_a_users_name_is_given_once() -> None:
    office = Office()
    office.do(office.acts.users.add("ann", "owner", b"#", "test"))
    with pytest.raises(OperatorFault, match=r"exists.*another password"):
        office.acts.users.add("ann", "admin", b"#", "test")


def test_admin_owns_what_nobody_else_does_and_so_is_no_mere_owner() -> None:
    office = Office()
    with pytest.raises(OperatorFault, match="role is admin"):
        office.acts.users.add("admin", "owner", b"#", "test")
    office.create()
    office.do(office.acts.users.add("admin", "admin", b"#", "test"))
    office.do(office.acts.users.remove("admin", "test"))
    assert office.acts.show_agent("walker")["owner"] == "admin"


def test_another_password_keeps_role_and_keys() -> None:
    office = Office()
    office.do(office.acts.users.add("ann", "owner", b"old", "test"))
    secret = office.do(office.acts.keys.create_for_user("ann", "test"))["api_key"]
    office.do(office.acts.users.set_password("ann", b"new", "test"))
    assert office.registry.passwords == {"ann": b"new"}
    assert operator_of(office.registry, secret).role == "owner"


def test_a_users_key_is_shown_once_and_opens_no_agent() -> None:
    office = Office()
    office.create()
    office.do(office.acts.users.add("ann", "owner", b"#", "test"))
    answer = office.do(office.acts.keys.create_for_user("ann", "test"))
    assert list(answer) == ["user", "api_key"]
    secret = answer["api_key"]
    assert operator_of(office.registry, secret).name == "ann"
    with pytest.raises(AccessDenied):
        agent_of(office.registry, secret)
    assert secret.partition(".")[2] not in str(office.acts.keys.listed())
    office.do(office.acts.keys.revoke(secret.partition(".")[0], "test"))
    with pytest.raises(AccessDenied):
        operator_of(office.registry, secret)


def test_a_key_for_a_hub_names_it_and_opens_nothing_else() -> None:
    office = Office()
    office.create()
    for name in ("ann", "bob"):
        office.do(office.acts.users.add(name, "owner", b"#", "test"))
    answer = office.do(office.acts.keys.create_for_user("ann", "test", "site-a"))
    assert list(answer) == ["user", "hub", "api_key"]
    for opened in (operator_of, agent_of):
        with pytest.raises(AccessDenied):
            opened(office.registry, answer["api_key"])
    office.do(office.acts.keys.create_for_user("ann", "test", "site-a"))  # to take its place
    with pytest.raises(OperatorFault, match="another user's is called 'site-a'"):
        office.acts.keys.create_for_user("bob", "test", "site-a")
    for wrong in ("", "Site A", "a/b", "+", "x" * 41):
        with pytest.raises(OperatorFault, match="must match"):
            office.acts.keys.create_for_user("ann", "test", wrong)


def test_what_the_log_has_of_a_hubs_key_is_an_operators_to_no_earlier_version() -> None:
    """They know nothing of `hub`, and take a key with a user and no agent for that user's own."""
    office = Office()
    office.do(office.acts.users.add("ann", "admin", b"#", "test"))
    keys = office.acts.keys
    made, _ = keys.create_for_user("ann", "test", "site-a")
    first = office.do((made, {}))
    assert first == {}
    (key,) = office.registry.keys.values()
    replaced, answer = keys.rotate(key.id, 60.0, "test")
    for event in (*made, *replaced):
        fact: Any = msgspec.json.decode(event.payload or "")
        logged = fact["key"]
        assert (logged["user"], logged["agent"], logged["hub_of"]) == (None, None, "ann")
    office.do((replaced, answer))
    assert {(one.user, one.hub) for one in office.registry.keys.values()} == {("ann", "site-a")}
    assert (answer["user"], len(office.registry.keys)) == ("ann", 2)


@pytest.mark.parametrize(
    "limits",
    [
        {"publishable": Publishable(("https://museum.example",), 10, 10.0)},
        {"rewarding": Rewarding(1.0, 60.0)},
        {"rewarding": Rewarding(1.0, 60.0), "device": "dog"},
    ],
    ids=["publishable", "rewarding", "of a device"],
)
def test_what_the_log_has_of_a_key_that_may_do_little_opens_nothing_to_earlier_versions(
    limits: dict[str, Any],
) -> None:
    """They know nothing of its limits, and take a key with an agent for one that may do all."""
    office = Office()
    office.create()
    (whole,) = office.registry.keys.values()
    device = limits.pop("device", None)
    made, _ = office.acts.keys.create("walker", device, "test", **limits)
    office.do((made, {}))
    key = next(one for one in office.registry.keys.values() if one != whole)
    replaced, answer = office.acts.keys.rotate(key.id, 60.0, "test")
    for event in (*made, *replaced):
        fact: Any = msgspec.json.decode(event.payload or "")
        logged = fact["key"]
        assert (logged["agent"], logged["user"], logged["limited_to"]) == (None, None, "walker")
        assert event.agent == "walker", "whose owner sees that it was made"
    office.do((replaced, answer))
    keys = [one for one in office.registry.keys.values() if one != whole]
    expected = Key(KeyId(""), AgentName("walker"), device, **limits)
    assert [msgspec.structs.replace(one, id=KeyId("")) for one in keys] == [expected] * 2


def test_a_limited_key_of_a_log_that_an_earlier_version_wrote_has_its_limits() -> None:
    office = Office()
    office.create()
    limits = Publishable(("https://museum.example",), 10, 10.0)
    key = Key(KeyId("k"), AgentName("walker"), publishable=limits)
    office.do(([admin_event(1, KeyMade(key, "test"), "walker", "", b"#")], {}))
    assert office.registry.keys[b"#"] == key


def test_a_user_who_owns_agents_gives_them_away_before_leaving() -> None:
    office = Office()
    for name in ("ann", "bob"):
        office.do(office.acts.users.add(name, "owner", b"#", "test"))
    secret = office.do(office.acts.keys.create_for_user("ann", "test"))["api_key"]
    office.create(owner="ann")
    office.create(name="runner", owner="ann")
    with pytest.raises(OperatorFault, match=r"owns runner, walker; give each to another owner"):
        office.acts.users.remove("ann", "test")
    for name, owner in (("walker", "bob"), ("runner", "admin")):
        office.do(office.acts.change_agent(name, {"owner": owner}, "test"))
    assert office.do(office.acts.users.remove("ann", "test")) == {"removed": "ann"}
    with pytest.raises(AccessDenied):
        operator_of(office.registry, secret)
    assert office.acts.users.listed() == [{"user": "bob", "role": "owner"}]


def test_an_agent_whose_owner_was_never_a_user_can_still_be_changed() -> None:
    """Logs of before there were users hold any name there."""
    office = Office()
    office.do(office.acts.users.add("ann", "owner", b"#", "test"))
    office.create(owner="ann")
    del office.registry.users["ann"]
    assert office.do(office.acts.change_agent("walker", {"status": "paused"}, "test"))


def test_a_user_who_is_not_there_is_said_with_who_is() -> None:
    office = Office()
    office.do(office.acts.users.add("ann", "owner", b"#", "test"))
    acts: list[Callable[[], object]] = [
        lambda: office.acts.users.set_password("bob", b"#", "test"),
        lambda: office.acts.users.remove("bob", "test"),
        lambda: office.acts.keys.create_for_user("bob", "test"),
    ]
    for act in acts:
        with pytest.raises(OperatorFault, match=r"no user 'bob'; there are: ann"):
            act()


# --- safety -----------------------------------------------------------------------------------

RULES = {"high": 1, "interlocks": [{"when": "o[0] > 0.5", "action": 0}], "clamps_max": 5}


def test_safety_rules_are_declared_changed_and_taken_away_by_events() -> None:
    office = Office()
    office.create(safety=RULES)
    made = Safety(high=1.0, interlocks=[Interlock("o[0] > 0.5", 0)], clamps_max=5)
    assert office.registry.agents[AgentName("walker")].agent.safety == made
    assert office.checked[-1].safety == made
    shown = office.do(office.acts.change_agent("walker", {"safety": {"dwell_s": 5}}, "test"))
    assert shown["safety"] == {"dwell_s": 5.0}
    office.do(office.acts.change_agent("walker", {"deadline_ms": 99}, "test"))
    assert office.acts.show_agent("walker")["safety"] == {"dwell_s": 5.0}
    assert office.do(office.acts.change_agent("walker", {"safety": None}, "test"))["safety"] is None


@pytest.mark.parametrize(
    ("safety", "why"),
    [
        ("none", "an object of rules or null, not 'none'"),
        ([], "an object of rules or null"),
        ({"maximum": 3}, "safety has no maximum; there are: low, high, rate_max"),
        ({"high": "3"}, r"Expected .*float.*high"),
        ({"high": [True]}, r"Expected .*float.*high"),
        ({"high": [[1]]}, r"Expected .*float.*high"),
        ({"clamps_max": 1.5}, "clamps_max"),
        ({"interlocks": {"when": "o[0] > 1"}}, "interlocks"),
        ({"interlocks": ["o[0] > 1"]}, r"interlocks\[0\] is an object"),
        ({"interlocks": [{"when": "o[0] > 1"}]}, "missing required field `action`"),
        ({"interlocks": [{"if": "o[0] > 1", "action": 0}]}, r"no if; there are: when, action"),
        ({"interlocks": [{"when": 1, "action": 0}]}, "when"),
    ],
)
def test_safety_rules_of_another_form_are_refused(safety: Any, why: str) -> None:
    office = Office()
    with pytest.raises(OperatorFault, match=why):
        office.create(safety=safety)
    office.create()
    with pytest.raises(OperatorFault, match=why):
        office.acts.change_agent("walker", {"safety": safety}, "test")


SHA: Final = "ab" * 32


def test_a_restarted_agent_forgets_policy_and_logins_and_has_another_seed() -> None:
    office = Office()
    office.create()
    office.policies.files.add(SHA)
    office.do(office.acts.choose_policy("walker", Chosen(SHA, "imported"), "ann"))
    before = office.registry.agents[AgentName("walker")].agent
    office.registry.logins[b"secret"] = Login(before.name, DeviceId("d"), 1, 1, None)
    assert office.do(office.acts.restart_agent("walker", "ann")) == {
        "agent": "walker",
        "version": 1,
    }
    registry = office.registry
    assert registry.logins == {}
    assert registry.policies == {}
    begun = registry.begun[before.name]
    assert (begun.seq, begun.version) == (len(office.log), 1)
    assert begun.agent == msgspec.structs.replace(before, seed=begun.agent.seed)
    assert begun.agent.seed != before.seed
    assert registry.agents[before.name].agent == begun.agent


def test_a_chosen_policy_acts_under_a_new_number_and_the_trainer_goes_on_from_its_own() -> None:
    office = Office()
    office.create()
    walker = AgentName("walker")
    made = msgspec.json.encode(PolicyMade("cd" * 32, None, 1)).decode()
    office.registry.apply(Event(Kind.POLICY, 0, "walker", policy=0, payload=made))
    office.policies.version = 0
    office.policies.files.add(SHA)
    answer = office.do(office.acts.choose_policy("walker", Chosen(SHA, "promoted", 0), "ann"))
    assert answer == {"agent": "walker", "version": 1, "sha256": SHA}
    registry = office.registry
    assert (registry.policies[walker].version, registry.policies[walker].made.sha256) == (1, SHA)
    assert registry.trained[walker].version == 0
    shown = office.acts.show_policies("walker")
    assert shown["acts"] == 1
    assert [(one["how"], one["by"]) for one in shown["chosen"]] == [("promoted", "ann")]
    # The hub's next start is given admin events and the newest policy.
    again = Registry()
    for event in office.log:
        again.apply(event)
    assert again.trained == registry.trained
    assert again.policies == registry.policies


@pytest.mark.parametrize("sha256", ["", "../" * 22, "AB" * 32, "cd" * 32])
def test_a_policy_that_is_not_there_is_refused(sha256: str) -> None:
    office = Office()
    office.create()
    with pytest.raises(OperatorFault):
        office.acts.choose_policy("walker", Chosen(sha256, "promoted", 0), "ann")
    assert office.policies.version == -1
