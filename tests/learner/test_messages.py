"""What goes over the sockets comes back the same."""

from __future__ import annotations

import struct
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.facts import PolicyMade, Updated
from hub.frames import Splitter
from hub.learner.columns import ManyChoices, Question, Questions
from hub.learner.messages import (
    Advice,
    Answers,
    Drawn,
    Greedy,
    Load,
    Loaded,
    Made,
    decode_from_actor,
    decode_from_trainer,
    decode_to_actor,
    drawn_of,
    framed,
    payload_of,
)
from hub.step import Choice
from hub.words import Floats, Source

FOUR = Floats(struct.pack("<4f", 1, 2, 3, 4))
IDS = struct.pack("=2Q", 1, 2)
ADVISED = payload_of(Drawn(FOUR, advice=Advice("peer", FOUR)))


@pytest.mark.parametrize(
    "message",
    [
        Questions.of([Question(1, "heater", 2, 3, FOUR)]),
        Questions.of([Question(1, "heater", 2, 3, FOUR), Question(2, "ü", 0, 0, FOUR, b"\0\1")]),
        Load(7, "/data/policies/walker/abc.safetensors"),
        Greedy(on=True),
    ],
)
def test_messages_to_the_actor_round_trip(message: Questions | Load | Greedy) -> None:
    (body,) = Splitter().feed(framed(message))
    assert decode_to_actor(body) == message


@pytest.mark.parametrize(
    "message",
    [
        Answers(
            IDS,
            [
                Choice(FOUR, Source.POLICY, 7, logprob=-0.5),
                Choice(FOUR, Source.ADVICE, 7, value=1.5, payload=ADVISED),
            ],
        ),
        Answers(IDS, ManyChoices(2, Source.POLICY, 7, FOUR, None, FOUR, (None, ADVISED))),
        Loaded(7),
    ],
)
def test_messages_from_the_actor_round_trip(message: Answers | Loaded) -> None:
    (body,) = Splitter().feed(framed(message))
    assert decode_from_actor(body) == message


def test_what_a_trainer_made_round_trips() -> None:
    update = Updated(0, 1, 2, 3, 4, "ab", 5.5)
    for made in (
        Made(0, PolicyMade("ab", None, 0), None),
        Made(1, PolicyMade("cd", 0, 9, {"loss": 0.5}), update),
    ):
        (body,) = Splitter().feed(framed(made))
        assert decode_from_trainer(body) == made


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_a_raw_action_survives_json_to_the_last_bit(values: list[float]) -> None:
    raw = Floats(struct.pack(f"<{len(values)}f", *values))
    assert drawn_of(payload_of(Drawn(raw))).raw == raw


def test_a_mask_stands_in_the_payload_as_digits() -> None:
    drawn = Drawn(None, b"\0\1\1\0")
    assert payload_of(drawn) == '{"mask":"0110"}'
    assert drawn_of(payload_of(drawn)) == drawn
    assert drawn_of('{"mask":"01","wanted":[1.0]}') == Drawn(None, b"\0\1")
    assert payload_of(Drawn()) is None


@pytest.mark.parametrize("payload", [None, "{}", '{"mask":[1]}', '{"raw":"x"}', "[]"])
def test_a_payload_about_something_else_has_no_raw_action(payload: str | None) -> None:
    assert drawn_of(payload) == Drawn()


def test_the_hubs_side_imports_neither_torch_nor_numpy() -> None:
    names = "messages", "processes.pool", "algorithms.parameters"
    code = "import sys\n" + "\n".join(f"import hub.learner.{name}" for name in names)
    code += "\nprint([m for m in ('torch', 'numpy', 'gymnasium', 'duckdb') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
