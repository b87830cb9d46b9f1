"""Token buckets against what they promise, on a clock moved by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.registry.buckets import SWEPT_AT_ONCE, Bucket, Buckets


def test_a_full_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = Bucket(10, burst_s=2)
    assert [bucket.take(100.0) for _ in range(20)] == [0.0] * 20
    assert bucket.take(100.0) == pytest.approx(0.1)
    assert bucket.take(100.05) == pytest.approx(0.05)
    assert bucket.take(100.1001) == 0.0


def test_what_is_refused_takes_nothing() -> None:
    bucket = Bucket(1, burst_s=1)
    assert bucket.take(50.0) == 0.0
    assert [bucket.take(50.5) for _ in range(9)] == [pytest.approx(0.5)] * 9


def test_a_rate_below_one_a_second_holds_one_token_at_least() -> None:
    bucket = Bucket(0.1, burst_s=1)
    assert bucket.take(50.0) == 0.0
    assert bucket.take(50.0) == pytest.approx(10.0)


def test_what_is_larger_than_the_bucket_passes_when_it_is_full_and_is_owed() -> None:
    bucket = Bucket(100, burst_s=1)
    assert bucket.take(50.0, 500) == 0.0
    assert bucket.take(50.0, 1) == pytest.approx(4.01)


@given(
    rate=st.floats(0.01, 1e6),
    burst_s=st.floats(0.01, 100.0),
    pauses=st.lists(st.floats(0.0, 10.0), min_size=1, max_size=200),
)
def test_in_no_time_is_more_taken_than_burst_and_rate_allow(
    rate: float, burst_s: float, pauses: list[float]
) -> None:
    bucket, now, taken = Bucket(rate, burst_s=burst_s), 1000.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now) == 0.0
    assert taken <= max(burst_s * rate, 1) + rate * (now - 1000.0) + 1e-3


@given(rate=st.floats(0.01, 1e6), waited=st.integers(0, 20))
def test_after_the_wait_it_was_told_there_is_room(rate: float, waited: int) -> None:
    bucket = Bucket(rate, burst_s=1)
    for _ in range(waited):
        bucket.take(100.0)
    assert bucket.take(100.0 + bucket.wait_s(100.0) + 1e-6) == 0.0


def test_each_name_has_a_bucket_of_its_own() -> None:
    logins: Buckets[str] = Buckets(1, burst_s=1, most=10)
    assert logins.wait_s("a", 50.0) == 0.0
    assert len(logins) == 0
    assert [logins.take("a", 50.0), logins.take("b", 50.0)] == [0.0, 0.0]
    assert logins.wait_s("a", 50.0) == pytest.approx(1.0)


def test_many_names_are_forgotten_the_full_ones_first() -> None:
    logins: Buckets[int] = Buckets(1, burst_s=100, most=SWEPT_AT_ONCE)
    for name in range(1000):
        logins.take(name, 50.0, 1 if name else 50)
    assert len(logins) == SWEPT_AT_ONCE
    late: Buckets[int] = Buckets(1, burst_s=100, most=2)
    late.take(0, 50.0, 50)
    late.take(1, 50.0)
    late.take(2, 60.0)
    assert late.wait_s(0, 60.0, 100) > 0, "the one that is not full yet is still known"
