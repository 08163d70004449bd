"""Rules on frames of every kind, and the kinds of rule that look at more than one row."""

import datetime
import decimal
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import CheckFailed, DataError, DefinitionError, UsageError

ROWS = {"id": [1, 2, 2], "at": [10, 20, 15]}
CONTRACT = """apiVersion: v3.1.0
kind: DataContract
id: c
version: 1.0.0
status: active
schema: [{name: frame, properties: [{name: id, logicalType: integer, unique: true}, {name: at, logicalType: integer}]}]
"""


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "duckdb"])
def test_any_frame_against_a_contract(kind: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(CONTRACT)
    table = pa.table(ROWS)
    with duckdb.connect() as con:
        frame = {
            "pandas": lambda: pd.DataFrame(ROWS),
            "polars": lambda: pl.DataFrame(ROWS),
            "lazy": lambda: pl.DataFrame(ROWS).lazy(),
            "arrow": lambda: table,
            "duckdb": lambda: con.from_arrow(table),
        }[kind]()
        report = gm.check(frame, tmp_path / "c.yaml")
    assert [finding.rule.code for finding in report.failures] == ["unique:id"]
    with pytest.raises(CheckFailed, match="1 of 4 rules failed"):
        report.raise_if_failed()


@pytest.mark.parametrize(
    ("rule", "outcome", "seen"),
    [
        (gm.rules.columns(["id", "at"], exact=True, ordered=True), "pass", ""),
        (gm.rules.columns(["at", "id"], ordered=True), "fail", "the order is id, at"),
        (gm.rules.columns(["id", "gone"]), "fail", "no column gone"),
        (gm.rules.has_type("id", "string"), "fail", "id is BIGINT"),
        (gm.rules.monotone("at", order_by="at"), "pass", ""),
        (gm.rules.monotone("id", order_by="at", strict=True), "fail", "1 of 3 rows"),
        (gm.rules.quantile("at", 0.5, low=15, high=15), "pass", "15"),
        (gm.rules.distinct("id", [1, 3]), "fail", "also 2; without 3"),
        (gm.rules.distinct("id", [1], "contains"), "pass", ""),
        (gm.rules.statistic("id", "distinct", equal=2), "pass", "2"),
        (gm.rules.query("select max(at) from ${table}", below=20), "fail", "20"),
        (gm.rules.sum_equal(["id", "at"], "at"), "fail", "3 of 3 rows"),
        (gm.rules.condition("nowhere > 1"), "error", None),
        (gm.rules.matches("nowhere", "x"), "not_checked", None),
        (gm.rules.fresh("id", within="1h"), "error", None),
    ],
)
def test_kinds(rule: gm.rules.Rule, outcome: str, seen: str | None) -> None:
    (finding,) = gm.check(pa.table(ROWS), [rule]).findings
    assert finding.outcome == outcome
    if seen is not None:
        assert finding.seen == seen


def test_time_buckets() -> None:
    times = pl.DataFrame(
        {"t": pl.Series(["2026-01-01 00:10", "2026-01-01 01:50", "2026-01-01 04:00"]).str.to_datetime()}
    )
    (finding,) = gm.check(times, [gm.rules.complete("t", every="1h")]).findings
    assert (finding.outcome, finding.observed) == ("fail", "2 of 5 buckets of 1h are empty")
    assert gm.check(times, [gm.rules.complete("t", every="1h", tolerance=2)]).ok


def test_one_rule_that_cannot_run_leaves_the_others() -> None:
    found = gm.check(pa.table(ROWS), [gm.rules.condition("bad("), gm.rules.between("at", high=16)]).findings
    assert [(finding.outcome, finding.failed_rows) for finding in found] == [("error", 0), ("fail", 1)]


def test_rules_read_no_files() -> None:
    (finding,) = gm.check(
        pa.table(ROWS), [gm.rules.condition("(select count(*) from read_text('/etc/hostname')) = 0")]
    ).findings
    assert finding.outcome == "error"


@pytest.mark.parametrize(
    "make",
    [
        lambda: gm.rules.matches("t", r"(?<!a)b"),
        lambda: gm.rules.matches("t", r"(a)\1"),
        lambda: gm.rules.format("t", "emial"),
        lambda: gm.rules.row_count(),
        lambda: gm.rules.row_count(low=1, on_fail="quarantine"),
        lambda: gm.rules.quantile("t", 2, low=1),
        lambda: gm.rules.fresh("t", within="soon"),
    ],
)
def test_what_cannot_be_meant_is_refused(make: object) -> None:
    with pytest.raises(DefinitionError):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("form", "good", "bad"),
    [
        ("email", "a.b+c@d-e.org", "a@b"),
        ("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
        ("ipv4", "192.168.0.255", "192.168.0.256"),
        ("ipv6", "2001:db8::1", "2001:db8:::1"),
        ("uri", "https://a.b/c?d=e", "a b"),
        ("hostname", "a-b.c", "-a.b"),
        ("date", "2024-02-29", "2023-02-29"),
        ("time", "23:59:60", "24:00:00"),
        ("date-time", "2024-02-29T10:00:00Z", "2024-02-29"),
        ("json", '{"a": 1}', "{a"),
        ("byte", "YWI=", "YWI"),
    ],
)
def test_formats(form: str, good: str, bad: str) -> None:
    (finding,) = gm.check(pa.table({"t": [good, bad, None]}), [gm.rules.format("t", form)]).findings
    assert (finding.failed_rows, str(finding.examples[0])) == (1, f"t={bad}")


@pytest.mark.parametrize(
    "low",
    [
        "2026-01-01",
        datetime.date(2026, 1, 1),
        datetime.datetime(2026, 1, 1),
        datetime.datetime(2026, 1, 1, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=1))),
        pd.Timestamp("2026-01-01"),
        np.datetime64("2026-01-01", "us"),
    ],
)
@pytest.mark.parametrize("zone", [None, "UTC"])
def test_a_bound_may_be_a_date_or_a_time(low: object, zone: str | None) -> None:
    times = [datetime.datetime(2025, 12, 31, 23), datetime.datetime(2026, 1, 1)]
    report = gm.check(pa.table({"t": pa.array(times, pa.timestamp("us", zone))}), [gm.rules.between("t", low=low)])
    assert report.findings[0].seen == "1 of 2 rows"


def test_a_value_to_compare_with_is_never_dropped() -> None:
    day = pa.table({"d": [datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)]})
    assert not gm.check(day, [gm.rules.one_of("d", [datetime.date(2026, 1, 1)])]).ok
    assert gm.check(day, [gm.rules.not_in("d", [datetime.date(2027, 1, 1)])]).ok
    assert not gm.check(pa.table({"x": [1.5, 2.5]}), [gm.rules.between("x", high=decimal.Decimal("1.5"))]).ok
    with pytest.raises(DefinitionError, match="cannot compare with a object"):
        gm.rules.between("x", low=object())


def test_text_is_compared_with_numbers_as_a_number() -> None:
    report = gm.check(
        pa.table({"x": ["9", "10", "100", "1000", "lots", None]}), [gm.rules.between("x", low=10, high=100)]
    )
    assert report.findings[0].seen == "3 of 6 rows"


@pytest.mark.parametrize(
    "frame",
    [
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        pd.DataFrame({"a": [1, "x"]}),
        pd.DataFrame(),
        pd.Series([1]),
        pa.table(
            {
                "a": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
                "b": pa.array([decimal.Decimal(10) ** 50], pa.decimal256(60, 0)),
            }
        ),
        None,
    ],
)
def test_what_cannot_be_read_says_so(frame: object) -> None:
    with pytest.raises(DataError) as caught:
        gm.check(frame, [gm.rules.not_null("a")])
    assert caught.value.code == "GM-D014"


def test_what_is_no_rule_says_so() -> None:
    for rules in (None, ["a > 0"], 3):
        with pytest.raises(UsageError):
            gm.check([{"a": 1}], rules)
