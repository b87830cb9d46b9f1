"""Hubs that meet: who becomes whose guest, what a newcomer begins with, and what harms nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from hub.errors import Unheard
from hub.federation.payloads import PART_BYTES, Announcement, Gains, Offer, digest_of, encode
from hub.federation.shelf import Shelf, stripped
from hub.federation.vetting import take_in
from hub.learner.messages import LoggedPolicy, guest_path
from hub.learner.versions.parts import alone
from hub.learner.versions.policy import Card, as_file, read_policy
from tests.federation.meeting import Meeting
from tests.learning.harness import Hub, cartpole, file_of
from tests.learning.test_resume import ADVISED, devices, title

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.versions.policy import Tensors
    from hub.words import Agent

ADVICE: Final = ADVISED[0]
SHARED: Final = replace(cartpole("PPO", seed=3, n_steps="128"), sharing="shared")
TOPIC: Final = "rl/v1/agents/{agent}/policy/{hub}"


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    """A flock of four devices that have learnt a little."""
    return devices(ADVICE, tmp_path_factory.mktemp("learnt"), steps=400)


def know(site: Any, learnt: Hub, version: int = 7, best: float = 50.0) -> None:
    """Have the site be the one that learnt it."""
    site.made(file_of(learnt, learnt.versions[-1]), learnt.folder, version)
    for i in range(4):
        site.returned(f"device-{i}", best - i)
    site.change(chosen=True)


def meet(tmp_path: Path, learnt: Hub, agent: Agent = ADVICE) -> tuple[Meeting, Any, Any]:
    meeting = Meeting(tmp_path)
    a, b = meeting.hub("site-a", ADVICE), meeting.hub("site-b", agent)
    know(a, learnt)
    return meeting, a, b


def one_of(learnt: Hub) -> tuple[Card, Tensors]:
    policy = file_of(learnt, learnt.versions[-1])
    return stripped(*alone(policy.card, policy.tensors, "device-0"))


def test_a_newcomer_begins_with_the_best_and_then_has_guests(tmp_path: Path, learnt: Hub) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(10)
    (join,) = b.joined
    assert join.name == "site-a/device-0"
    begun = read_policy(b.folder / "policies" / ADVICE.name / f"{join.sha256}.safetensors")
    _, theirs = one_of(learnt)
    name = "mlp_extractor.policy_net.0.weight"
    assert np.array_equal(begun.tensors[name], theirs[name])
    assert [guest.name for guest in b.guests] == ["site-a/device-0", "site-a/device-1"]
    for guest in b.guests:
        assert guest.version == 7
        file = read_policy(guest_path(b.folder, ADVICE.name, guest.sha256))
        assert not any(n.startswith("resume/") for n in file.tensors)
        assert (file.card.devices, file.card.trust, file.card.counts) == ([], {}, {})
    assert a.joined == []
    assert a.guests == []
    assert b.refused == {}


def test_who_has_learnt_something_or_was_given_a_policy_is_no_newcomer(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting, _, b = meet(tmp_path, learnt)
    b.change(chosen=True)
    meeting.go(10)
    assert b.joined == []
    assert len(b.guests) == 2


def test_replicas_that_share_a_policy_take_it_to_begin_with_and_have_no_guests(
    tmp_path: Path, learnt: Hub
) -> None:
    agent = replace(ADVICE, sharing="shared")
    meeting, _, b = meet(tmp_path, learnt, agent)
    meeting.go(10)
    assert len(b.joined) == 1
    assert b.guests == []


def test_other_spaces_or_other_networks_are_never_fetched(tmp_path: Path, learnt: Hub) -> None:
    other = replace(ADVICE, parameters=ADVICE.parameters | {"net_arch": "8"})
    meeting, _, b = meet(tmp_path, learnt, other)
    meeting.go(20)
    assert (b.joined, b.guests, b.counted.fetched) == ([], [], 0)
    assert b.refused["unfit"] >= 1
    (note,) = b.notes
    assert "hub 'site-a' do not fit" in note
    assert "what differs is a parameter of the network (net_arch, " in note
    know(meeting.hubs[0], learnt, version=8)
    meeting.go(20)
    assert b.notes == [note], "the first of each hub"
    assert b.refused["unfit"] >= 2
    assert meeting.hubs[0].refused == {}, "b has nothing to give"


def test_hubs_that_come_and_go_under_many_names_fill_no_log(tmp_path: Path, learnt: Hub) -> None:
    meeting, _, b = meet(tmp_path, learnt)
    meeting.go(1)
    for i in range(5 * meeting.settings.hubs_max):
        topic = TOPIC.format(agent=ADVICE.name, hub=f"other-{i}")
        said = Announcement("theirs", i, "0" * 16, [])
        meeting.publish(topic, encode(said), retain=True)
        meeting.publish(topic, b"", retain=True)
        meeting.go(0.25)
    assert len(b.notes) == meeting.settings.hubs_max
    assert b.refused == {"unfit": 5 * meeting.settings.hubs_max}


def test_why_the_broker_is_gone_is_shown_and_told_once(tmp_path: Path, learnt: Hub) -> None:
    meeting, _, b = meet(tmp_path, learnt)
    meeting.go(2)
    for _ in range(3):
        b.lose()
        meeting.go(1)
        b.find()
    assert [note for note in b.notes if "the cable is out" in note] == b.notes
    assert len(b.notes) == 1
    assert b.counted.lost_because == "the cable is out"
    assert b.refused == {"lost": 3}


def test_what_the_broker_denies_is_told_once_and_said_again(tmp_path: Path, learnt: Hub) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(2)
    topic = TOPIC.format(agent=ADVICE.name, hub="site-a")
    for _ in range(3):
        meeting.said.clear()
        a.member.denied(topic, "Not authorized", is_heard=False)
        meeting.go(2)
        assert topic in [said for said, _ in meeting.said]
    (note,) = a.notes
    assert "speak as 'site-a': Not authorized; " in note
    assert "federation.name" in note
    assert a.refused == {"denied": 3}
    assert b.notes == []


def test_a_guest_is_replaced_by_its_newer_network_and_no_more_often_than_allowed(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(10)
    before = {guest.name: guest.sha256 for guest in b.guests}
    newer = devices(replace(ADVICE, seed=8), tmp_path / "newer", steps=300)
    know(a, newer, version=30)
    meeting.go(10)
    assert {guest.version for guest in b.guests} == {30}
    assert all(before.get(guest.name) != guest.sha256 for guest in b.guests)
    fetched = b.counted.fetched
    a.change(policy=LoggedPolicy(31, a.namesake.policy.sha256))
    meeting.go(20)
    assert b.counted.fetched == fetched, "the same network under another number"


def test_a_partition_changes_nothing_and_a_withdrawal_takes_guests_away(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(10)
    guests = b.guests
    b.lose()
    meeting.go(30)
    assert b.guests == guests
    assert not b.counted.connected
    meeting.retained.clear()  # the broker was killed, and had kept nothing
    a.lose()
    a.find()
    b.find()
    meeting.go(10)
    assert b.guests == guests
    assert meeting.retained
    a.member.take_part([])
    meeting.go(5)
    assert b.guests == []
    assert not meeting.retained.get(TOPIC.format(agent=ADVICE.name, hub="site-a"))


def test_a_hub_that_starts_again_keeps_its_guests_until_it_hears_otherwise(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(10)
    a.lose()
    meeting.hubs.remove(b)
    meeting.retained.clear()
    c = meeting.hub("site-c", ADVICE)
    c.change(guests=b.guests, chosen=True)
    meeting.go(30)
    assert c.guests == b.guests


def test_gains_are_published_for_all_to_see(tmp_path: Path, learnt: Hub) -> None:
    from tests.federation.test_watch import advised

    meeting, a, _ = meet(tmp_path, learnt)
    event = replace(advised("site-b/x", 30.0, 20.0), agent=ADVICE.name)
    a.watch.fold(event)
    meeting.go(5)
    topic = f"rl/v1/agents/{ADVICE.name}/advice/site-a"
    gains = msgspec.json.decode(meeting.retained[topic], type=Gains)
    assert (gains.episodes, gains.gain) == (1, 10.0)
    said = len(meeting.said)
    meeting.go(20)
    assert len(meeting.said) == said, "nothing new is not said again"


# --- harm ----------------------------------------------------------------------------------------


def hostile_networks(learnt: Hub) -> dict[str, bytes]:
    """Files that want to be more, less or other than a network of the agent."""
    card, tensors = one_of(learnt)
    first, last = "mlp_extractor.policy_net.0.weight", "action_net.weight"
    whole = as_file(card, tensors)
    return {
        "bytes": bytes(range(256)) * 40,
        "pickle": b"PK\3\4" + whole,
        "cut": whole[:-1],
        "nan": as_file(card, tensors | {first: np.full_like(tensors[first], np.nan)}),
        "huge": as_file(card, tensors | {last: np.full_like(tensors[last], 3e38)}),
        "shape": as_file(card, tensors | {first: np.zeros((64, 5), np.float32)}),
        "flat": as_file(card, tensors | {first: np.zeros(3, np.float32)}),
        "outputs": as_file(
            card,
            tensors
            | {"action_net.weight": np.zeros((9, 64), np.float32)}
            | {"action_net.bias": np.zeros(9, np.float32)},
        ),
        "double": as_file(card, tensors | {first: np.zeros((64, 4), np.float64)}),
        "missing": as_file(card, {n: t for n, t in tensors.items() if n != first}),
        "no layers": as_file(replace(card, action_layers=[]), tensors),
        "many layers": as_file(replace(card, action_layers=card.action_layers * 40), tensors),
        "kind": as_file(replace(card, kind="own"), tensors),
        "gaussian": as_file(replace(card, kind="gaussian"), tensors),
        "extractor": as_file(replace(card, extractor="os"), tensors),
        "memory": as_file(replace(card, recurrent=["lstm"]), tensors),
        "spaces": as_file(replace(card, observations=[[5], "-inf", "inf"]), tensors),
        "algorithm": as_file(replace(card, algorithm="A2C"), tensors),
        "slots": as_file(replace(card, device_slots=1 << 40), tensors),
        "scale": as_file(replace(card, clip_obs=10.0), tensors),
    }


def test_only_a_network_of_the_agent_is_taken_in(tmp_path: Path, learnt: Hub) -> None:
    for what, data in hostile_networks(learnt).items():
        with pytest.raises(Unheard, match=r".") as refused:
            pytest.fail(f"{what} was taken in: {take_in(data, ADVICE, tmp_path)}")
        assert refused.value.reason == "unfit", what
    assert not list(tmp_path.rglob("*.safetensors"))
    assert take_in(as_file(*one_of(learnt)), ADVICE, tmp_path)


@pytest.mark.parametrize("agent", ADVISED, ids=title)
def test_networks_of_every_advised_kind_are_taken_in(tmp_path: Path, agent: Agent) -> None:
    hub = Hub(agent, tmp_path / "a")
    made = hub.versions[-1]
    shelf = Shelf(tmp_path / "a", 1 << 24)
    policy = LoggedPolicy(made.version, made.policy.sha256)
    (offer,) = shelf.stock(agent, policy, lambda _: 1.0)
    parts = range(-(-offer.bytes // PART_BYTES))
    data = b"".join(shelf.part(agent.name, offer.sha256, i) or b"" for i in parts)
    assert hashlib.sha256(data).hexdigest() == offer.sha256
    assert shelf.part(agent.name, offer.sha256, len(parts)) is None
    sha256 = take_in(data, agent, tmp_path / "b")
    assert take_in(data, agent, tmp_path / "b") == sha256


def test_a_hostile_hub_costs_a_count_and_the_honest_one_is_still_heard(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting = Meeting(tmp_path)
    b = meeting.hub("site-b", ADVICE)
    files = hostile_networks(learnt)
    served = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
    prefix = f"rl/v1/agents/{ADVICE.name}"

    def lie(topic: str, payload: bytes) -> list[tuple[str, bytes]]:
        """Whoever asks the liar gets what it announced."""
        if topic != f"{prefix}/want/liar":
            return [(topic, payload)]
        sha256 = msgspec.json.decode(payload)["sha256"]
        data = served[sha256]
        pieces = range(0, len(data), PART_BYTES)
        return [
            (f"{prefix}/part/{sha256}/{i // PART_BYTES}", data[i : i + PART_BYTES]) for i in pieces
        ]

    meeting.tamper = lie
    meeting.go(3)
    for i, (sha256, data) in enumerate(served.items()):
        offer = Offer("best", i, sha256, len(data), 1e9)
        said = Announcement("liar's", i, digest_of(ADVICE), [offer])
        meeting.publish(f"{prefix}/policy/liar", encode(said), retain=True)
        for junk in (b"\0" * 5000, b"{}", b"[" * 3000, data[:4000]):
            meeting.publish(f"{prefix}/policy/liar", junk)
            meeting.publish(f"{prefix}/want/site-b", junk)
            meeting.publish(f"{prefix}/part/{sha256}/x", junk)
        meeting.go(6)
    assert (b.joined, b.guests) == ([], [])
    assert b.refused["unfit"] == len(served)
    assert b.refused["payload"] > 0
    assert b.refused["size"] > 0
    a = meeting.hub("site-a", ADVICE)
    know(a, learnt)
    meeting.go(15)
    assert [join.name for join in b.joined] == ["site-a/device-0"]
    assert {guest.hub for guest in b.guests} == {"site-a"}


def test_a_network_that_does_not_come_or_is_not_what_was_promised_is_given_up(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting, _, b = meet(tmp_path, learnt)
    meeting.tamper = lambda topic, payload: [] if "/part/" in topic else [(topic, payload)]
    meeting.go(30)
    assert b.refused["late"] >= 1
    meeting.tamper = lambda topic, payload: [
        (topic, bytes(len(payload)) if "/part/" in topic else payload)
    ]
    meeting.go(200)
    assert b.refused["hash"] >= 1
    assert (b.joined, b.guests) == ([], [])
    meeting.tamper = lambda topic, payload: [(topic, payload)]
    meeting.go(150)
    assert len(b.joined) == 1
    assert len(b.guests) == 2


def test_what_is_given_out_has_a_rate_whoever_asks(tmp_path: Path, learnt: Hub) -> None:
    meeting, a, b = meet(tmp_path, learnt)
    meeting.go(10)
    topic = f"rl/v1/agents/{ADVICE.name}/want/site-a"
    offer = msgspec.json.decode(
        meeting.retained[TOPIC.format(agent=ADVICE.name, hub="site-a")], type=Announcement
    ).offers[0]
    given = a.counted.parts
    for _ in range(5000):
        meeting.publish(topic, encode({"sha256": offer.sha256, "part": 0}))
    meeting.publish(topic, encode({"sha256": "0" * 64, "part": 0}))
    meeting.go(1)
    assert a.counted.parts - given <= 2 * meeting.settings.parts_per_s
    assert a.refused["rate"] > 1000
    assert b.refused == {}, "it hears parts only while it fetches"


def test_two_hubs_of_one_name_are_noticed(tmp_path: Path, learnt: Hub) -> None:
    meeting, a, _ = meet(tmp_path, learnt)
    meeting.go(3)
    twin = Announcement("another log", 1, digest_of(ADVICE), [])
    meeting.publish(TOPIC.format(agent=ADVICE.name, hub="site-a"), encode(twin))
    meeting.go(1)
    assert a.refused["name"] == 1


def test_an_agent_that_keeps_to_itself_is_not_spoken_of(tmp_path: Path, learnt: Hub) -> None:
    meeting = Meeting(tmp_path)
    a = meeting.hub("site-a", ADVICE)
    a.member.take_part([])
    meeting.go(2)
    meeting.publish(f"rl/v1/agents/{ADVICE.name}/want/site-a", b"{}")
    assert all(not payload for _, payload in meeting.said[:-1])
    assert a.counted.parts == 0
