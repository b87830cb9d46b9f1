"""Keys and passwords: what they open, for whom, and that nothing else opens anything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import AccessDenied, OperatorFault
from hub.registry.access import (
    admit,
    agent_of,
    fingerprint,
    hash_password,
    make_secret,
    operator_of,
    password_matches,
)
from hub.registry.fold import Registry
from hub.words import AgentName, DeviceId, Key, KeyId, User
from tests.intake.fakes import agent_spec

if TYPE_CHECKING:
    from collections.abc import Callable

ANY = Key(KeyId("any"), AgentName("walker"))
HEATERS = Key(KeyId("heaters"), AgentName("walker"), device=DeviceId("heater"))
OTHERS = Key(KeyId("others"), AgentName("runner"))
ANNS = Key(KeyId("anns"), None, user="ann")
ANN = User("ann", "owner")


def registry() -> Registry:
    made = Registry()
    made.agents[AgentName("walker")] = agent_spec()
    made.agents[AgentName("runner")] = agent_spec(name=AgentName("runner"))
    made.keys = {fingerprint(key.id): key for key in (ANY, HEATERS, OTHERS, ANNS)}
    made.users = {"ann": ANN}
    return made


def test_a_secret_opens_its_agent() -> None:
    key, spec = agent_of(registry(), "heaters")
    assert (key, spec.agent.name) == (HEATERS, "walker")


@pytest.mark.parametrize("secret", ["", "an", "any ", "ANY", "any\0", "\ud800", "a" * 10_000])
def test_another_secret_opens_nothing(secret: str) -> None:
    with pytest.raises(AccessDenied):
        agent_of(registry(), secret)


def test_the_key_of_a_deleted_agent_opens_nothing() -> None:
    without = registry()
    del without.agents[AgentName("walker")]
    with pytest.raises(AccessDenied):
        agent_of(without, "any")


def test_the_refusal_never_says_which_part_was_wrong() -> None:
    with pytest.raises(AccessDenied) as unknown:
        agent_of(registry(), "nobody")
    without = registry()
    del without.agents[AgentName("walker")]
    with pytest.raises(AccessDenied) as deleted:
        agent_of(without, "any")
    assert str(unknown.value) == str(deleted.value)


def test_an_agents_key_speaks_for_any_device_not_seen_before() -> None:
    assert admit(registry(), ANY, "heater") == "heater"
    assert admit(registry(), ANY, "a" * 23) == "a" * 23


@pytest.mark.parametrize(
    "device", ["", "hub", "agents", "http-1", "A", "a" * 24, "a b", "a/b", "#"]
)
def test_a_reserved_or_malformed_id_is_refused(device: str) -> None:
    with pytest.raises(AccessDenied, match="device id"):
        admit(registry(), ANY, device)


def test_the_hubs_own_ids_are_admitted_where_the_protocol_gives_them() -> None:
    assert admit(registry(), ANY, "http-1", reserved=True) == "http-1"
    with pytest.raises(AccessDenied):
        admit(registry(), ANY, "hub", reserved=True)


def test_a_devices_key_speaks_for_it_alone() -> None:
    assert admit(registry(), HEATERS, "heater") == "heater"
    with pytest.raises(AccessDenied, match="this key is device 'heater'"):
        admit(registry(), HEATERS, "cooler")


def test_another_agents_device_is_refused() -> None:
    known = registry()
    known.devices[DeviceId("heater")] = AgentName("runner")
    for key in (ANY, HEATERS):
        with pytest.raises(AccessDenied, match="another agent"):
            admit(known, key, "heater")
    assert admit(known, OTHERS, "heater") == "heater"


def of(drawn: bytes) -> Callable[[int], bytes]:
    return lambda count: drawn[:count]


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_secrets_are_as_different_as_their_randomness(one: bytes, other: bytes) -> None:
    secrets = [make_secret(of(drawn))[1] for drawn in (one, other)]
    assert (secrets[0] == secrets[1]) == (one == other)


def test_a_secret_starts_with_its_public_id() -> None:
    key_id, secret = make_secret(lambda count: bytes(range(count)))
    assert secret.startswith(f"{key_id}.")
    assert len(secret) == len(key_id) + 1 + 43  # 256 bits in base64


# --- operators ------------------------------------------------------------------------------


def test_an_operators_key_stands_for_its_user() -> None:
    assert operator_of(registry(), "anns") == ANN


def test_an_operators_key_opens_no_agent() -> None:
    with pytest.raises(AccessDenied):
        agent_of(registry(), "anns")


def test_a_devices_key_is_no_operators_and_is_told_so() -> None:
    for secret in ("any", "heaters"):
        with pytest.raises(AccessDenied, match=r"a device's key.*key create --user USER"):
            operator_of(registry(), secret)


@pytest.mark.parametrize("secret", ["", "ann", "anns ", "ANNS", "\ud800", "a" * 10_000])
def test_an_unknown_key_is_no_operators(secret: str) -> None:
    with pytest.raises(AccessDenied, match=r"not accepted.*key create --user USER"):
        operator_of(registry(), secret)


def test_the_key_of_a_user_who_is_gone_is_no_operators() -> None:
    without = registry()
    del without.users["ann"]
    with pytest.raises(AccessDenied, match="not accepted"):
        operator_of(without, "anns")


# --- passwords ------------------------------------------------------------------------------


def test_a_password_is_kept_as_argon2id_and_matches_itself_only() -> None:
    password = "correct horse · 電池"
    hashed = hash_password(password)
    assert hashed.startswith(b"$argon2id$v=19$m=65536,t=3,p=4$")
    assert password.encode() not in hashed
    assert password_matches(hashed, password)
    for other in ("", password[:-1], password + " ", password.upper()):
        assert not password_matches(hashed, other)


def test_the_same_password_is_never_the_same_hash() -> None:
    assert hash_password("12345678") != hash_password("12345678")


@pytest.mark.parametrize("password", ["", "1234567", "äöüäöüä"])
def test_a_short_password_is_refused(password: str) -> None:
    with pytest.raises(OperatorFault, match="at least 8 characters") as refused:
        hash_password(password)
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize("hashed", [b"", b"password", b"$argon2id$v=19$", b"\xff\xfe"])
def test_what_is_no_hash_matches_nothing(hashed: bytes) -> None:
    assert not password_matches(hashed, "password")
