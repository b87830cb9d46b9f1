"""What an actor chose, as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hub.learner.columns import Questions
from hub.learner.messages import drawn_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from hub.learner.acting.flock import Choosing
    from hub.learner.columns import Question
    from hub.step import Choice
    from hub.words import Floats


def chosen(chooser: Choosing, asked: Iterable[Question], *, greedy: bool) -> list[Choice]:
    """For each, asked together."""
    return list(chooser.choose(Questions.of(list(asked)), greedy=greedy))


def action_of(choice: Choice) -> Floats:
    """As it stands in the log."""
    assert choice.action is not None, "a policy always has one"
    return choice.action


def numbers_of(choice: Choice) -> NDArray[np.float32]:
    """The action, (m,)."""
    return np.frombuffer(action_of(choice), "<f4")


def sample_of(choice: Choice) -> NDArray[np.float32]:
    """What was drawn, before the bounds cut it, (m,)."""
    return np.frombuffer(drawn_of(choice.payload).raw or action_of(choice), "<f4")
