"""The form's help knows every parameter there is."""

from __future__ import annotations

import pytest

from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.help import fields
from hub.learner.algorithms.row import Algorithm


@pytest.mark.parametrize("row", elsewhere.usable(), ids=lambda row: row.name)
def test_every_parameter_is_explained(row: Algorithm) -> None:
    assert [field.name for field in fields(row) if not field.help] == []


@pytest.mark.parametrize("row", elsewhere.usable(), ids=lambda row: row.name)
def test_every_default_that_is_chosen_from_a_list_is_in_it(row: Algorithm) -> None:
    chosen = [field for field in fields(row) if field.choices and field.default is not None]
    assert [field.name for field in chosen if field.default not in field.choices] == []
