"""Claim tokens: who gets a key for one, who does not, and that it is told again to nobody else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from hub.errors import AccessDenied, DeviceFault, OperatorFault
from hub.registry.access import agent_of, fingerprint
from hub.registry.claim_acts import (
    Asked,
    CreateClaim,
    Given,
    RevokeClaim,
    UnknownToken,
    _derived,
    asked,
)
from hub.registry.fold import Registry
from hub.settings import KeySettings
from hub.words import AgentName, DeviceId
from tests.registry.test_acts import Office

NONCE = "0123456789abcdef"
DAY_US = 86_400_000_000


class Gatehouse(Office):
    """An office with agents `walker` and `runner`, where devices come with tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.create()
        self.create(name="runner")

    def token(self, agent: str = "walker", **terms: Any) -> str:
        """A new one."""
        made = self.do(self.acts.claims.decide(CreateClaim(agent, **terms), "test"))
        return str(made["token"])

    def redeem(self, token: str, device: str, nonce: str | None = NONCE, **said: Any) -> Given:
        """What the device gets."""
        given = self.do(self.acts.claims.redeem(Asked(token, device, nonce, **said)))
        assert isinstance(given, Given)
        return given

    def refusal(self, token: str, device: str, nonce: str | None = NONCE, **said: Any) -> str:
        """Why it gets nothing; nothing is logged."""
        before = len(self.log)
        with pytest.raises(AccessDenied) as refused:
            self.redeem(token, device, nonce, **said)
        assert len(self.log) == before
        return str(refused.value)


def test_a_token_gives_a_device_a_key_of_its_own() -> None:
    gate = Gatehouse()
    given = gate.redeem(gate.token(), "pump-1")
    key, spec = agent_of(gate.registry, given.key)
    assert (key.agent, key.device, spec.agent.name) == ("walker", "pump-1", "walker")
    assert gate.registry.devices[DeviceId("pump-1")] == "walker"


def test_the_log_knows_neither_token_nor_key_nor_nonce() -> None:
    gate = Gatehouse()
    token = gate.token()
    given = gate.redeem(token, "pump-1")
    written = msgspec.msgpack.encode(gate.log)
    for secret in (token, token.partition(".")[2], given.key, given.key.partition(".")[2], NONCE):
        assert secret.encode() not in written


def test_what_is_folded_once_more_accepts_the_same_keys_and_tokens() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    given = gate.redeem(token, "pump-1")
    again = Registry()
    for event in gate.log:
        again.apply(event)
    assert agent_of(again, given.key)[0].device == "pump-1"
    standing = again.claims.of_secret(fingerprint(token))
    assert standing is not None
    assert list(standing.redeemed) == ["pump-1"]


def test_a_token_is_worth_as_many_devices_as_it_says() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    assert gate.redeem(token, "a").key != gate.redeem(token, "b").key
    assert "for 2 devices" in gate.refusal(token, "c")


def test_who_asks_again_by_the_nonce_is_told_the_same_key_and_it_costs_no_use() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    first = gate.redeem(token, "a")
    events = len(gate.log)
    assert gate.redeem(token, "a") == first
    assert len(gate.log) == events
    gate.redeem(token, "b")
    assert gate.redeem(token, "a") == first, "though the token is spent"


def test_a_token_that_expires_between_question_and_answer_still_answers() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2, expires_s=60.0)
    first = gate.redeem(token, "a")
    gate.now_us += 61_000_000
    assert gate.redeem(token, "a") == first
    assert "has expired" in gate.refusal(token, "b")


def test_nobody_is_told_a_key_again_without_the_nonce_of_the_first_time() -> None:
    gate = Gatehouse()
    token = gate.token(uses=3)
    gate.redeem(token, "a")
    gate.redeem(token, "b", None)
    for device, nonce in (("a", None), ("a", "another-nonce-0123"), ("b", None), ("b", NONCE)):
        assert "only with the nonce" in gate.refusal(token, device, nonce)


def test_a_key_claimed_without_a_nonce_can_be_computed_by_nobody() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    given = gate.redeem(token, "a", nonce=None)
    key_id = given.key.partition(".")[0]
    assert key_id not in gate.refusal(token, "a"), "whoever has the token may ask"
    assert given.key != _derived(Asked(token, "a", None), key_id)


def test_a_key_is_told_again_for_a_while_only() -> None:
    gate = Gatehouse()
    token = gate.token(expires_s=9 * 86_400.0)
    gate.redeem(token, "a")
    gate.now_us += round(KeySettings().claim_again_s * 1_000_000)
    gate.redeem(token, "a")
    gate.now_us += 1
    assert "too long ago" in gate.refusal(token, "a")


def test_a_key_that_was_revoked_is_not_told_again() -> None:
    gate = Gatehouse()
    token = gate.token()
    given = gate.redeem(token, "a")
    gate.do(gate.acts.keys.revoke(given.key.partition(".")[0], "test"))
    assert "not accepted any more" in gate.refusal(token, "a")


def test_a_device_of_another_agent_is_not_taken_over() -> None:
    gate = Gatehouse()
    gate.do(gate.acts.add_device("heater", "runner", "test"))
    assert "belongs to another agent" in gate.refusal(gate.token(), "heater")
    assert gate.registry.devices[DeviceId("heater")] == "runner"


def test_a_device_that_is_there_already_is_not_taken_over() -> None:
    gate = Gatehouse()
    gate.do(gate.acts.add_device("heater", "walker", "test"))
    assert "is there already" in gate.refusal(gate.token(), "heater")


def test_a_device_whose_claimed_key_was_revoked_comes_in_anew_by_another_token() -> None:
    gate = Gatehouse()
    first = gate.redeem(gate.token(), "a").key
    gate.do(gate.acts.keys.revoke(first.partition(".")[0], "test"))
    leaked = gate.token()
    second = gate.redeem(leaked, "a").key
    assert second != first
    gate.do(gate.acts.claims.decide(RevokeClaim(leaked.partition(".")[0], keys=True), "test"))
    assert gate.redeem(gate.token(), "a").key not in (first, second)


def test_a_key_of_another_agent_s_keeps_no_device_out() -> None:
    gate = Gatehouse()
    gate.do(gate.acts.keys.create("runner", "a", "test"))
    assert gate.redeem(gate.token(), "a").key


def test_a_device_that_has_a_key_keeps_it() -> None:
    gate = Gatehouse()
    gate.redeem(gate.token(), "a")
    assert "has a key of its own" in gate.refusal(gate.token(), "a")


@pytest.mark.parametrize(
    ("terms", "device", "said", "why"),
    [
        ({"prefix": "pump-"}, "fan-1", {}, "for devices pump-"),
        ({"device_type": "pump"}, "a", {}, "of type 'pump'"),
        ({"device_type": "pump"}, "a", {"device_type": "fan"}, "of type 'pump'"),
        ({}, "http-1", {}, "must match"),
        ({}, "", {}, "must match"),
        ({}, "A", {}, "must match"),
        ({}, "\ud800", {}, "must match"),
    ],
)
def test_a_device_that_a_token_is_not_for_gets_nothing(
    terms: dict[str, Any], device: str, said: dict[str, Any], why: str
) -> None:
    gate = Gatehouse()
    assert why in gate.refusal(gate.token(**terms), device, **said)


def test_a_device_that_a_token_is_for_gets_a_key() -> None:
    gate = Gatehouse()
    token = gate.token(prefix="pump-", device_type="pump")
    assert gate.redeem(token, "pump-1", device_type="pump").agent == "walker"


def test_an_agent_with_as_many_devices_as_it_may_have_gets_no_more() -> None:
    gate = Gatehouse()
    gate.do(gate.acts.change_agent("walker", {"devices_max": 1}, "test"))
    token = gate.token(uses=2)
    gate.redeem(token, "a")
    assert "as many as it may" in gate.refusal(token, "b")


def test_a_revoked_token_is_worth_nothing_and_its_keys_stay() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    given = gate.redeem(token, "a")
    gate.do(gate.acts.claims.decide(RevokeClaim(token.partition(".")[0]), "test"))
    for device in ("a", "b"):
        with pytest.raises(UnknownToken):
            gate.redeem(token, device)
    assert agent_of(gate.registry, given.key)[0].device == "a"
    assert gate.acts.claims.listed() == []


def test_a_token_is_revoked_with_the_keys_that_came_of_it_and_no_others() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    given = gate.redeem(token, "a")
    rotated = gate.do(gate.acts.keys.rotate(given.key.partition(".")[0], None, "test"))["api_key"]
    other = gate.redeem(gate.token(), "b").key
    gate.do(gate.acts.claims.decide(RevokeClaim(token.partition(".")[0], keys=True), "test"))
    for gone in (given.key, rotated):
        with pytest.raises(AccessDenied):
            agent_of(gate.registry, gone)
    agent_of(gate.registry, other)


def test_keys_of_a_token_that_was_revoked_before_can_be_revoked_after_it() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2)
    given = [gate.redeem(token, device).key for device in ("a", "b")]
    revoke = RevokeClaim(token.partition(".")[0])
    gate.do(gate.acts.claims.decide(revoke, "test"))
    gate.do(gate.acts.claims.decide(structs.replace(revoke, keys=True), "test"))
    for gone in given:
        with pytest.raises(AccessDenied):
            agent_of(gate.registry, gone)
    with pytest.raises(OperatorFault, match="no claim"):
        gate.acts.claims.decide(revoke, "test")


def test_a_deleted_agent_s_tokens_are_worth_nothing() -> None:
    gate = Gatehouse()
    token = gate.token()
    gate.do(gate.acts.change_agent("walker", {"status": "deleted"}, "test"))
    assert "not accepted" in gate.refusal(token, "a")


@pytest.mark.parametrize(
    ("terms", "why"),
    [
        ({"agent": "nobody"}, "no agent"),
        ({"uses": 0}, "1 to 100000"),
        ({"uses": 100_001}, "1 to 100000"),
        ({"expires_s": 0.0}, "expires"),
        ({"expires_s": 1e12}, "expires"),
        ({"prefix": "Pump"}, "begins with"),
        ({"prefix": "http-"}, "begins with"),
        ({"prefix": "p" * 24}, "begins with"),
        ({"device_type": ""}, "device type"),
        ({"device_type": "t" * 41}, "device type"),
    ],
)
def test_a_token_that_could_not_be_kept_is_refused(terms: dict[str, Any], why: str) -> None:
    with pytest.raises(OperatorFault, match=why):
        Gatehouse().token(**terms)


def test_a_list_shows_what_a_token_is_for_and_not_the_token() -> None:
    gate = Gatehouse()
    token = gate.token(uses=2, prefix="p")
    gate.redeem(token, "p1")
    (shown,) = gate.acts.claims.listed()
    assert (shown["state"], shown["uses"], shown["uses_max"]) == ("open", 1, 2)
    assert (shown["agent"], shown["prefix"], shown["devices"]) == ("walker", "p", ["p1"])
    assert token.partition(".")[2] not in str(shown)
    gate.now_us += 2 * DAY_US
    assert gate.acts.claims.listed()[0]["state"] == "expired"


def test_tokens_long_expired_are_forgotten_when_another_is_made() -> None:
    gate = Gatehouse()
    gate.token()
    gate.now_us += 40 * DAY_US
    gate.token()
    assert [one["state"] for one in gate.acts.claims.listed()] == ["open"]


@pytest.mark.parametrize(
    ("nonce", "device_type"),
    [(1, None), ("short", None), ("n" * 65, None), ("n" * 15 + "é", None), (NONCE, 1),
     (NONCE, "t" * 41)],
)  # fmt: skip
def test_a_nonce_or_type_that_can_t_be_meant_is_the_device_s_fault(
    nonce: object, device_type: object
) -> None:
    with pytest.raises(DeviceFault):
        asked("token", "device", nonce, device_type)


def test_the_agent_named_by_a_claim_is_the_device_s() -> None:
    gate = Gatehouse()
    assert gate.acts.claims.check(gate.token("runner"), "a").claim.agent == AgentName("runner")
