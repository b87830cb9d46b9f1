"""What a key and an agent may send: settings, declarations, and changes while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hub.errors import AccessDenied, DeviceFault
from hub.facts import KeyMade, KeyRevoked
from hub.registry.access import admit
from hub.registry.admin import admin_event
from hub.registry.fold import Registry, spec_of
from hub.registry.quotas import Quota, Quotas
from hub.settings import QuotaSettings
from hub.words import Agent, AgentName, DeviceId, Key, KeyId

if TYPE_CHECKING:
    from hub.clock import Clock

WALKER = AgentName("walker")
KEY, OTHER = KeyId("k1"), KeyId("k2")


class HandClock:
    seconds = 1000.0

    def now_us(self) -> int:
        return int(self.seconds * 1e6)

    def monotonic(self) -> float:
        return self.seconds


class Rooms:
    """Quotas over a registry whose one agent can be declared anew."""

    def __init__(self, **settings: Any) -> None:
        self.clock = HandClock()
        self.registry = Registry()
        clock: Clock = self.clock
        self.quotas = Quotas(self.registry, QuotaSettings(**settings), clock)
        for key in (KEY, OTHER):
            self.registry.apply(
                admin_event(1, KeyMade(Key(key, WALKER), "test"), secret=key.encode())
            )
        self.declare()

    def declare(self, **columns: Any) -> None:
        agent = Agent(WALKER, "PPO", [[2], -1.0, 1.0], 2, seed=1, **columns)
        self.registry.agents[WALKER] = spec_of(agent)
        self.quotas.changed(WALKER)

    def of(self, key: KeyId | None = KEY) -> Quota:
        return self.quotas.of(key, WALKER)


def passed(quota: Quota, count: int, size_bytes: int = 10) -> int:
    """How many of so many messages are let in now."""
    let_in = 0
    for _ in range(count):
        try:
            quota.take(size_bytes)
            let_in += 1
        except DeviceFault:
            pass
    return let_in


def test_without_limits_everything_passes_and_is_not_even_counted() -> None:
    rooms = Rooms()
    assert passed(rooms.of(), 10_000, 1 << 20) == 10_000
    assert rooms.quotas.refused == 0


def test_a_key_has_its_own_limit_wherever_its_devices_are() -> None:
    rooms = Rooms(key_messages_per_s=5.0, burst_s=2.0)
    assert passed(rooms.of(), 100) == 10
    assert passed(rooms.of(), 100) == 0, "another session of the same key"
    assert passed(rooms.of(OTHER), 100) == 10
    rooms.clock.seconds += 1.0
    assert passed(rooms.of(), 100) == 5


def test_an_agents_limit_is_shared_by_its_keys() -> None:
    rooms = Rooms(agent_messages_per_s=5.0, burst_s=1.0)
    assert passed(rooms.of(), 3) + passed(rooms.of(OTHER), 100) == 5
    assert rooms.quotas.refused == 98


def test_bytes_are_limited_besides_messages_and_none_is_taken_of_what_is_refused() -> None:
    rooms = Rooms(agent_bytes_per_s=1000.0, agent_messages_per_s=50.0, burst_s=1.0)
    assert passed(rooms.of(), 100, 100) == 10
    rooms.clock.seconds += 1.0
    assert passed(rooms.of(), 100, 10) == 50


def test_the_fault_says_what_the_limit_is_and_when_to_come_again() -> None:
    rooms = Rooms(key_messages_per_s=1.0, burst_s=1.0)
    rooms.of().take(1)
    with pytest.raises(DeviceFault, match="over 1 messages a second of this key") as refused:
        rooms.of().take(1)
    assert refused.value.code == "rate"
    assert refused.value.retry_s == pytest.approx(1.0)


def test_an_agents_own_limit_stands_instead_of_the_settings_and_holds_at_once() -> None:
    rooms = Rooms(agent_messages_per_s=5.0, burst_s=1.0)
    quota = rooms.of()
    rooms.declare(messages_per_s=20.0)
    assert passed(quota, 100) == 20
    rooms.declare(messages_per_s=0.0)
    assert passed(quota, 100) == 100
    rooms.declare()
    assert passed(quota, 100) == 5


def test_one_device_more_than_an_agent_may_have_is_not_let_in() -> None:
    rooms = Rooms()
    rooms.declare(devices_max=2)
    key = Key(KEY, WALKER)
    for name in ("a", "b"):
        rooms.registry.devices[admit(rooms.registry, key, name)] = WALKER
    assert admit(rooms.registry, key, "a") == "a"
    with pytest.raises(AccessDenied, match="2 devices, as many as it may"):
        admit(rooms.registry, key, "c")
    del rooms.registry.devices[DeviceId("a")]
    assert admit(rooms.registry, key, "c") == "c"


def test_an_agent_owes_what_it_owed_when_its_keys_change_and_its_limits_do_not() -> None:
    rooms = Rooms(agent_messages_per_s=5.0, burst_s=2.0)
    assert passed(rooms.of(), 100) == 10
    rooms.registry.apply(admin_event(2, KeyRevoked(OTHER, "test")))
    rooms.quotas.changed(WALKER)
    assert passed(rooms.of(), 100) == 0, "one of its devices changed its key"
    rooms.declare(messages_per_s=7.0)
    assert passed(rooms.of(), 100) == 14
    rooms.declare(messages_per_s=7.0)
    assert passed(rooms.of(), 100) == 0


def test_nothing_is_kept_of_keys_and_agents_that_are_no_more_but_the_count() -> None:
    rooms = Rooms(key_messages_per_s=1, burst_s=1)
    for key in (KEY, OTHER, None):
        passed(rooms.of(key), 3)
    assert rooms.quotas.refused == 4, "no key, no limit"
    rooms.registry.apply(admin_event(2, KeyRevoked(KEY, "test")))
    rooms.quotas.changed(WALKER)
    assert list(rooms.quotas._keys) == [OTHER]
    assert list(rooms.quotas._quotas) == [(OTHER, WALKER), (None, WALKER)]
    assert passed(rooms.of(OTHER), 1) == 0, "a key that stays owes what it owed"
    del rooms.registry.agents[WALKER]
    rooms.quotas.changed(WALKER)
    for kept in (rooms.quotas._keys, rooms.quotas._quotas, rooms.quotas._agents):
        assert not kept
    assert rooms.quotas.refused == 5
