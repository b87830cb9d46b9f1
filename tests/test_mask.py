"""A device's mask: what it means, what is refused, and what it makes of a fallback."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from hub.errors import DeviceFault
from hub.intake.observation import check, decode
from hub.mask import allowed, read_mask
from hub.spaces import parse
from hub.step import Choice
from hub.words import Code, Floats, Kind, Source
from tests.action.test_deliver import DEADLINE_S, Room
from tests.intake.fakes import agent_spec, floats

if TYPE_CHECKING:
    from hub.registry.fold import Spec

GEARS = {"multi_discrete": [3, 2]}


def maskable(actions: Any = 3, **columns: Any) -> Spec:
    """An agent that looks at masks."""
    return agent_spec(actions=actions, algorithm="MaskablePPO", **columns)


@pytest.mark.parametrize(
    ("actions", "given", "mask"),
    [
        (3, [1, 0, 1], b"\1\0\1"),
        (3, [True, False, 1.0], b"\1\0\1"),
        (GEARS, [0, 0, 1, 1, 1], b"\0\0\1\1\1"),
        ({"multi_binary": 2}, [1, 0, 1, 1], b"\1\0\1\1"),
        (3, None, None),
    ],
)
def test_mask_has_a_value_for_each_choice(actions: Any, given: Any, mask: bytes | None) -> None:
    spec = maskable(actions)
    assert read_mask(spec.agent, spec.actions, {"mask": given, "room": "kitchen"}) == mask


def test_observation_brings_its_mask_along() -> None:
    message = decode("json", b'{"s":1,"o":[1,2],"i":{"mask":[0,1,1]}}')
    assert check(maskable(), message).mask == b"\0\1\1"
    assert check(maskable(), decode("json", b'{"s":1,"o":[1,2]}')).mask is None
    # An algorithm without masks keeps what the device sent, whatever it is.
    assert check(agent_spec(), message).mask is None


@pytest.mark.parametrize(
    ("actions", "given", "code", "said"),
    [
        (3, [1, 1], Code.SHAPE, "mask has 2 values, agent expects 3, one a choice"),
        (GEARS, [1, 1], Code.SHAPE, "mask has 2 values, agent expects 5"),
        (3, [0, 0, 0], Code.RANGE, "mask leaves no choice; it needs one 1 at least"),
        (GEARS, [1, 1, 1, 0, 0], Code.RANGE, "mask leaves no choice to number 1 of the action"),
        (3, [1, 2, 0], Code.TYPE, r"mask\[1\] is 2, agent expects 0 or 1"),
        (3, [1, "x", 0], Code.TYPE, r"mask\[1\] is 'x'"),
        (3, [1, [1], 0], Code.TYPE, r"mask\[1\] is a list of 1"),
        (3, "101", Code.TYPE, "mask is '101', agent expects 3 of 0 or 1"),
    ],
)
def test_mask_is_refused(actions: Any, given: Any, code: Code, said: str) -> None:
    spec = maskable(actions)
    with pytest.raises(DeviceFault, match=said) as refused:
        read_mask(spec.agent, spec.actions, {"mask": given})
    assert refused.value.code is code


@pytest.mark.parametrize(
    ("actions", "action", "mask", "kept"),
    [
        (3, (1.0,), b"\0\0\1", (2.0,)),
        (3, (1.0,), None, (1.0,)),
        ({"discrete": 3, "start": 5}, (6.0,), b"\1\0\1", (5.0,)),
        (GEARS, (2.0, 1.0), b"\1\1\0\0\1", (0.0, 1.0)),
        ({"multi_binary": 2}, (1.0, 1.0), b"\1\0\1\1", (0.0, 1.0)),
    ],
)
def test_what_is_not_allowed_becomes_the_first_that_is(
    actions: Any, action: tuple[float, ...], mask: bytes | None, kept: tuple[float, ...]
) -> None:
    assert allowed(parse(actions), floats(*action), mask) == floats(*kept)


def numbers(action: Floats | None) -> list[float]:
    assert action is not None
    return list(struct.unpack(f"<{len(action) // 4}f", action))


@pytest.mark.parametrize(("fallback", "sent"), [("hold", 2), (1, 2), (2, 2)])
def test_fallback_keeps_to_the_mask(fallback: Any, sent: int) -> None:
    room = Room(maskable(fallback=fallback))
    step, reply = room.begin(0)
    step.observation = structs.replace(step.observation, mask=b"\0\0\1")
    room.timers.advance(DEADLINE_S)
    room.log.commit()
    assert (reply.answer.action, reply.answer.source) == (sent, Source.FALLBACK)


def test_action_that_is_none_becomes_a_fallback_that_keeps_to_the_mask() -> None:
    room = Room(maskable())
    step, reply = room.begin(0)
    step.observation = structs.replace(step.observation, mask=b"\0\1\1")
    room.deliver.choose(step, Choice(floats(7), Source.POLICY, policy=1))
    room.log.commit()
    assert reply.answer.action == 1
    assert numbers(room.log.of_kind(Kind.ACTION)[-1].action) == [1.0]
