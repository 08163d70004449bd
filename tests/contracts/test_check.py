"""The fused scan: counts, outcomes, what is set aside, and what was not looked at."""

from pathlib import Path

import duckdb
import pytest

from gristmill.contracts import check, rules
from gristmill.errors import Corrupt


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE t AS SELECT * FROM (VALUES
        (1, 'a', 10.0, 'x@y.z'), (2, 'b', NULL, 'no'), (3, 'a', 'nan'::DOUBLE, NULL), (3, NULL, 500.0, 'q@r.s')
        ) AS v(id, code, speed, mail)"""
    )
    con.execute("CREATE TABLE codes AS SELECT 'a' AS code")
    return con


def outcomes(connection: duckdb.DuckDBPyConnection, *given: object) -> list[tuple[str, int]]:
    result = check(connection, "t", given, table="t", show=["id"], references={"codes": "codes"})  # type: ignore[arg-type]
    return [(finding.outcome, finding.failed_rows) for finding in result.findings]


def test_a_null_breaks_only_rules_about_nulls(connection: duckdb.DuckDBPyConnection) -> None:
    found = outcomes(
        connection,
        rules.not_null("speed"),
        rules.between("speed", low=0, high=200, on_fail="quarantine"),
        rules.one_of("code", ["a", None]),
        rules.matches("mail", "^.+@.+$", on_fail="warn"),
    )
    assert found == [("fail", 2), ("warn", 1), ("fail", 1), ("warn", 1)]


def test_second_passes_find_duplicates_and_orphans(connection: duckdb.DuckDBPyConnection) -> None:
    assert outcomes(connection, rules.unique("id"), rules.references("code", "codes")) == [("fail", 2), ("fail", 1)]


def test_what_is_not_looked_at_is_said(connection: duckdb.DuckDBPyConnection) -> None:
    found = outcomes(connection, rules.not_null("nowhere"), rules.references("code", "lost"))
    assert [outcome for outcome, _ in found] == ["not_checked", "not_checked"]


def test_rows_set_aside_and_rows_that_stay_add_up(connection: duckdb.DuckDBPyConnection) -> None:
    aside = [rules.between("speed", high=200, on_fail="quarantine"), rules.not_null("code", on_fail="quarantine")]
    result = check(connection, "t", aside, table="t")
    kept, dropped = (connection.sql(sql).fetchall() for sql in result.split("t"))
    assert len(kept) == 3
    assert [row[-1] for row in dropped] == [["between:speed", "not_null:code"]]


def test_examples_name_the_row(connection: duckdb.DuckDBPyConnection) -> None:
    result = check(connection, "t", [rules.between("speed", high=200)], table="t", show=["id"])
    assert [str(example) for example in result.findings[0].examples] == ["id=3 speed=500.0"]
    assert not result.ok


def test_figures_have_bounds(connection: duckdb.DuckDBPyConnection) -> None:
    found = outcomes(
        connection,
        rules.row_count(low=1, high=3),
        rules.statistic("speed", "mean", low=0, high=300),
        rules.statistic("mail", "null_share", high=0.1, on_fail="warn"),
    )
    assert [outcome for outcome, _ in found] == ["fail", "pass", "warn"]


def test_more_rules_than_one_mask_holds(connection: duckdb.DuckDBPyConnection) -> None:
    many = [rules.between("id", low=bound) for bound in range(150)]
    found = outcomes(connection, *many)
    assert [failed for _, failed in found[:5]] == [0, 0, 1, 2, 4]
    assert len(found) == 150


def test_nan_is_missing_for_every_figure(connection: duckdb.DuckDBPyConnection) -> None:
    result = check(
        connection,
        "t",
        [rules.statistic("speed", name, low=-1e9) for name in ("mean", "sum", "min", "max", "median", "nulls")],  # type: ignore[arg-type]
        table="t",
    )
    assert [finding.observed for finding in result.findings] == ["255", "510", "10", "500", "255", "2"]


def test_nan_lies_in_every_range(connection: duckdb.DuckDBPyConnection) -> None:
    assert outcomes(connection, rules.between("speed", high=400), rules.between("speed", above=1, below=600)) == [
        ("fail", 1),
        ("pass", 0),
    ]


def test_dear_rules_show_the_same_examples_as_cheap_ones(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("CREATE TABLE many AS SELECT range AS id, 'x' || (range % 7) AS word FROM range(1000)")
    given = [
        rules.matches("word", "x[0-5]"),
        rules.one_of("word", [f"x{n}" for n in range(6)]),
        rules.condition("id < 9"),
    ]
    found = check(connection, "many", given, table="many", show=["id"]).findings
    assert [finding.failed_rows for finding in found] == [142, 142, 991]
    assert [str(row) for row in found[0].examples] == ["id=6 word=x6", "id=13 word=x6", "id=20 word=x6"]
    assert found[1].examples == found[0].examples
    assert [str(row) for row in found[2].examples] == ["id=9", "id=10", "id=11"]


def test_a_damaged_file_is_no_failing_rule(tmp_path: Path) -> None:
    file = tmp_path / f"{'a' * 64}-{'b' * 16}.parquet"
    with duckdb.connect() as con:
        con.execute(f"COPY (SELECT range AS n FROM range(100000)) TO '{file}' (FORMAT parquet)")
        con.execute(f"CREATE VIEW t AS SELECT * FROM read_parquet('{file}')")
        octets = file.read_bytes()
        file.write_bytes(octets[:100] + bytes(len(octets) - 600) + octets[-500:])
        with pytest.raises(Corrupt) as caught:
            check(con, "t", [rules.condition("n % 7 < 5"), rules.unique("n")], table="t")
    assert file.name in str(caught.value.where)
