"""Advisers that are asked at each step over a real broker: a program, and a hub of another kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.cart import Cart
from tests.acceptance.expert import Expert, no_help
from tests.acceptance.meeting_place import federation_at, meeting_place
from tests.acceptance.real_hub import until
from tests.acceptance.test_hubs import LONG_S, OFTEN, count, federation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

OBSERVATIONS: Final = [[4], "-inf", "inf"]
DQN: Final = {"learning_starts": "50", "buffer_size": "1000", "net_arch": "8"}


def test_whoever_answers_in_time_advises_and_whoever_does_not_costs_no_device_a_step(
    new_hub: Callable[[str], RealHub], tmp_path: Path
) -> None:
    with meeting_place(tmp_path) as broker:
        a, b = (new_hub(federation_at(broker, name)) for name in ("site-a", "site-b"))
        a.start()
        key = a.make_agent(
            "cart", sharing="advice", hubs="questions", parameters=OFTEN, deadline_ms=2000
        )
        with Expert(broker.port, "cart", OBSERVATIONS, 2) as expert, Cart(a, key, "a-1") as cart:
            by_expert = "advice WHERE adviser = 'expert/?' AND effect > 10"
            until(lambda: count(a, by_expert), "advice gains something", timeout_s=LONG_S)
            assert count(a, "guests WHERE adviser = 'expert/?' AND until IS NULL") == 1

            b.start()
            other = b.make_agent("cart", algorithm="DQN", hubs="questions", parameters=DQN)
            with Cart(b, other, "b-1", seed=7):
                by_b = "advice WHERE device = 'a-1' AND adviser = 'site-b/?'"
                until(lambda: count(a, by_b), "a DQN advises a PPO", timeout_s=LONG_S)
            assert federation(b)["answered"] > 0

            expert.says, asked = no_help(), expert.asked
            until(lambda: expert.asked > asked + 2, "each is tried", timeout_s=LONG_S)
            refused = {"unfit", "payload"}
            until(lambda: refused <= set(federation(a)["refused"]), "it is counted")
            steps = cart.steps
            until(lambda: cart.steps > steps + 50, "steps go on", timeout_s=LONG_S)
            late = "events WHERE kind = 'action' AND source = 'fallback' AND policy IS NOT NULL"
            assert count(a, late) == 0
    assert a.command("rebuild", "cart").returncode == 0
