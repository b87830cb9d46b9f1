"""A key that takes the place of another: how long both are accepted, and who may ask for it."""

from __future__ import annotations

import pytest

from hub.errors import AccessDenied, OperatorFault
from hub.registry.access import agent_of
from hub.registry.fold import Registry
from hub.registry.rewarding import rewarding
from hub.words import Key
from tests.registry.test_acts import Office


def office_with_key(device: str | None = "heater") -> tuple[Office, str]:
    """An office, and a key of agent `walker` or one of its devices."""
    office = Office()
    office.create()
    made = office.do(office.acts.keys.create("walker", device, "test"))
    return office, str(made["api_key"])


def id_of(secret: str) -> str:
    """The public part."""
    return secret.partition(".")[0]


def key_of(office: Office, secret: str) -> Key:
    """As the registry has it."""
    return agent_of(office.registry, secret)[0]


def test_both_keys_are_accepted_for_the_overlap() -> None:
    office, old = office_with_key()
    answer = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))
    new = answer["api_key"]
    assert answer["replaces"] == id_of(old)
    assert key_of(office, new).device == key_of(office, old).device == "heater"
    (succession,) = office.registry.successions.values()
    assert (succession.old, succession.until) == (id_of(old), 60_000_001)


def test_the_list_says_which_key_takes_whose_place_and_until_when() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))["api_key"]
    keys = {key["id"]: key for key in office.acts.keys.listed()}
    before, after = keys[id_of(old)], keys[id_of(new)]
    assert (before["replaced_by"], before["replaces"]) == (id_of(new), None)
    assert before["until"] == "1970-01-01T00:01:00+00:00"
    assert (after["replaced_by"], after["replaces"], after["until"]) == (None, id_of(old), None)
    office.do(office.acts.keys.rotate_own(key_of(office, new)))
    assert {key["until"] for key in office.acts.keys.listed()} == {None}, "until the other is used"


@pytest.mark.parametrize(
    ("device", "whom", "page"),
    [("lamp", "lamp", "lamp"), (None, "any device of agent walker", "DEVICE")],
)
def test_a_key_for_rewards_comes_with_the_link_to_its_buttons_and_so_does_what_replaces_it(
    device: str | None, whom: str, page: str
) -> None:
    office = Office()
    office.create()
    keys = office.acts.keys
    keys.url = lambda: "http://hub:8000"
    made = office.do(keys.create("walker", device, "test", rewarding=rewarding()))
    other = office.do(keys.rotate(id_of(made["api_key"]), 0.0, "test"))
    for answer in (made, other):
        assert answer["rewards"] == whom
        assert answer["link"] == f"http://hub:8000/reward/{page}#{answer['api_key']}"
    assert "link" not in office.do(keys.create("walker", device, "test"))


def test_without_an_overlap_the_old_key_ends_at_once() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 0.0, "test"))["api_key"]
    with pytest.raises(AccessDenied):
        key_of(office, old)
    assert key_of(office, new).device == "heater"
    assert office.registry.successions == {} == office.registry.successors


def test_the_new_key_revoked_is_the_rotation_called_off() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))["api_key"]
    office.do(office.acts.keys.revoke(id_of(new), "test"))
    assert key_of(office, old).device == "heater"
    assert office.registry.successions == {} == office.registry.successors


def test_a_second_rotation_puts_another_key_in_the_place_of_the_unused_one() -> None:
    office, old = office_with_key()
    lost = office.do(office.acts.keys.rotate_own(key_of(office, old)))["api_key"]
    new = office.do(office.acts.keys.rotate_own(key_of(office, old)))["api_key"]
    with pytest.raises(AccessDenied):
        key_of(office, lost)
    assert key_of(office, new).id == office.registry.successors[key_of(office, old).id]


def test_an_operator_can_t_rotate_a_key_whose_predecessor_is_still_in_use() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))["api_key"]
    with pytest.raises(OperatorFault, match="has not been used yet"):
        office.acts.keys.rotate(id_of(new), None, "test")


def test_a_device_that_rotates_by_its_new_key_has_used_it() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate_own(key_of(office, old)))["api_key"]
    office.do(office.acts.keys.rotate_own(key_of(office, new)))
    with pytest.raises(AccessDenied):
        key_of(office, old)
    assert key_of(office, new).device == "heater"


def test_a_device_s_own_rotation_waits_for_the_new_key_however_long_that_takes() -> None:
    office, old = office_with_key()
    office.do(office.acts.keys.rotate_own(key_of(office, old)))
    (succession,) = office.registry.successions.values()
    assert succession.until is None


def test_no_device_undoes_what_an_operator_rotates() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))["api_key"]
    with pytest.raises(AccessDenied, match="an operator is changing"):
        office.acts.keys.rotate_own(key_of(office, old))
    assert key_of(office, new).device == "heater"
    (succession,) = office.registry.successions.values()
    assert succession.until is not None


def test_no_device_rotates_a_key_that_others_use_too() -> None:
    office, old = office_with_key(device=None)
    with pytest.raises(AccessDenied, match="not of one device"):
        office.acts.keys.rotate_own(key_of(office, old))


def test_a_key_revoked_meanwhile_is_not_rotated() -> None:
    office, old = office_with_key()
    key = key_of(office, old)
    office.do(office.acts.keys.revoke(key.id, "test"))
    with pytest.raises(AccessDenied, match="revoked meanwhile"):
        office.acts.keys.rotate_own(key)


@pytest.mark.parametrize("overlap_s", [-1.0, 1e12, float("nan")])
def test_an_overlap_that_can_t_be_meant_is_refused(overlap_s: float) -> None:
    office, old = office_with_key()
    with pytest.raises(OperatorFault, match="overlap"):
        office.acts.keys.rotate(id_of(old), overlap_s, "test")


def test_an_operator_s_own_key_is_rotated_too() -> None:
    office, _ = office_with_key()
    office.do(office.acts.users.add("ann", "owner", b"#", "test"))
    old = office.do(office.acts.keys.create_for_user("ann", "test"))["api_key"]
    answer = office.do(office.acts.keys.rotate(id_of(old), None, "test"))
    assert answer["user"] == "ann"
    office.do(office.acts.users.remove("ann", "test"))
    assert office.registry.successions == {}


def test_rotations_fold_to_the_same_from_the_log() -> None:
    office, old = office_with_key()
    new = office.do(office.acts.keys.rotate(id_of(old), 60.0, "test"))["api_key"]
    again = Registry()
    for event in office.log:
        again.apply(event)
    assert agent_of(again, new)[0] == key_of(office, new)
    assert again.successions == office.registry.successions
