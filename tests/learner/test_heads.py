"""Which versions reach the log when trainers, operators and restarts meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from hub.facts import AgentMade, AgentRestarted, PolicyMade
from hub.learner.messages import Made
from hub.learner.versions.heads import Heads, Verdict
from hub.registry.fold import Registry
from hub.words import Agent, AgentName, Event, Kind

if TYPE_CHECKING:
    from hub.facts import Fact

WALKER = AgentName("walker")
AGENT = Agent(WALKER, "PPO", 2, 2, seed=1)


def made(version: int, parent: int | None, parent_sha256: str | None) -> Made:
    return Made(version, PolicyMade(f"sha-{version}", parent, 1), None, parent_sha256)


def logged(registry: Registry, kind: Kind, fact: Fact, version: int | None = None) -> None:
    payload = msgspec.json.encode(fact).decode()
    registry.apply(Event(kind, 0, WALKER, policy=version, payload=payload, seq=9))


@pytest.fixture
def registry() -> Registry:
    """One agent, without a policy."""
    registry = Registry()
    logged(registry, Kind.ADMIN, AgentMade(AGENT, "test"))
    return registry


def test_versions_follow_each_other_before_they_are_durable(registry: Registry) -> None:
    heads = Heads(registry)
    assert heads.follow(WALKER, made(0, None, None)) is Verdict.LOG
    assert heads.follow(WALKER, made(1, 0, "sha-0")) is Verdict.LOG
    assert heads.follow(WALKER, made(1, 0, "sha-0")) is Verdict.LEAVE
    assert heads.of(WALKER).version == 1


def test_a_child_of_a_version_the_log_has_not_is_astray(registry: Registry) -> None:
    logged(registry, Kind.POLICY, PolicyMade("sha-3", 2, 1), 3)
    heads = Heads(registry)
    assert heads.follow(WALKER, made(4, 3, "another 3")) is Verdict.ASTRAY
    assert heads.follow(WALKER, made(4, 3, "sha-3")) is Verdict.LOG


def test_what_a_trainer_made_before_it_read_of_a_choice_is_left(registry: Registry) -> None:
    heads = Heads(registry)
    assert heads.follow(WALKER, made(0, None, None)) is Verdict.LOG
    assert heads.choose(WALKER, "chosen") == 1
    assert heads.follow(WALKER, made(1, 0, "sha-0")) is Verdict.LEAVE
    assert heads.follow(WALKER, made(2, 1, "sha-1")) is Verdict.LEAVE
    assert heads.follow(WALKER, made(2, 1, "chosen")) is Verdict.LOG


def test_after_a_restart_only_a_new_beginning_is_logged(registry: Registry) -> None:
    heads = Heads(registry)
    heads.follow(WALKER, made(0, None, None))
    assert heads.choose(WALKER, None) == 1
    assert heads.choose(WALKER, None) == 1
    assert heads.follow(WALKER, made(1, 0, "sha-0")) is Verdict.LEAVE
    assert heads.follow(WALKER, made(1, None, None)) is Verdict.LOG


def test_numbers_go_on_after_a_restart_of_the_hub(registry: Registry) -> None:
    logged(registry, Kind.POLICY, PolicyMade("sha-3", 2, 1), 3)
    logged(registry, Kind.ADMIN, AgentRestarted(AGENT, 4, "test"))
    assert Heads(registry).choose(WALKER, "imported") == 4
    assert Heads(registry).follow(WALKER, made(4, None, None)) is Verdict.LOG
    assert Heads(Registry()).of(WALKER).version == -1
