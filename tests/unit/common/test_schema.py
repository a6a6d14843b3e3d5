# SPDX-License-Identifier: Apache-2.0
"""Numbers and times as callers write them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from aerie_common import schema, times
from aerie_common.errors import InvalidField

PORT = schema.integer(1, 65535, text=True)


@pytest.mark.parametrize("value", [1, "1", 65535, "65535", "0080"])
def test_whole_number(value: Any) -> None:
    schema.compile_schema(PORT)(value)


@pytest.mark.parametrize(
    "value",
    [0, "0", -1, "-1", 65536, "65536", "9" * 400, 1e30, "", " 1", "1\n", "1_0", "1.0", "٣", "x", None, True, [1]],
)
def test_no_whole_number_within_its_bounds(value: Any) -> None:
    """A bound holds for a number in a string as for one that is none."""
    with pytest.raises(InvalidField):
        schema.compile_schema(PORT)(value)


@pytest.mark.parametrize("value", [2**63, -(2**63) - 1, 1e30, "1" * 20])
def test_whole_numbers_are_no_larger_than_a_database_holds(value: Any) -> None:
    with pytest.raises(InvalidField):
        schema.compile_schema(schema.integer(text=True))(value)


@pytest.mark.parametrize("value", [-1, "-1", "9" * 400, 1e308, "1e3", "inf", "nan"])
def test_no_number_within_its_bounds(value: Any) -> None:
    with pytest.raises(InvalidField):
        schema.compile_schema(schema.number(0, text=True))(value)


def test_time_in_any_zone() -> None:
    noon = datetime.datetime(2026, 1, 31, 12)
    for text in ("2026-01-31T12:00:00Z", "2026-01-31T14:00:00+02:00", "2026-01-31 12:00:00", "20260131T120000"):
        assert times.parse(text) == noon


@pytest.mark.parametrize("text", ["", "noon", "2026-02-30", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-01:00"])
def test_no_time(text: str) -> None:
    with pytest.raises(ValueError):
        times.parse(text)
