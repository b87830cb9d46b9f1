"""Sizes, counted to an eighth: quantiles, and what came between two looks."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.histogram import BUCKETS, VALUE_MAX, Histogram, Seen, lowest, merged

VALUES = st.lists(st.integers(0, VALUE_MAX), min_size=1, max_size=50)


def counted(values: list[int]) -> Seen:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    return histogram.seen()


@given(VALUES)
def test_a_quantile_is_right_to_an_eighth(values: list[int]) -> None:
    middle = sorted(values)[(len(values) + 1) // 2 - 1]
    found = counted(values).quantile(0.5)
    assert found is not None
    assert abs(found - middle) <= middle / 8


@given(VALUES, VALUES)
def test_what_came_between_two_looks_is_their_difference(early: list[int], late: list[int]) -> None:
    assert counted(early + late).since(counted(early)) == counted(late)
    assert merged([counted(early), counted(late)]) == counted(early + late)


@given(VALUES, st.integers(0, 33))
def test_below_a_power_of_two_is_counted_exactly(values: list[int], power: int) -> None:
    (below,) = counted(values).below(range(power, power + 1))
    assert below == sum(value < 1 << power for value in values)


def test_each_bucket_begins_where_the_one_before_ends() -> None:
    assert all(counted([lowest(at)]).buckets == {at: 1} for at in range(BUCKETS))
    assert all(counted([lowest(at) - 1]).buckets == {at - 1: 1} for at in range(1, BUCKETS))


@pytest.mark.parametrize(("value", "counts_as"), [(-5, 0), (VALUE_MAX + 1, VALUE_MAX)])
def test_what_is_out_of_range_counts_as_the_end_of_it(value: int, counts_as: int) -> None:
    assert counted([value]) == counted([counts_as])


def test_after_a_restart_all_is_new() -> None:
    assert counted([1]).since(counted([1, 2, 3])) == counted([1])
    assert Seen().quantile(0.99) is None
