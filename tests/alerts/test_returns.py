"""Whether an agent earns less than it did."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hub.alerts.returns import Fall, Returns

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK: Final = 20


def noisy(mean: float, *, spread: float, count: int, seed: int = 1) -> list[float]:
    drawn: list[float] = np.random.default_rng(seed).normal(mean, spread, count).tolist()
    return drawn


def after(values: Iterable[float], returns: Returns | None = None) -> Returns:
    returns = returns or Returns(0.25)
    for value in values:
        returns.add(value, block=BLOCK)
    return returns


def test_a_policy_that_collapses_has_fallen() -> None:
    returns = after(noisy(200, spread=20, count=100))
    assert not returns.fallen
    fallen = after(noisy(50, spread=20, count=2 * BLOCK, seed=2), returns).fallen
    assert fallen is not None
    assert abs(fallen.best - 200) < 20
    assert abs(fallen.now - 50) < 20
    assert fallen.episodes == BLOCK


def test_negative_returns_fall_too() -> None:
    returns = after([*noisy(-200, spread=20, count=100), *noisy(-400, spread=20, count=40, seed=2)])
    assert returns.fallen is not None


def test_one_bad_block_is_no_fall() -> None:
    returns = after([*noisy(200, spread=20, count=100), *noisy(50, spread=20, count=BLOCK, seed=2)])
    after(noisy(200, spread=20, count=BLOCK, seed=3), returns)
    assert returns.fallen is None


def test_a_small_fall_is_none_however_certain() -> None:
    assert after([*[200.0] * 100, *[160.0] * 100]).fallen is None


def test_a_policy_that_learns_never_falls() -> None:
    rising = [v + 2 * i for i, v in enumerate(noisy(0, spread=30, count=600))]
    returns = Returns(0.25)
    for value in rising:
        returns.add(value, block=BLOCK)
        assert returns.fallen is None


def test_noise_about_nothing_is_no_fall() -> None:
    """A mean of zero has no share: there chance alone decides, over 2,000 blocks."""
    returns = after(noisy(0, spread=100, count=2000 * BLOCK))
    assert returns.fallen is None


def test_it_has_recovered_when_half_is_made_good_and_not_before() -> None:
    fallen = Fall(best=200.0, now=100.0, episodes=20)
    returns = Returns(0.25, fallen)
    assert after([140.0] * 200, returns).fallen == fallen, "however long it lasts"
    assert after([150.0] * BLOCK, returns).fallen is None


def test_what_would_still_be_a_fall_has_not_recovered() -> None:
    """Half of a deep fall is below the limit: it would be over and raised again at once."""
    fallen = Fall(best=200.0, now=50.0, episodes=20)
    returns = Returns(0.25, fallen)
    assert after([140.0] * 200, returns).fallen == fallen
    assert after([150.0] * 200, returns).fallen is None
    deep = Returns(0.25, Fall(best=-100.0, now=-400.0, episodes=20))
    assert after([-130.0] * BLOCK, deep).fallen is not None
    assert after([-125.0] * BLOCK, deep).fallen is None


def test_returns_that_are_no_numbers_count_for_nothing() -> None:
    returns = after([200.0] * 100)
    after([math.nan, math.inf, -math.inf] * 40, returns)
    assert returns.fallen is None
    assert after([200.0] * BLOCK, returns).fallen is None


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=200))
def test_whatever_is_earned_what_has_fallen_can_be_written_down(values: list[float]) -> None:
    returns = Returns(0.25)
    for value in values:
        returns.add(value, block=5)
    fallen = returns.fallen
    assert fallen is None or (math.isfinite(fallen.best) and math.isfinite(fallen.now))
