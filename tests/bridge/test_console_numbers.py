"""How the console writes numbers."""

from __future__ import annotations

import pytest

from bridge.console.templating import number


@pytest.mark.parametrize(
    ("value", "digits", "written"),
    [
        (None, 2, "–"),
        (0, 2, "0"),
        (12_345, 2, "12,345"),
        (12_345.6, 2, "12,346"),
        (-1234.567, 2, "-1,234.57"),
        (0.25, 2, "0.25"),
        (0.0, 2, "0.00"),
        (0.005, 2, "0.01"),
        (-0.004, 2, "-0.0040"),
        (0.04, 1, "0.040"),
        (0.00012, 3, "0.00012"),
        (0.0000012, 3, "0.0000012"),
        (0.0000009, 2, "0.00"),
        (1.4e-17, 2, "0.00"),
        (-1.4e-17, 2, "0.00"),
        (-0.0, 2, "0.00"),
        (5e-324, 1, "0.0"),
        (999_999_999_999.0, 2, "999,999,999,999"),
        (1_000_000_000_000, 2, "1,000,000,000,000"),
        (1e30, 2, "1e+30"),
        (-1.2345e30, 2, "-1.23e+30"),
        (1.7976931348623157e308, 1, "1.8e+308"),
    ],
)
def test_a_number_has_an_exponent_only_where_it_is_beyond_all_and_dust_is_none(
    value: float | None, digits: int, written: str
) -> None:
    assert number(value, digits) == written
