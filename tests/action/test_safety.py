"""What safety rules make of an action, and which declarations are refused."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hub import spaces
from hub.action.limits import INTERLOCKS_MAX, float32_within
from hub.action.safety import Rules, read_rules
from hub.errors import OperatorFault
from hub.step import Held
from hub.words import Interlock, Safety
from tests.intake.fakes import agent_spec, floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.words import Floats

CALM = floats(0.0, 0.0)
BOX = [[2], -10.0, 10.0]


def rules(actions: Any = BOX, **declared: Any) -> Rules:
    """Of an agent that sees two numbers."""
    safety = msgspec.convert(declared, Safety)
    made = read_rules(agent_spec(actions=actions, safety=safety))
    assert made is not None
    return made


def numbers(action: Floats | None) -> tuple[float, ...]:
    assert action is not None
    return struct.unpack(f"<{len(action) // 4}f", action)


def test_an_agent_without_rules_has_none() -> None:
    assert read_rules(agent_spec()) is None


# --- bounds ------------------------------------------------------------------------------------


def test_bounds_cut_each_component() -> None:
    kept = rules(low=[-1, None], high=2).keep(floats(-5, 5), CALM, None, 0.0)
    assert (numbers(kept.action), kept.broken) == ((-1.0, 2.0), ("bounds",))


def test_what_breaks_no_rule_stays_the_same_object() -> None:
    wanted = floats(0.5, -3.0)
    kept = rules(low=-5, high=5, rate_max=1, dwell_s=1).keep(wanted, CALM, None, 0.0)
    assert kept.action is wanted
    assert kept.broken == ()


def test_bounds_of_choices_are_choices() -> None:
    few = rules(5, low=1, high=3)
    sent = [numbers(few.keep(floats(n), CALM, None, 0.0).action) for n in range(5)]
    assert sent == [(1.0,), (1.0,), (2.0,), (3.0,), (3.0,)]


def test_several_choices_have_rules_each() -> None:
    gears = rules({"multi_discrete": [5, 4]}, low=[1, None], high=[3, 2], rate_max=[2, None])
    kept = gears.keep(floats(4, 3), CALM, None, 0.0)
    assert (numbers(kept.action), kept.broken) == ((3.0, 2.0), ("bounds",))
    kept = gears.keep(floats(3, 0), CALM, Held(floats(0, 2), 0.0), 0.0)
    assert (numbers(kept.action), kept.broken) == ((2.0, 0.0), ("rate",))
    switches = rules({"multi_binary": 2}, high=[0, None], dwell_steps=[None, 2])
    kept = switches.keep(floats(1, 1), CALM, Held(floats(0, 0), 0.0), 0.0)
    assert (numbers(kept.action), kept.broken) == ((0.0, 0.0), ("bounds", "dwell"))


def test_bounds_of_choices_that_start_elsewhere_are_the_devices_own_numbers() -> None:
    shifted = rules({"discrete": 5, "start": -2}, low=-1)
    assert numbers(shifted.keep(floats(-2), CALM, None, 0.0).action) == (-1.0,)


# --- rate --------------------------------------------------------------------------------------


def test_rate_is_counted_from_the_action_sent_last() -> None:
    slow = rules(rate_max=[1, None])
    kept = slow.keep(floats(9, 9), CALM, Held(floats(0, 0), 0.0), 0.0)
    assert (numbers(kept.action), kept.broken) == ((1.0, 9.0), ("rate",))
    kept = slow.keep(floats(-9, 0), CALM, Held(floats(0, 0), 0.0), 0.0)
    assert numbers(kept.action) == (-1.0, 0.0)


def test_before_the_first_action_there_is_no_rate_and_no_dwell() -> None:
    wanted = floats(9, -9)
    assert rules(rate_max=1, dwell_s=60).keep(wanted, CALM, None, 0.0).action is wanted


def test_bounds_win_over_rate_where_they_were_tightened_meanwhile() -> None:
    kept = rules(high=2, rate_max=1).keep(floats(9, 0), CALM, Held(floats(8, 0), 0.0), 0.0)
    assert (numbers(kept.action), kept.broken) == ((2.0, 0.0), ("bounds",))
    kept = rules(high=2, rate_max=1).keep(floats(1, 0), CALM, Held(floats(8, 0), 0.0), 0.0)
    assert (numbers(kept.action), kept.broken) == ((2.0, 0.0), ("bounds", "rate"))


# --- dwell -------------------------------------------------------------------------------------


def test_a_choice_stays_for_its_seconds() -> None:
    lazy = rules(2, dwell_s=10)
    held = Held(floats(0), 100.0)
    for now_s, sent in ((100.0, 0.0), (109.9, 0.0), (110.0, 1.0)):
        kept = lazy.keep(floats(1), CALM, held, now_s)
        assert numbers(kept.action) == (sent,)
        assert kept.broken == (() if sent else ("dwell",))


def test_a_choice_stays_for_its_actions() -> None:
    lazy = rules(2, dwell_steps=3)
    held = Held(floats(0), 0.0)
    sent = []
    for _ in range(6):
        kept = lazy.keep(floats(1 - numbers(held.action)[0]), CALM, held, 0.0)
        held.send(kept.action, 0.0)
        sent.append(numbers(kept.action)[0])
    assert sent == [0.0, 0.0, 1.0, 1.0, 1.0, 0.0]  # the first 0 was before


def test_both_dwells_must_have_passed() -> None:
    lazy = rules(2, dwell_steps=2, dwell_s=5)
    held = Held(floats(0), 0.0)
    assert lazy.keep(floats(1), CALM, held, 9.0).broken == ("dwell",)
    held.send(floats(0), 1.0)
    assert lazy.keep(floats(1), CALM, held, 4.0).broken == ("dwell",)
    assert lazy.keep(floats(1), CALM, held, 5.0).broken == ()


def test_each_component_dwells_by_itself() -> None:
    lazy = rules(dwell_s=[10, 0])
    held = Held(floats(0, 0), 0.0)
    held.send(floats(0, 5), 9.0)
    assert numbers(lazy.keep(floats(1, 1), CALM, held, 9.5).action) == (0.0, 1.0)
    assert numbers(lazy.keep(floats(1, 1), CALM, held, 10.0).action) == (1.0, 1.0)


# --- interlocks --------------------------------------------------------------------------------


def test_while_an_interlock_holds_its_action_is_sent() -> None:
    hot = rules(2, interlocks=[{"when": "o[0]  >  80", "action": 0}], dwell_s=60)
    held = Held(floats(1), 0.0)
    kept = hot.keep(floats(1), floats(81, 0), held, 0.0)
    assert (numbers(kept.action), kept.broken) == ((0.0,), ("interlock o[0] > 80",))
    assert hot.keep(floats(1), floats(80, 0), held, 0.0).broken == ()


def test_an_interlock_says_nothing_where_its_action_was_wanted_anyway() -> None:
    hot = rules(2, interlocks=[{"when": "o[0] > 80", "action": 0}])
    assert hot.keep(floats(0), floats(81, 0), None, 0.0).broken == ()


def test_the_first_interlock_that_holds_decides() -> None:
    both = rules(
        3,
        interlocks=[{"when": "o[0] > 80", "action": 0}, {"when": "o[0] > 50", "action": 1}],
    )
    assert numbers(both.keep(floats(2), floats(90, 0), None, 0.0).action) == (0.0,)
    assert numbers(both.keep(floats(2), floats(60, 0), None, 0.0).action) == (1.0,)


def test_an_interlock_that_can_not_be_computed_holds() -> None:
    ratio = rules(2, interlocks=[{"when": "o[0] / o[1] > 3", "action": 0}])
    assert numbers(ratio.keep(floats(1), floats(1, 0), None, 0.0).action) == (0.0,)


# --- the fallback ------------------------------------------------------------------------------


def test_bounds_and_interlocks_hold_for_the_fallback_and_dwell_and_rate_do_not() -> None:
    strict = rules(
        high=5, rate_max=0.1, dwell_s=60, interlocks=[{"when": "o[0] > 80", "action": [1, 1]}]
    )
    kept = strict.keep_fallback(floats(9, -9), CALM)
    assert (numbers(kept.action), kept.broken) == ((5.0, -9.0), ("bounds",))
    assert strict.keep_fallback(floats(4, 4), CALM).broken == ()
    assert numbers(strict.keep_fallback(floats(4, 4), floats(81, 0)).action) == (1.0, 1.0)


def test_an_interlock_acts_even_where_the_fallback_is_none() -> None:
    hot = rules(2, interlocks=[{"when": "o[0] > 80", "action": 1}])
    assert hot.keep_fallback(None, CALM).action is None
    kept = hot.keep_fallback(None, floats(81, 0))
    assert (numbers(kept.action), kept.broken) == ((1.0,), ("interlock o[0] > 80",))


# --- the laws ----------------------------------------------------------------------------------

FLOAT32 = st.floats(-10, 10, width=32)
PART = st.one_of(st.none(), st.floats(0.0625, 8))


@given(
    bounds=st.lists(st.tuples(st.floats(-10, 10), st.floats(-10, 10)), min_size=2, max_size=2),
    rate=st.lists(PART, min_size=2, max_size=2),
    dwell_s=st.lists(PART, min_size=2, max_size=2),
    dwell_steps=st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=2, max_size=2),
    wants=st.lists(
        st.tuples(FLOAT32, FLOAT32, st.floats(0, 3), st.booleans()), min_size=1, max_size=30
    ),
)
def test_every_run_of_actions_keeps_bounds_rate_and_dwell(
    bounds: Any, rate: Any, dwell_s: Any, dwell_steps: Any, wants: Any
) -> None:
    """Goal: whatever is wanted when, what is sent keeps all rules, of each component.

    Method: the rules are computed anew from the whole history of what was sent. Fallbacks, which
    neither rate nor dwell hold back, are mixed in: only the policy's actions are judged by these.
    """
    low, high = ([f(pair) for pair in bounds] for f in (min, max))
    assume(all(float32_within(b, towards=math.inf) <= t for b, t in zip(low, high, strict=True)))
    made = rules(low=low, high=high, rate_max=rate, dwell_s=dwell_s, dwell_steps=dwell_steps)
    held: Held | None = None
    history: list[tuple[float, tuple[float, ...]]] = []
    now_s = 0.0
    for first, second, pause_s, falls_back in wants:
        now_s += pause_s
        wanted = floats(first, second)
        kept = (
            made.keep_fallback(wanted, CALM) if falls_back else made.keep(wanted, CALM, held, now_s)
        )
        assert kept.action is not None
        assert (kept.action == wanted) is (not kept.broken)
        sent = numbers(kept.action)
        for i in range(2):
            assert low[i] <= sent[i] <= high[i]
            if history and not falls_back:
                judge(i, sent[i], history, now_s, rate[i], dwell_s[i], dwell_steps[i])
        history.append((now_s, sent))
        if held is None:
            held = Held(kept.action, now_s)
        else:
            held.send(kept.action, now_s)


def judge(
    i: int,
    sent: float,
    history: list[tuple[float, tuple[float, ...]]],
    now_s: float,
    rate: float | None,
    dwell_s: float | None,
    dwell_steps: int | None,
) -> None:
    """One component's change, by what was sent before."""
    before = history[-1][1][i]
    if sent == before:
        return
    if rate is not None:
        assert abs(sent - before) <= rate * (1 + 1e-12)
    stood = [at for at, _ in history]
    same = 0
    for at, action in reversed(history):
        if action[i] != before:
            break
        stood.append(at)
        same += 1
    if dwell_s is not None:
        assert now_s - stood[-1] >= dwell_s
    if dwell_steps is not None:
        assert same >= dwell_steps


@given(number=st.floats(-3e38, 3e38), up=st.booleans())
def test_a_bound_is_never_rounded_outwards(number: float, up: bool) -> None:
    found = float32_within(number, towards=math.inf if up else -math.inf)
    assert floats(found) == floats(struct.unpack("<f", floats(found))[0])
    assert struct.unpack("<f", floats(found))[0] == found
    assert found >= number if up else found <= number
    nearest = struct.unpack("<f", floats(number))[0]
    assert math.isclose(found, nearest, rel_tol=2e-7, abs_tol=3e-45)


# --- declarations ------------------------------------------------------------------------------

IN_BOX: list[tuple[Any, str]] = [
    ({"low": -11}, r"component 0 are -11.0 and 10.0; they stand within the action space"),
    ({"high": [0, 11]}, "component 1"),
    ({"low": 3, "high": 2}, "low is not above high"),
    ({"low": [1]}, "1 numbers, an action 2"),
    ({"rate_max": [1, 2, 3]}, "3 numbers, an action 2"),
    ({"rate_max": 0}, "above 0"),
    ({"rate_max": -1}, "above 0"),
    ({"rate_max": math.nan}, "a number or null"),
    ({"rate_max": math.inf}, "a number or null"),
    ({"high": 3.4e38}, "a number or null"),
    ({"dwell_s": -1}, "0 or more"),
    ({"dwell_steps": -1}, "0 or more"),
    ({"dwell_steps": 1.5}, "counts actions"),
    ({"low": 0.1, "high": 0.1}, "no float32"),
    ({"versions_behind_max": -1}, "from 0 on"),
    ({"clamps_max": 0}, "from 1 on"),
    ({"policy_age_s_max": 0}, "above 0"),
    ({"policy_age_s_max": math.inf}, "above 0"),
    ({"interlocks": [{"when": "o[0]", "action": [0, 0]}]}, r"interlocks\[0\]\.when: 'o\[0\]'"),
    ({"interlocks": [{"when": "o[2] > 1", "action": [0, 0]}]}, "last value"),
    ({"interlocks": [{"when": "o[0] > 1", "action": 0}]}, r"interlocks\[0\]: action"),
    ({"interlocks": [{"when": "o[0] > 1", "action": [0, 11]}]}, "agent expects"),
    ({"high": 5, "interlocks": [{"when": "o[0] > 1", "action": [0, 6]}]}, "own bounds"),
    ({"interlocks": [{"when": "1 > 0", "action": [0, 0]}] * (INTERLOCKS_MAX + 1)}, "at most"),
]
IN_CHOICES: list[tuple[Any, str]] = [
    ({"low": 0.5}, "whole numbers"),
    ({"rate_max": 1.5}, "whole numbers"),
    ({"high": 5}, "within the action space, 0.0 to 4.0"),
    ({"interlocks": [{"when": "o[0] > 1", "action": 5}]}, "agent expects 0 to 4"),
]


@pytest.mark.parametrize(
    ("actions", "declared", "why"),
    [(BOX, *row) for row in IN_BOX] + [(5, *row) for row in IN_CHOICES],
)
def test_rules_that_make_no_sense_are_refused_with_what_would(
    actions: Any, declared: dict[str, Any], why: str
) -> None:
    with pytest.raises(OperatorFault, match=why):
        rules(actions, **declared)


@pytest.mark.parametrize(
    "make",
    [
        lambda: rules(),
        lambda: rules(low=-10, high=10),
        lambda: rules(low=[None, 3], high=[None, 3]),
        lambda: rules(dwell_s=0.5, dwell_steps=3),
        lambda: rules([[2, 2], 0, 255], low=[1, 2, 3, 4], rate_max=5),
        lambda: rules([[1], "-inf", "inf"], low=-1e30, rate_max=1e-3),
        lambda: rules(versions_behind_max=0, policy_age_s_max=0.5, clamps_max=1),
    ],
)
def test_rules_that_make_sense_are_taken(make: Callable[[], Rules]) -> None:
    make()


def test_numbers_of_an_image_are_whole() -> None:
    with pytest.raises(OperatorFault, match="whole numbers"):
        rules([[2], 0, 255], high=99.5)


def test_unbounded_spaces_may_be_bounded() -> None:
    assert isinstance(spaces.parse([[1], "-inf", "inf"]), spaces.Box)
    kept = rules([[1], "-inf", "inf"], low=-1, high=1).keep(floats(3e38), CALM, None, 0.0)
    assert numbers(kept.action) == (1.0,)


def test_the_words_go_through_the_log() -> None:
    safety = Safety(low=[1.0, None], interlocks=[Interlock("o[0] > 1", 0)], clamps_max=3)
    text = msgspec.json.encode(safety)
    assert text == (
        b'{"low":[1.0,null],"interlocks":[{"when":"o[0] > 1","action":0}],"clamps_max":3}'
    )
    assert msgspec.json.decode(text, type=Safety) == safety
