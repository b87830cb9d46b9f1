"""`sheepfold policy`: which version is meant, and what the hub is asked to do with it.

Versions come from a played analyst; `tests/acceptance/test_policies.py` has a whole hub.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest

from hub.commands import policies
from hub.facts import PolicyChosen, PolicyMade
from hub.learner.messages import policy_path
from hub.log.analyst.messages import Chunk, End
from hub.words import AgentName, Event, Kind
from tests.commands.test_sql import Analyst
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.commands.control_room import ControlRoom
    from tests.commands.typed import Said

WALKER: Final = AgentName("walker")
CREATE: Final = ("walker", "--algorithm", "PPO", "--observations", "2", "--actions", "2")


class Office:
    """One agent whose versions are 0, 1, 2 and so on, by their hashes."""

    def __init__(self, room: ControlRoom, analyst: Analyst) -> None:
        self.room = room
        self._analyst = analyst
        self._shas: list[str] = []
        assert typed(room.data, "agent", "create", *CREATE).code == 0

    def has(self, *digits: str) -> None:
        """A version for each digit, which makes its hash; the last one acts."""
        self._shas = [digit * 64 for digit in digits]
        room = self.room
        room.policies.version = len(digits) - 1
        room.policies.files |= set(self._shas)
        made = msgspec.json.encode(PolicyMade(self._shas[-1], None, 1)).decode()
        version = len(digits) - 1
        room.registry.apply(Event(Kind.POLICY, 0, WALKER, policy=version, payload=made))

    def say(self, *arguments: str) -> Said:
        """Run a command; the analyst answers what the log has."""
        rows = [
            policies.Version(i, 10 + i, "2026-01-01", sha256, i - 1 if i else None, None, None)
            for i, sha256 in enumerate(self._shas)
        ]
        lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
        self._analyst.will_say([Chunk(lines), End()])
        return typed(self.room.data, "policy", *arguments)

    @property
    def chosen(self) -> PolicyChosen:
        """What stands in the log of the newest choice."""
        texts = [event.payload or "" for event in self.room.events]
        text = next(text for text in reversed(texts) if '"policy_chosen"' in text)
        return msgspec.json.decode(text, type=PolicyChosen)


@pytest.fixture
def office(room: ControlRoom) -> Iterator[Office]:
    """With an analyst beside the room."""
    with Analyst(room.data) as analyst:
        yield Office(room, analyst)


def rows(said: Said) -> list[dict[str, Any]]:
    assert said.code == 0, said.err
    return [dict(line) for line in said.lines]


def test_list_says_which_acts_and_whose_file_is_there(office: Office) -> None:
    office.has("a", "b", "c")
    path = policy_path(office.room.data, WALKER, "b" * 64)
    path.parent.mkdir(parents=True)
    path.touch()
    listed = rows(office.say("list", "walker"))
    assert [(one["version"], one["sha256"]) for one in listed] == [
        (0, "a" * 12),
        (1, "b" * 12),
        (2, "c" * 12),
    ]
    assert [one["file"] for one in listed] == [False, True, False]
    assert [one["acts"] for one in listed] == [False, False, True]
    assert {(one["how"], one["by"]) for one in listed} == {("trained", None)}


def test_promote_puts_a_version_in_place_under_the_next_number(office: Office) -> None:
    office.has("a", "b", "c")
    said = office.say("promote", "walker", "0")
    assert rows(said) == [{"agent": "walker", "version": 3, "sha256": "a" * 64}]
    chosen = office.chosen
    assert (chosen.how, chosen.parent, chosen.trained, chosen.by) == ("promoted", 0, 2, "operator")


def test_rollback_goes_one_version_back_each_time(office: Office) -> None:
    office.has("a", "b", "c")
    assert rows(office.say("rollback", "walker"))[0]["sha256"] == "b" * 64
    office.has("a", "b", "c", "b")
    assert rows(office.say("rollback", "walker"))[0]["sha256"] == "a" * 64
    office.has("a", "b", "c", "b", "a")
    said = office.say("rollback", "walker")
    assert said.code == 1
    assert "no version before 0" in said.err


def test_rollback_undoes_a_promotion(office: Office) -> None:
    office.has("a", "b", "c", "d")
    rows(office.say("promote", "walker", "1"))
    office.has("a", "b", "c", "d", "b")
    assert rows(office.say("rollback", "walker"))[0]["sha256"] == "d" * 64
    office.has("a", "b", "c", "d", "b", "d")
    assert rows(office.say("rollback", "walker"))[0]["sha256"] == "c" * 64


def test_rollback_to_a_version(office: Office) -> None:
    office.has("a", "b", "c", "d")
    assert rows(office.say("rollback", "walker", "--to", "1"))[0]["sha256"] == "b" * 64
    assert office.chosen.how == "rolled_back"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("promote", "walker", "7"), "has no version 7"),
        (("promote", "walker", "2"), "acts already"),
        (("rollback", "walker", "--to", "2"), "not older than 2"),
        (("rollback", "walker", "--to", "9"), "has no version 9"),
        (("list", "runner"), "no agent 'runner'"),
        (("export", "walker", "--to", "x.zip"), "rebuild walker --at 12 --to FILE"),
    ],
)
def test_what_can_not_be_meant_is_refused(
    office: Office, command: tuple[str, ...], says: str
) -> None:
    office.has("a", "b", "c")
    events = len(office.room.events)
    if command[1] == "runner":  # the analyst is not asked
        said = typed(office.room.data, "policy", *command)
    else:
        said = office.say(*command)
    assert said.code == 1
    assert says in said.err
    assert len(office.room.events) == events


def test_an_agent_without_a_policy_has_none_to_export(office: Office) -> None:
    said = office.say("export", "walker", "--to", "x.zip")
    assert said.code == 1
    assert "no policy yet" in said.err


def test_restart_gives_the_number_of_the_version_to_come(office: Office) -> None:
    office.has("a", "b")
    (answer,) = rows(typed(office.room.data, "agent", "restart", "walker"))
    assert answer == {"agent": "walker", "version": 2}
    assert office.room.registry.policies == {}
    assert office.room.changed[-1] == "walker"
