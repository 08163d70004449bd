"""Predicates: pruning never loses a row, SQL means the same, text and pyarrow expressions are read right."""

from __future__ import annotations

import datetime as dt

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.errors import UsageError
from gristmill.model.predicates import (
    Always,
    And,
    Compare,
    In,
    IsNull,
    Not,
    Or,
    Predicate,
    Range,
    from_pyarrow,
    may_match,
    parse_where,
    positive,
    to_sql,
)

values = st.integers(-3, 3)
leaves = st.one_of(
    st.builds(Compare, st.sampled_from("ab"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), values),
    st.builds(In, st.sampled_from("ab"), st.lists(values, max_size=3).map(tuple), st.booleans()),
    st.builds(IsNull, st.sampled_from("ab"), st.booleans()),
    st.builds(Always, st.booleans()),
)
predicates = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Not, inner),
    ),
    max_leaves=6,
)
rows = st.lists(st.tuples(st.none() | values, st.none() | values), min_size=1, max_size=5)
CON = duckdb.connect()


def kept(predicate: Predicate, rows: list[tuple[int | None, int | None]]) -> list[object]:
    table = pa.table({"a": pa.array([r[0] for r in rows], pa.int64()), "b": pa.array([r[1] for r in rows], pa.int64())})
    CON.register("t", table)
    return CON.sql(f"SELECT a, b FROM t WHERE {to_sql(predicate, lambda n: n)}").fetchall()


def ranges(rows: list[tuple[int | None, int | None]]) -> dict[str, Range]:
    found = {}
    for index, name in enumerate("ab"):
        known = [row[index] for row in rows if row[index] is not None]
        low, high = (min(known), max(known)) if known else (None, None)
        found[name] = Range(low, high, len(rows) - len(known), len(rows))
    return found


@given(predicates, rows)
def test_pruning_never_loses_a_row(predicate: Predicate, rows: list[tuple[int | None, int | None]]) -> None:
    if kept(predicate, rows):
        assert may_match(predicate, ranges(rows))


@given(predicates, rows)
def test_without_not_it_keeps_the_same_rows(predicate: Predicate, rows: list[tuple[int | None, int | None]]) -> None:
    assert kept(positive(predicate), rows) == kept(predicate, rows)


def test_ranges_prune() -> None:
    stats = {"a": Range(1, 5, 0, 10)}
    assert not may_match(Compare("a", "=", 6), stats)
    assert not may_match(In("a", (0, 9)), stats)
    assert not may_match(IsNull("a"), stats)
    assert not may_match(Compare("a", ">", 5), stats)
    assert may_match(Compare("a", ">=", 5), stats)


@pytest.mark.parametrize("value", ["it's", "a\0b", "", 'q"', "\\", b"\x00'\xff", -1.5, dt.date(2026, 1, 2), True])
def test_literals_come_back(value: object) -> None:
    from gristmill.model.predicates import literal

    assert CON.sql(f"SELECT {literal(value)}").fetchall() == [(value,)]  # type: ignore[arg-type]


def test_text() -> None:
    columns = ["a", "b", "when"]
    assert parse_where("a between 1 and 2", columns) == And((Compare("a", ">=", 1), Compare("a", "<=", 2)))
    assert parse_where("1 < A", columns) == Compare("a", ">", 1)
    assert parse_where("a not in (1)", columns) == In("a", (1,), negated=True)
    assert parse_where("\"when\" > date '2026-01-02'", columns) == Compare("when", ">", dt.date(2026, 1, 2))


@pytest.mark.parametrize(
    "text", ["q = 1", "lower(a) = 'x'", "a like 'x'", "a = 1 group by b", "a = 1; drop table t", "a in (select 1)", "("]
)
def test_text_that_says_more_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_where(text, ["a", "b"])
    assert error.value.hint or error.value.code == "GM-U020"


def test_pyarrow_expressions() -> None:
    a, b = pc.field("a"), pc.field("b")
    assert from_pyarrow((a > 5) & (b == 'x"y')) == And((Compare("a", ">", 5), Compare("b", "=", 'x"y')))
    assert from_pyarrow(~b.isin(["q", "r"])) == In("b", ("q", "r"), negated=True)
    assert from_pyarrow(a.is_null() | a.is_valid()) == Or((IsNull("a"), IsNull("a", negated=True)))
    when = pa.scalar(dt.datetime(2026, 1, 2, 3, 4))
    assert from_pyarrow(a >= when) == Compare("a", ">=", dt.datetime(2026, 1, 2, 3, 4))
    for refused in (a + 1 > 3, a == b):
        with pytest.raises(UsageError):
            from_pyarrow(refused)
    with pytest.raises(UsageError):
        from_pyarrow(a == b"61", binary=["a"])
