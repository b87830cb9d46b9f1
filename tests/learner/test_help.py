"""The form's help knows every parameter there is."""

from __future__ import annotations

import pytest

from hub.errors import OperatorFault
from hub.learner.algorithms import elsewhere
from hub.learner.algorithms.describe import algorithms_page
from hub.learner.algorithms.help import fields
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.algorithms.row import Algorithm
from hub.words import Agent, AgentName


@pytest.mark.parametrize("row", elsewhere.usable(), ids=lambda row: row.name)
def test_every_parameter_is_explained(row: Algorithm) -> None:
    assert [field.name for field in fields(row) if not field.help] == []


@pytest.mark.parametrize("row", elsewhere.usable(), ids=lambda row: row.name)
def test_every_default_that_is_chosen_from_a_list_is_in_it(row: Algorithm) -> None:
    chosen = [field for field in fields(row) if field.choices and field.default is not None]
    assert [field.name for field in chosen if field.default not in field.choices] == []


@pytest.mark.parametrize("row", elsewhere.usable(), ids=lambda row: row.name)
def test_the_page_lists_every_parameter_that_an_agent_may_be_given(row: Algorithm) -> None:
    agent = Agent(AgentName("a"), row.name, 2, 2, seed=1, parameters={"no_such": "1"})
    with pytest.raises(OperatorFault) as caught:
        read_parameters(agent)
    valid = str(caught.value).partition("; it has ")[2].split(", ")
    section = algorithms_page().partition(f"\n## {row.name}\n")[2].partition("\n## ")[0]
    assert [name for name in valid if name != "none" and f"`{name}`" not in section] == []
