"""What an actor remembers of each device: torch's states, begun anew exactly where it says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch

from hub.learner.acting.choose import Chooser
from hub.learner.acting.memory import DEVICES_MAX, each_device_once
from hub.learner.columns import Question, Questions
from hub.learner.messages import drawn_of
from tests.learner.choices import chosen, numbers_of
from tests.learner.test_choose import agent_of, opened
from tests.learner.test_transitions import floats

if TYPE_CHECKING:
    from hub.learner.versions.policy import PolicyFile
    from hub.step import Choice

STEPS: Final = 12


@pytest.fixture(scope="module")
def policy() -> tuple[Any, PolicyFile]:
    """SB3's own, and the file."""
    learner, file = opened(agent_of("RecurrentPPO", "box", "box", lstm_hidden_size="16"))
    return learner.model.policy, file


def walk(device: str = "d", *, boot: int = 0) -> list[Question]:
    chance = np.random.default_rng(len(device))
    return [Question(i, device, boot, i, floats(*chance.normal(size=4))) for i in range(STEPS)]


def one_by_one(chooser: Chooser, questions: list[Question]) -> list[Choice]:
    return [choice for one in questions for choice in chosen(chooser, [one], greedy=True)]


def remembered(choice: Choice) -> int | None:
    return drawn_of(choice.payload).memory


def test_a_walk_is_answered_as_torchs_policy_answers_it(policy: tuple[Any, PolicyFile]) -> None:
    theirs, file = policy
    questions = walk()
    choices = one_by_one(Chooser(file, 1), questions)
    states: Any = None
    for i, (question, choice) in enumerate(zip(questions, choices, strict=True)):
        row = np.frombuffer(question.values, "<f4").reshape(1, -1)
        start = np.array([i == 0])
        wanted, states = theirs.predict(row, states, start, deterministic=True)
        assert numbers_of(choice) == pytest.approx(wanted[0], abs=1e-5)
        assert remembered(choice) == i


def test_v_is_that_of_its_own_lstm(policy: tuple[Any, PolicyFile]) -> None:
    theirs, file = policy
    questions = walk()
    choices = one_by_one(Chooser(file, 1), questions)
    state = (torch.zeros(1, 1, 16), torch.zeros(1, 1, 16))
    for question, choice in zip(questions, choices, strict=True):
        row = torch.from_numpy(np.frombuffer(question.values, "<f4").reshape(1, -1).copy())
        with torch.no_grad():
            wanted = theirs.predict_values(row, state, torch.zeros(1))
            _, state = theirs.lstm_critic(row[None], state)
        assert choice.value == pytest.approx(wanted.item(), abs=1e-5)


def test_devices_asked_together_do_not_mix(policy: tuple[Any, PolicyFile]) -> None:
    _, file = policy
    first, second = walk("d"), walk("dd")
    alone = one_by_one(Chooser(file, 1), first) + one_by_one(Chooser(file, 1), second)
    chooser = Chooser(file, 1)
    together = [
        chosen(chooser, list(pair), greedy=True) for pair in zip(first, second, strict=True)
    ]
    for wanted, found in zip(
        alone, [*(p[0] for p in together), *(p[1] for p in together)], strict=True
    ):
        assert numbers_of(found) == pytest.approx(numbers_of(wanted), abs=1e-6)
        assert remembered(found) == remembered(wanted)


def test_a_device_that_did_not_wait_is_answered_in_its_order(
    policy: tuple[Any, PolicyFile],
) -> None:
    _, file = policy
    questions = walk()
    wanted = one_by_one(Chooser(file, 1), questions)
    assert chosen(Chooser(file, 1), questions, greedy=True) == wanted
    others = [questions[0], walk("dd")[0], questions[1], walk("dd")[1], questions[2]]
    assert [len(run) for run in each_device_once(Questions.of(others))] == [2, 2, 1]


@pytest.mark.parametrize("change", [{"first": True}, {"boot": 1}, {"step": STEPS + 1}])
def test_where_a_step_does_not_follow_it_begins_anew(
    policy: tuple[Any, PolicyFile], change: dict[str, Any]
) -> None:
    _, file = policy
    chooser = Chooser(file, 1)
    one_by_one(chooser, walk())
    following = walk()[3]._replace(step=STEPS)
    (going_on,) = chosen(Chooser(file, 1, chooser), [following], greedy=True)
    assert remembered(going_on) == STEPS
    chooser = Chooser(file, 1)
    one_by_one(chooser, walk())
    (anew,) = chosen(chooser, [following._replace(**change)], greedy=True)
    (alone,) = chosen(Chooser(file, 1), [following._replace(**change)], greedy=True)
    assert anew == alone
    assert remembered(anew) == 0
    assert anew.action != going_on.action


def test_the_next_version_goes_on_with_what_is_remembered(
    policy: tuple[Any, PolicyFile],
) -> None:
    _, file = policy
    questions = walk()
    chooser = Chooser(file, 1)
    before = one_by_one(chooser, questions[:6])
    after = one_by_one(Chooser(file, 1, chooser), questions[6:])
    assert before + after == one_by_one(Chooser(file, 1), questions)
    _, wider = opened(agent_of("RecurrentPPO", "box", "box", lstm_hidden_size="8"))
    (choice,) = chosen(Chooser(wider, 1, chooser), [questions[0]._replace(step=STEPS)], greedy=True)
    assert remembered(choice) == 0


def test_it_forgets_when_told_and_whom_it_has_not_heard_of_for_longest(
    policy: tuple[Any, PolicyFile],
) -> None:
    _, file = policy
    chooser = Chooser(file, 1)
    crowd = [walk()[0]._replace(device=f"d{i}") for i in range(DEVICES_MAX + 1)]
    chosen(chooser, crowd, greedy=True)
    choices = one_by_one(chooser, [one._replace(step=1) for one in (crowd[0], crowd[-1])])
    assert [remembered(choice) for choice in choices] == [0, 1]
    assert chooser.memory is not None
    chooser.memory.forget()
    (choice,) = chosen(chooser, [crowd[-1]._replace(step=2)], greedy=True)
    assert remembered(choice) == 0
