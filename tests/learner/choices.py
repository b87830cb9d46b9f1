"""What an actor chose, as numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hub.learner.messages import drawn_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.step import Choice
    from hub.words import Floats


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
