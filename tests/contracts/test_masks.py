"""The fused scan against a plain reading of every rule, row by row, on random small frames."""

from __future__ import annotations

import math
import re

import duckdb
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.contracts import check, rules
from gristmill.model.rules import Rule

numbers = st.one_of(st.none(), st.sampled_from([0.0, -0.0, 1.5, -3.25, 7.0, 1e300, math.inf, -math.inf, math.nan]))
whole = st.one_of(st.none(), st.integers(-12, 12))
texts = st.one_of(
    st.none(), st.sampled_from(["", "a", "ab", "é", "e\u0301", "日本", "a\nb", "1", " 1 ", "%", "NULL", "'"])
)
frames = st.lists(st.tuples(numbers, numbers, whole, texts), max_size=12)

Row = dict[str, object]


def held(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


def compared(left: object, operator: str, right: object) -> bool:
    if left is None or right is None:
        return True
    return bool(
        {"<": left < right, "<=": left <= right, "=": left == right, "!=": left != right, ">": left > right,
         ">=": left >= right}[operator]  # type: ignore[operator]
    )  # fmt: skip


def either(n: int | None, t: str | None) -> bool:
    """``n > 0 OR t = 'a'`` in three-valued logic, where unknown passes."""
    left, right = None if n is None else n > 0, None if t is None else t == "a"
    return bool(left or right) or left is None or right is None


CASES: list[tuple[Rule, object]] = [
    (rules.not_null("x"), lambda r: r["x"] is not None),
    (rules.not_null("x", "t"), lambda r: r["x"] is not None and r["t"] is not None),
    (rules.between("x", low=-1, high=7), lambda r: r["x"] is None or -1 <= r["x"] <= 7),
    (rules.between("x", low=0, high=7, exclusive=True), lambda r: r["x"] is None or 0 < r["x"] < 7),
    (rules.between("n", above=-3, high=5), lambda r: r["n"] is None or -3 < r["n"] <= 5),
    (rules.between("t", low="a", high="b"), lambda r: r["t"] is None or b"a" <= r["t"].encode() <= b"b"),
    (rules.one_of("x", [0, 1.5, None]), lambda r: r["x"] is None or r["x"] in (0, 1.5)),
    (rules.one_of("t", ["a", "é", "'"]), lambda r: r["t"] in (None, "a", "é", "'")),
    (rules.not_in("t", ["", None]), lambda r: r["t"] != ""),
    (rules.not_missing("t", ["", "NULL"]), lambda r: r["t"] not in (None, "", "NULL")),
    (rules.not_missing("t", [""], nulls=False), lambda r: r["t"] != ""),
    (rules.matches("t", "^a"), lambda r: r["t"] is None or re.search("^a", r["t"]) is not None),
    (rules.not_matches("t", "b$"), lambda r: r["t"] is None or re.search(r"b\Z", r["t"]) is None),
    (rules.length("t", low=1, high=2), lambda r: r["t"] is None or 1 <= len(r["t"]) <= 2),
    (rules.like("t", ["a%", "_"]), lambda r: r["t"] is None or r["t"].startswith("a") or len(r["t"]) == 1),
    (rules.castable("t", "integer"), lambda r: r["t"] is None or re.fullmatch(r"\s*[+-]?\d+\s*", r["t"]) is not None),
    (rules.multiple_of("n", 3), lambda r: r["n"] is None or r["n"] % 3 == 0),
    (rules.compare("x", "<=", "y"), lambda r: compared(r["x"], "<=", r["y"])),
    (rules.compare("x", "!=", "y"), lambda r: compared(r["x"], "!=", r["y"])),
    (rules.null_together("x", "n"), lambda r: (r["x"] is None) == (r["n"] is None)),
    (rules.condition("n > 0 OR t = 'a'"), lambda r: either(r["n"], r["t"])),
    (rules.between("n", low=0, where="t = 'a'"), lambda r: r["t"] != "a" or r["n"] is None or r["n"] >= 0),
]  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(frames)
def test_the_mask_says_what_each_rule_says(given_rows: list[tuple[object, ...]]) -> None:
    table = pa.table(
        {
            name: pa.array([row[position] for row in given_rows], type_)
            for position, (name, type_) in enumerate(
                (("x", pa.float64()), ("y", pa.float64()), ("n", pa.int64()), ("t", pa.string()))
            )
        }
    )
    con = duckdb.connect()
    con.register("f", table)
    result = check(con, "f", [rule for rule, _ in CASES], table="f")
    rows = [{name: held(value) for name, value in zip("xynt", row, strict=True)} for row in given_rows]
    for finding, (rule, holds) in zip(result.findings, CASES, strict=True):
        assert finding.outcome != "error", finding.note
        wanted = sum(1 for row in rows if not holds(row))  # type: ignore[operator]
        assert (rule.code, finding.failed_rows) == (rule.code, wanted), rows
