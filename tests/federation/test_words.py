"""What other hubs say is bounded: anything else is refused by its name, and costs a count."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.address import Address
from hub.errors import OperatorFault, Unheard
from hub.federation.fetch import RETRY_S, Fetch
from hub.federation.heard import PER_HUB_MAX, Found, Heard
from hub.federation.loss import AGAIN_S, CHARACTERS_MAX, OTHER_S, Losses
from hub.federation.payloads import (
    ANNOUNCEMENT_BYTES_MAX,
    OFFERS_MAX,
    PART_BYTES,
    PARTS_AT_ONCE,
    Announcement,
    Offer,
    differences,
    digest_of,
    encode,
    fit_of,
    read_announcement,
    read_want,
)
from hub.federation.place import check_name, login_of, place_of
from hub.registry.access import make_secret
from hub.settings.federation import FederationSettings
from hub.topics import agent_levels, agent_topic
from hub.words import Agent, AgentName

SHA: Final = "ab" * 32
KEY: Final = make_secret(lambda count: bytes(range(count)))[1]
DIGEST: Final = "0123456789abcdef"
AGENT: Final = Agent(AgentName("cart"), "PPO", [[4], "-inf", "inf"], 2, seed=1)


def offer(device: str = "d", mean: float | None = 1.0, **changed: Any) -> Offer:
    return msgspec.structs.replace(Offer(device, 3, SHA, 100, mean), **changed)


def announced(*offers: Offer, version: int = 3, log: str = "log") -> Announcement:
    return Announcement(log, version, DIGEST, list(offers))


def test_an_announcement_is_read_as_it_was_written() -> None:
    said = announced(offer(), offer("*", None))
    assert read_announcement(encode(said), policy_bytes_max=1000) == said


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"version": -1}, "payload"),
        ({"version": 1 << 60}, "payload"),
        ({"version": True}, "payload"),
        ({"log": "x" * 41}, "payload"),
        ({"log": "x" * 5000}, "size"),
        ({"digest": "../../etc/passwd"}, "payload"),
        ({"offers": None}, "payload"),
        ({"offers": [[]]}, "payload"),
        ({"offers": [offer(str(i)) for i in range(OFFERS_MAX + 1)]}, "payload"),
        ({"offers": [offer(), offer()]}, "payload"),
        ({"offers": [offer(sha256="A" * 64)]}, "payload"),
        ({"offers": [offer(sha256="../" + "a" * 61)]}, "payload"),
        ({"offers": [offer(bytes=0)]}, "payload"),
        ({"offers": [offer(bytes=1001)]}, "size"),
        ({"offers": [offer(bytes=1 << 70)]}, "size"),
        ({"offers": [offer(mean=1e300)]}, "payload"),
        ({"offers": [offer("a/b")]}, "payload"),
        ({"offers": [offer("é")]}, "payload"),
    ],
)
def test_a_wrong_announcement_is_refused_by_its_name(changed: dict[str, Any], reason: str) -> None:
    document = msgspec.to_builtins(announced(offer())) | msgspec.to_builtins(changed)
    with pytest.raises(Unheard) as refused:
        read_announcement(msgspec.json.encode(document), policy_bytes_max=1000)
    assert refused.value.reason == reason


@given(st.binary(max_size=2 * ANNOUNCEMENT_BYTES_MAX))
def test_random_bytes_are_no_announcement_and_no_request(data: bytes) -> None:
    for read in (lambda: read_announcement(data, policy_bytes_max=1000), lambda: read_want(data)):
        with pytest.raises(Unheard):
            read()


def test_deep_nesting_and_numbers_that_are_none_are_refused() -> None:
    for data in (b"[" * 4000, b'{"log":NaN}', b"\xff\xfe", b'{"sha256":1e999,"part":0}'):
        for read in (lambda d: read_announcement(d, policy_bytes_max=1), read_want):
            with pytest.raises(Unheard):
                read(data)


def test_networks_are_of_use_to_agents_of_the_same_shape() -> None:
    other_rate = msgspec.structs.replace(AGENT, parameters={"learning_rate": "1e-5"}, seed=9)
    assert digest_of(AGENT) == digest_of(other_rate) != ""
    for changed in (
        {"algorithm": "A2C"},
        {"actions": 3},
        {"observations": [[4], -1, 1]},
        {"parameters": {"net_arch": "8"}},
        {"parameters": {"norm_obs": "true"}},
    ):
        other = msgspec.structs.replace(AGENT, **changed)
        assert digest_of(other) != digest_of(AGENT), changed


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"algorithm": "A2C"}, "is the algorithm ('A2C' there, 'PPO' here)"),
        ({"actions": 3, "observations": [[4], -1, 1]}, "is the observations and the actions"),
        ({"parameters": {"net_arch": "8"}}, "is a parameter of the network (net_arch, "),
    ],
)
def test_what_keeps_two_agents_apart_is_said_in_words(changed: Any, said: str) -> None:
    theirs = fit_of(msgspec.structs.replace(AGENT, **changed))
    assert said in differences(theirs, fit_of(AGENT))
    assert "does not say" in differences(None, fit_of(AGENT))
    assert "not installed" in differences(theirs, None)


# --- why the broker is gone --------------------------------------------------------------------


def test_a_loss_is_told_at_once_and_not_again_while_it_goes_on() -> None:
    losses = Losses()
    assert losses.tell("no such key", 0.0, was_in=False)
    assert not any(losses.tell("no such key", 30.0 * i, was_in=False) for i in range(100))
    assert losses.tell("can't be reached", 3000.0, was_in=False)
    assert losses.newest == "can't be reached"


def test_a_loss_after_each_of_many_connections_is_told_once_in_a_while() -> None:
    losses = Losses()
    told = [losses.tell("may not publish", 30.0 * i, was_in=True) for i in range(100)]
    assert sum(told) == 3000 / AGAIN_S
    turns = [losses.tell(f"reason {i}", 4000.0 + i, was_in=True) for i in range(100)]
    assert sum(turns) == 100 / OTHER_S


def test_what_a_broker_says_is_one_bounded_line() -> None:
    losses = Losses()
    losses.tell("a\nb\x1b[2J" + "x" * 5000, 0.0, was_in=True)
    assert losses.newest.isprintable()
    assert len(losses.newest) == CHARACTERS_MAX


# --- who is heard ------------------------------------------------------------------------------


def test_an_older_announcement_is_a_replay_within_its_log() -> None:
    heard = Heard("us", 4)
    heard.take("them", announced(offer(version=9), version=9))
    with pytest.raises(Unheard, match="old"):
        heard.take("them", announced(offer(version=8), version=8))
    heard.take("them", announced(offer(version=0), version=0, log="a new one"))
    (found,) = heard.offers(DIGEST)
    assert found.offer.version == 0


def test_a_flood_of_names_makes_no_more_hubs_than_there_may_be() -> None:
    heard = Heard("us", 4)
    for i in range(4):
        heard.take(f"hub-{i}", announced(offer()))
    for name in ("hub-4", "../x", "", "é", "x" * 41):
        with pytest.raises(Unheard):
            heard.take(name, announced(offer()))
    assert len(heard) == 4
    for i in range(100):
        heard.take("hub-0", None)
        heard.take(f"new-{i}", announced(offer()))
        heard.take(f"new-{i}", None)
        heard.take("hub-0", announced(offer()))
    assert len(heard) == 4


def test_guests_keep_their_places_and_the_best_claims_get_what_is_free() -> None:
    heard = Heard("us", 8)
    heard.take("us", announced(offer("me", 99.0)))
    heard.take("a", announced(offer("x", 5.0), offer("y", 4.0), offer("z", 3.0)))
    heard.take("b", announced(offer("x", 1.0), offer("y", None)))
    heard.take("c", Announcement("log", 1, "f" * 16, [offer("other shape", 50.0)]))

    def names(guests: tuple[str, ...], count: int) -> list[str]:
        return [found.name for found in heard.wanted(DIGEST, guests, count)]

    assert names((), 4) == ["a/x", "a/y", "b/x"]
    assert PER_HUB_MAX == 2
    assert names(("b/x",), 2) == ["b/x", "a/x"]
    assert names(("b/y",), 2) == ["b/y", "a/x"], "a guest need not prove itself again"
    assert names((), 0) == []


def test_what_a_hub_withdrew_is_known_and_who_was_never_heard_is_not() -> None:
    heard = Heard("us", 2)
    heard.take("a", announced(offer()))
    heard.take("a", None)
    heard.take("b", None)
    assert heard.knows("a")
    assert not heard.knows("b")
    assert heard.offers(DIGEST) == []


# --- fetching ----------------------------------------------------------------------------------


def fetch_of(data: bytes) -> Fetch:
    import hashlib

    found = Found("a", offer(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data)))
    return Fetch(found, began_s=0.0, limit_s=10.0)


@given(st.data(), st.integers(1, 20 * PART_BYTES))
def test_parts_in_any_order_and_twice_make_the_file(data: st.DataObject, size: int) -> None:
    whole = bytes(i % 251 for i in range(size))
    parts = [whole[i : i + PART_BYTES] for i in range(0, size, PART_BYTES)]
    order = data.draw(st.permutations([*range(len(parts)), 0]))
    fetch, made = fetch_of(whole), None
    for number in order:
        if made is None:
            made = fetch.take(number, parts[number])
    assert made == whole


def test_parts_are_asked_for_until_they_come_or_it_is_late() -> None:
    whole = bytes(PART_BYTES * (PARTS_AT_ONCE + 2))
    fetch = fetch_of(whole)
    assert fetch.asks(0.0) == 0
    assert fetch.asks(0.5) is None
    assert fetch.asks(RETRY_S) == 0, "nothing came"
    for number in range(PARTS_AT_ONCE):
        assert fetch.asks(RETRY_S) is None
        fetch.take(number, whole[:PART_BYTES])
    assert fetch.asks(RETRY_S) == PARTS_AT_ONCE, "all came: go on at once"
    assert not fetch.is_late(9.0)
    assert fetch.is_late(10.0)


def test_parts_of_wrong_size_or_place_are_left_and_a_wrong_whole_ends_it() -> None:
    fetch = fetch_of(bytes(PART_BYTES + 1))
    for number, payload in ((0, b"x"), (1, b"xx"), (2, b"x"), (-1, b"x"), (1, b"")):
        with pytest.raises(Unheard, match="part"):
            fetch.take(number, payload)
    fetch.take(1, b"x")
    with pytest.raises(Unheard, match="is not"):
        fetch.take(0, bytes(PART_BYTES))


# --- where hubs meet ---------------------------------------------------------------------------


def test_a_broker_is_named_by_scheme_host_and_port() -> None:
    told = FederationSettings(broker="mqtts://b:99")
    assert place_of(told) == Address("b", 99, tls=True)
    with pytest.raises(OperatorFault, match=r"federation\.broker must be mqtt://"):
        place_of(FederationSettings(broker="b:1883"))


def test_a_password_stands_in_a_file_and_in_no_message() -> None:
    with pytest.raises(OperatorFault, match=r"federation\.credentials") as refused:
        place_of(FederationSettings(broker="mqtt://u:secret@b"))
    assert "secret" not in str(refused.value)


def test_the_login_stands_in_a_file(tmp_path: Any) -> None:
    assert login_of(FederationSettings()) is None
    file = tmp_path / "login"
    settings = FederationSettings(credentials=str(file))
    for text in ("alone", "a:b\nc:d"):
        file.write_text(text)
        with pytest.raises(OperatorFault, match="user:password"):
            login_of(settings)
    file.write_text("site-a:se:cret\n")
    assert login_of(settings) == ("site-a", "se:cret")
    file.write_bytes(b"site-a:\xff")
    with pytest.raises(OperatorFault, match="can't be read"):
        login_of(settings)


def test_a_login_that_is_not_there_says_how_the_key_is_made(tmp_path: Any) -> None:
    settings = FederationSettings(name="site-b", credentials=str(tmp_path / "login"))
    with pytest.raises(OperatorFault, match=r"make the key first.*--hub site-b > FILE"):
        login_of(settings)


def test_what_key_create_printed_is_a_login_as_it_is(tmp_path: Any) -> None:
    file = tmp_path / "login"
    settings = FederationSettings(name="site-b", credentials=str(file))
    made = {"user": "grace", "hub": "site-b", "api_key": KEY}
    file.write_bytes(encode(made) + b"\n")
    assert login_of(settings) == ("site-b", KEY)
    for other in ({"user": "grace", "api_key": KEY}, made | {"hub": None}):
        file.write_bytes(encode(other))
        with pytest.raises(OperatorFault, match=r"key of no hub.*--hub NAME") as refused:
            login_of(settings)
        assert KEY not in str(refused.value)


@pytest.mark.parametrize("name", ["site-a", ""])
def test_a_name_that_is_not_the_key_s_is_refused_at_start(tmp_path: Any, name: str) -> None:
    file = tmp_path / "login"
    settings = FederationSettings(name=name, credentials=str(file))
    file.write_text(f"site-b:{KEY}")
    with pytest.raises(OperatorFault, match=r"federation\.name is .* for hub 'site-b'") as refused:
        check_name(settings, "hub-1")
    assert KEY not in str(refused.value)
    check_name(msgspec.structs.replace(settings, name="site-b"), "hub-1")
    check_name(msgspec.structs.replace(settings, name=""), "site-b")
    file.write_text("user-of-another-broker:password")
    check_name(settings, "hub-1")


def test_topics_of_agents_are_found_again() -> None:
    topic = agent_topic("rl/v1", "cart", "part", SHA, "7")
    assert topic == f"rl/v1/agents/cart/part/{SHA}/7"
    assert agent_levels("rl/v1", topic) == ("cart", ["part", SHA, "7"])
    for other in ("rl/v1/agents", "rl/v1/agents/cart", "rl/v1/cart/obs", "x"):
        assert agent_levels("rl/v1", other) is None
