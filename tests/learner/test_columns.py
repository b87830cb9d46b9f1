"""Questions and choices are the same in columns as one by one."""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.frames import Splitter
from hub.learner.acting.tell import FEW, tell
from hub.learner.columns import ManyChoices, Question, Questions, joined, unpacked
from hub.learner.interface import Choices
from hub.learner.messages import decode_to_actor, framed
from hub.step import Choice
from hub.words import Floats, Source

U64_MAX: Final = 2**64 - 1
SIZE: Final = 3

counts = st.integers(0, U64_MAX)
rows = st.builds(
    Question,
    counts,
    st.text(max_size=8),
    counts,
    counts,
    st.binary(min_size=4 * SIZE, max_size=4 * SIZE).map(Floats),
    st.none() | st.binary(min_size=2, max_size=2),
    st.booleans(),
)
batches = st.lists(rows, min_size=1, max_size=5)


@given(batches)
def test_questions_come_out_of_columns_as_they_went_in(asked: list[Question]) -> None:
    questions = Questions.of(asked)
    (body,) = Splitter().feed(framed(questions))
    assert decode_to_actor(body) == questions
    assert list(questions) == asked
    assert len(questions) == len(asked)
    assert list(unpacked(questions.ids)) == [question.id for question in asked]


@given(st.lists(batches, min_size=1, max_size=4))
def test_batches_are_joined_in_their_order(several: list[list[Question]]) -> None:
    everything = [question for asked in several for question in asked]
    assert joined([Questions.of(asked) for asked in several]) == Questions.of(everything)


@pytest.mark.parametrize("count", [1, 2, FEW, FEW + 1, 300])
@pytest.mark.parametrize("has", [True, False], ids=["with", "without"])
@pytest.mark.parametrize("width", [1, 3])
def test_the_hub_is_told_the_same_however_many_were_chosen(
    count: int, width: int, *, has: bool
) -> None:
    chance = np.random.default_rng(count)
    actions = np.asfortranarray(chance.normal(size=(count, width)).astype("<f4"))
    logprobs, values = chance.normal(size=(2, count)).astype("<f4") if has else (None, None)
    payloads = tuple(f"{i}" if i % 2 else None for i in range(count)) if has else None
    told = tell(Choices(actions, logprobs, values), Source.ADVICE, 7, payloads)
    wanted = [
        Choice(
            Floats(struct.pack(f"<{width}f", *actions[i].tolist())),
            Source.ADVICE,
            7,
            None if logprobs is None else float(logprobs[i]),
            None if values is None else float(values[i]),
            None,
            None if payloads is None else payloads[i],
        )
        for i in range(count)
    ]
    assert isinstance(told, ManyChoices) == (count > FEW)
    assert list(told) == wanted
    assert len(told) == count
