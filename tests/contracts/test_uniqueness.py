"""Uniqueness is exact however it is proven: by order, by counting in one pass, or by counting in several."""

import random

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.contracts import Surroundings, check, rules, uniqueness


def failing(values: list[object], kind: str, **options: object) -> int:
    with duckdb.connect() as con:
        con.execute(f"CREATE TABLE t (v {kind})")
        con.executemany("INSERT INTO t VALUES (?)", [[value] for value in values])
        return check(con, "t", [rules.unique("v", **options)], table="t").findings[0].failed_rows  # type: ignore[arg-type]


def doubled(values: list[object]) -> int:
    there = [value for value in values if value is not None]
    return sum(there.count(value) > 1 for value in there)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), min_size=1, max_size=30))
def test_counts_agree_with_plain_python(values: list[object]) -> None:
    assert failing(values, "INTEGER") == doubled(values)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.none(), st.text("abé", max_size=2)), min_size=1, max_size=30))
def test_counts_in_passes_agree_with_plain_python(values: list[object]) -> None:
    rows = uniqueness._ROWS_PER_PASS
    uniqueness._ROWS_PER_PASS = 3
    try:
        assert failing(values, "VARCHAR") == doubled(values)
    finally:
        uniqueness._ROWS_PER_PASS = rows


@pytest.mark.parametrize("zeros", [[0.0, -0.0], [-0.0, 0.0, 1.0]])
def test_both_zeros_are_one(zeros: list[object]) -> None:
    assert failing(zeros, "DOUBLE") == 2


def test_rising_rows_and_shuffled_rows_agree() -> None:
    values: list[object] = list(range(1000))
    assert failing(values, "BIGINT") == 0
    random.Random(1).shuffle(values)
    assert failing(values, "BIGINT") == 0
    assert failing([*values, 7], "BIGINT") == 2


def test_a_double_of_a_stored_row_is_found() -> None:
    with duckdb.connect() as con:
        con.execute("CREATE TABLE new AS SELECT range AS v FROM range(10)")
        con.execute("CREATE TABLE old AS SELECT range + 9 AS v FROM range(10)")
        near = Surroundings(stored="old")
        found = check(con, "new", [rules.unique("v")], table="new", surroundings=near).findings[0]
        assert (found.failed_rows, str(found.examples[0])) == (1, "v=9")
