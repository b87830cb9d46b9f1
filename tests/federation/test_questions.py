"""Advisers elsewhere that are asked at each step: who is, what of it counts, and until when."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from hub.federation.payloads import Adviser, AnswerSent, AskSent, encode
from hub.federation.units import meant, said
from hub.settings.federation import FederationSettings
from tests.federation.meeting import Meeting
from tests.federation.test_member import ADVICE, know, learnt
from tests.learning.harness import cartpole, pendulum

if TYPE_CHECKING:
    from pathlib import Path

    from tests.federation.meeting import Site
    from tests.learning.harness import Hub

__all__ = ["learnt"]  # the fixture

ASKING: Final = replace(ADVICE, hubs="questions")
TREE: Final = f"rl/v1/agents/{ADVICE.name}"
EXPERT: Final = "expert/?"
HERE: Final = encode(Adviser(ADVICE.observations, ADVICE.actions))
SEEN: Final = (0.5, -0.25, 1.0, 2.0)


def meet(tmp_path: Path, *, agent: Any = ASKING, **settings: Any) -> tuple[Meeting, Site]:
    """A hub that asks, and an expert at the broker."""
    meeting = Meeting(tmp_path, FederationSettings(announce_s=1.0, advice_ms=50.0, **settings))
    site = meeting.hub("site-a", agent)
    meeting.publish(f"{TREE}/adviser/expert", HERE, retain=True)
    meeting.go(3)
    return meeting, site


def asked(meeting: Meeting, tree: str = TREE) -> AskSent:
    """The newest question."""
    found = [payload for topic, payload in meeting.said if topic == f"{tree}/ask/expert"]
    return msgspec.json.decode(found[-1], type=AskSent)


def say(meeting: Meeting, payload: bytes, *, after_s: float = 0.0) -> None:
    meeting.clock.now_s += after_s
    meeting.publish(f"{TREE}/answer/site-a", payload)
    meeting.hubs[0].turn()


def test_an_adviser_is_a_guest_while_it_is_there_and_is_asked_what_is_seen(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path)
    assert [(guest.name, guest.sha256) for guest in site.guests] == [(EXPERT, "")]
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    question = asked(meeting)
    assert (question.hub, question.o, question.ms) == ("site-a", list(SEEN), 50.0)
    say(meeting, encode(AnswerSent(question.id, [-0.5, 1.5])), after_s=0.04)
    (counsel,) = site.counsels
    assert (counsel.id, struct.unpack("<2f", counsel.values or b"")) == (7, (-0.5, 1.5))
    meeting.publish(f"{TREE}/adviser/expert", b"", retain=True)
    meeting.go(1)
    assert site.guests == []
    assert (site.counted.asked, site.counted.heard) == (1, 1)


def test_an_answer_that_is_late_is_none(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path)
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    say(meeting, encode(AnswerSent(asked(meeting).id, [-0.5, 1.5])), after_s=0.06)
    assert [(counsel.id, counsel.values) for counsel in site.counsels] == [(7, None)]
    assert site.refused == {"answer": 1}


@pytest.mark.parametrize(
    ("advice", "reason"),
    [
        (b"[1.0]", "unfit"),
        (b"[1.0,2.0,3.0]", "unfit"),
        (b"[]", "unfit"),
        (b"[1.0,1e999]", "payload"),
        (b"[NaN,1.0]", "payload"),
        (b'["1",2]', "payload"),
        (b"null", "payload"),
        (b"[" + b"0," * 600 + b"0]", "payload"),
        (b"[" + b" " * 20_000 + b"1,2]", "size"),
    ],
)
def test_an_answer_that_is_no_advice_costs_a_count(
    tmp_path: Path, advice: bytes, reason: str
) -> None:
    meeting, site = meet(tmp_path)
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    say(meeting, b'{"id":"%s","advice":%s}' % (asked(meeting).id.encode(), advice))
    meeting.go(1)
    assert [(counsel.id, counsel.values) for counsel in site.counsels] == [(7, None)]
    assert site.refused == {reason: 1}


def test_only_who_was_asked_can_answer_and_once(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path)
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    say(meeting, encode(AnswerSent("f" * 16, [9.0, 0.0])))
    assert site.counsels == []
    for number in (1.0, 9.0):
        say(meeting, encode(AnswerSent(asked(meeting).id, [number, 0.0])))
    assert [struct.unpack("<2f", one.values or b"") for one in site.counsels] == [(1.0, 0.0)]
    assert site.refused == {"answer": 2}


def test_huge_advice_is_bounded(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path)
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    say(meeting, b'{"id":"%s","advice":[-1e300,1e300]}' % asked(meeting).id.encode())
    assert struct.unpack("<2f", site.counsels[0].values or b"") == (-1e4, 1e4)


@pytest.mark.parametrize(
    "agent",
    [
        replace(ASKING, hubs="policies"),
        replace(ASKING, sharing="none"),
        replace(ASKING, observations=[[4], -1, 1]),
        replace(ASKING, actions=3),
    ],
)
def test_nobody_is_asked_whom_the_agent_does_not_want_or_who_does_not_fit(
    tmp_path: Path, agent: Any
) -> None:
    meeting, site = meet(tmp_path, agent=agent)
    assert site.guests == []
    site.ask(7, EXPERT, *SEEN)
    site.turn()
    meeting.go(1)


def test_places_are_few_and_questions_bounded(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path, advisers_max=2, hubs_max=3, questions_per_s=2.0)
    for i in range(5):
        meeting.publish(f"{TREE}/adviser/other-{i}", HERE, retain=True)
    meeting.publish(f"{TREE}/adviser/Not a name", HERE)
    meeting.publish(f"{TREE}/adviser/other-0", b"junk")
    meeting.go(1)
    assert [guest.name for guest in site.guests] == [EXPERT, "other-0/?"]
    assert site.refused == {"hubs": 3, "name": 1, "payload": 1}
    for number in range(3):
        site.ask(number, EXPERT, *SEEN)
    site.ask(3, "nobody/?", *SEEN)
    site.ask(4, EXPERT, *(0.0,) * 600)
    site.turn()
    assert [counsel.id for counsel in site.counsels] == [2, 3, 4], "at once"
    assert site.counted.asked == 2


def test_without_a_broker_nobody_waits(tmp_path: Path) -> None:
    meeting, site = meet(tmp_path)
    site.ask(7, EXPERT, *SEEN)
    site.lose()
    site.ask(8, EXPERT, *SEEN)
    site.turn()
    assert [(one.id, one.values) for one in site.counsels] == [(7, None), (8, None)]
    assert [guest.name for guest in site.guests] == [EXPERT], "a partition changes nothing"
    assert meeting.hubs == [site]


def test_a_hub_whose_networks_come_is_not_asked_and_one_of_another_algorithm_is(
    tmp_path: Path, learnt: Hub
) -> None:
    meeting = Meeting(tmp_path)
    a = meeting.hub("site-a", ASKING)
    same = meeting.hub("site-b", ASKING)
    know(same, learnt)
    a.change(chosen=True)
    meeting.go(5)
    assert {guest.device for guest in a.guests} == {"device-0", "device-1"}
    other = replace(cartpole("PPO", seed=3, net_arch="8", n_steps="128"), name=ADVICE.name)
    c = meeting.hub("site-c", replace(other, hubs="questions"))
    know(c, learnt)
    meeting.go(5)
    assert "site-c/?" in {guest.name for guest in a.guests}
    a.ask(1, "site-c/?", *SEEN)
    for site in (a, c, a):
        site.turn()
    (counsel,) = a.counsels
    first, second = struct.unpack("<2f", counsel.values or b"")
    assert first != second
    c.change(agent=replace(other, hubs="policies"))
    meeting.go(2)
    assert "site-c/?" not in {guest.name for guest in a.guests}


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"{}", "payload"),
        (b'{"id":"0123456789abcdef","hub":"x","o":[1,2,3],"ms":50}', "unfit"),
        (b'{"id":"0123456789abcdef","hub":"x","o":[1,2,3,1e300],"ms":50}', "unfit"),
        (b'{"id":"0123456789abcdef","hub":"+/#","o":[1,2,3,4],"ms":50}', "payload"),
        (b'{"id":"0123456789abcdef","hub":"x","o":[1,2,3,4],"ms":-1}', "payload"),
        (b'{"id":"0123456789abcdef","hub":"x\\n","o":[1,2,3,4],"ms":50}', "payload"),
        (b'{"id":"0123456789abcdef\\n","hub":"x","o":[1,2,3,4],"ms":50}', "payload"),
        (b"[" * 5000, "payload"),
    ],
)
def test_a_question_that_is_none_costs_a_count(
    tmp_path: Path, learnt: Hub, payload: bytes, reason: str
) -> None:
    meeting = Meeting(tmp_path)
    a = meeting.hub("site-a", ASKING)
    know(a, learnt)
    meeting.go(1)
    meeting.publish(f"{TREE}/ask/site-a", payload)
    meeting.go(1)
    assert (a.refused, a.counted.answered) == ({reason: 1}, 0)


def test_a_hub_that_gives_policies_alone_answers_nothing(tmp_path: Path, learnt: Hub) -> None:
    meeting = Meeting(tmp_path)
    a = meeting.hub("site-a", replace(ASKING, hubs="policies"))
    know(a, learnt)
    meeting.go(1)
    meeting.publish(f"{TREE}/ask/site-a", encode(AskSent("0" * 16, "site-b", list(SEEN), 50.0)))
    meeting.go(1)
    assert a.refused == {"ask": 1}
    assert not [topic for topic, _ in meeting.said if "/adviser/" in topic or "/answer/" in topic]


def test_advice_about_numbers_is_in_units_of_the_action_whatever_a_policy_computes_with() -> None:
    agent = replace(pendulum("SAC", seed=1), actions=[[2], [-2.0, 0.0], [2.0, 10.0]])
    ours = np.array([0.5, -1.0, -3.0, -4.0], dtype=np.float32)
    told = said(ours, agent)
    noise = np.random.default_rng(1).standard_normal((200_000, 2))
    drawn = np.tanh(ours[:2] + np.exp(ours[2:]) * noise) * (2.0, 5.0) + (0.0, 5.0)
    assert told[:2] == pytest.approx(drawn.mean(axis=0), abs=1e-2)
    assert np.exp(told[2:]) == pytest.approx(drawn.std(axis=0), rel=1e-2)
    assert meant(told, agent) == pytest.approx(ours, abs=1e-4)
    beyond = np.array([1e4, -1e4, -1e4, 1e4], dtype=np.float32)
    assert np.isfinite([said(beyond, agent), meant(beyond, agent)]).all()
    plain = replace(agent, algorithm="PPO")
    assert (said(ours, plain) == ours).all()
    assert (meant(ours, plain) == ours).all()


def test_a_policy_behind_a_tanh_is_told_what_an_adviser_means(tmp_path: Path) -> None:
    agent = replace(pendulum("SAC", seed=1), sharing="advice", hubs="questions")
    meeting = Meeting(tmp_path, FederationSettings(announce_s=1.0, advice_ms=50.0))
    site = meeting.hub("site-a", agent)
    tree = f"rl/v1/agents/{agent.name}"
    here = encode(Adviser(agent.observations, agent.actions))
    meeting.publish(f"{tree}/adviser/expert", here, retain=True)
    meeting.go(3)
    site.ask(7, EXPERT, 0.0, 0.0, 0.0)
    site.turn()
    question = asked(meeting, tree)
    answer = encode(AnswerSent(question.id, [1.0, 0.0]))
    meeting.publish(f"{tree}/answer/site-a", answer)
    site.turn()
    mean, log_std = struct.unpack("<2f", site.counsels[-1].values or b"")
    assert mean == pytest.approx(np.arctanh(0.5)), "half of the way to the bound of 2"
    assert log_std == pytest.approx(-np.log(2.0 * 0.75))
