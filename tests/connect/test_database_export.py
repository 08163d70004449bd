"""Tables in databases: one transaction, a repeat is a no-op, and nothing is written over that is not ours."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill import connect
from gristmill.errors import Conflict, DataError, UsageError

DATABASES = ["sqlite", "duckdb", pytest.param("postgres", marks=pytest.mark.service)]
ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3]),
        "name": ['a "b", c\n', "", None],
        "price": pa.array([Decimal("1.10"), None, Decimal("-2.00")], pa.decimal128(10, 2)),
        "share": [0.1, None, 1e300],
        "yes": [True, False, None],
        "day": [dt.date(2026, 1, 1), None, dt.date(1, 1, 1)],
        "moment": pa.array([dt.datetime(2026, 1, 1, 10, tzinfo=dt.UTC), None, None], pa.timestamp("us", tz="UTC")),
        "raw": [b"\x00\xff", None, b""],
        "parts": [[1, 2], None, []],
    }
)


@pytest.fixture(params=DATABASES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres")) + "/marts.daily"
    return f"{request.param}:////{tmp_path}/a.db#daily".replace("////" + "/", "////")


def read(target: str, sql: str = "select * from {}") -> list[dict[str, object]]:
    from gristmill.connect.database_export import target_of

    place = target_of(target)
    name = "marts.daily" if place.schema else "daily"
    source = connect.query(place.connection, sql.format(name))
    shape = source.infer(Path("/"), [])
    chunks = source.read(Path("/"), connect.Found(name="snapshot"), shape=shape, number=1)
    rows = [row for chunk in chunks for row in chunk.rows.to_pylist()]
    return [{name: value for name, value in row.items() if not name.startswith("_origin")} for row in rows]


def export(rows: pa.Table, target: str, content: str = "v1") -> connect.Exported:
    return connect.export_table_to_database(rows.to_reader(2), target, content=content)


def test_rows_arrive_as_they_were_and_a_repeat_writes_nothing(target: str) -> None:
    done = export(ROWS, target)
    assert (done.rows, done.changed) == (3, True)
    assert "not-a-real-secret" not in done.target
    first, second, third = sorted(read(target), key=lambda row: str(row["id"]))
    assert (first["name"], second["name"], third["name"]) == ('a "b", c\n', "", None)
    assert (Decimal(str(first["price"])), first["share"], third["share"]) == (Decimal("1.10"), 0.1, 1e300)
    assert (bool(first["yes"]), bool(second["yes"]), third["yes"]) == (True, False, None)
    assert str(third["day"]) == "0001-01-01"
    assert str(first["moment"]).startswith("2026-01-01 10:00:00")
    assert (first["raw"], third["raw"]) == (b"\x00\xff", b"")
    assert str(first["parts"]) == "[1, 2]"
    assert not export(ROWS, target).changed
    assert export(ROWS.slice(0, 2), target, content="v2").rows == 2
    assert len(read(target)) == 2


def test_other_columns_make_the_table_anew(target: str) -> None:
    export(ROWS, target)
    export(pa.table({"other": ["x"]}), target, content="v2")
    assert read(target) == [{"other": "x"}]


def test_a_failure_half_way_leaves_the_table_as_it_was(target: str) -> None:
    export(ROWS, target)

    def batches() -> object:
        yield from ROWS.to_batches()
        raise DataError("the rows end here")

    with pytest.raises(DataError):
        connect.export_table_to_database(
            pa.RecordBatchReader.from_batches(ROWS.schema, batches()), target, content="v2"
        )
    assert len(read(target)) == 3
    assert not export(ROWS, target).changed


def test_a_table_that_others_made_is_not_written_over(target: str) -> None:
    export(ROWS, target)
    mine = target.replace("daily", "theirs")
    _run(target, "create table {} (a int)", "theirs")
    with pytest.raises(Conflict):
        export(ROWS, mine)


def test_rows_removed_by_hand_are_written_again(target: str) -> None:
    export(ROWS, target)
    _run(target, "delete from {} where id = 1", "daily")
    assert export(ROWS, target).changed
    assert len(read(target)) == 3


def _run(target: str, sql: str, table: str) -> None:
    if target.startswith("postgres"):
        import psycopg

        with psycopg.connect(target.rpartition("/")[0]) as connection:
            connection.execute(sql.format(f"marts.{table}"))
        return
    path = target.partition("://")[2].partition("#")[0].removeprefix("/")
    if target.startswith("sqlite"):
        import sqlite3

        with sqlite3.connect(path) as connection:
            connection.execute(sql.format(table))
        connection.close()
        return
    import duckdb

    with duckdb.connect(path) as connection:
        connection.execute(sql.format(table))


def test_a_value_that_the_target_cannot_hold_is_named_by_row_and_column(tmp_path: Path) -> None:
    rows = pa.table({"id": [1, 2, 3], "x": [0.5, 1.0, float("nan")]})
    with pytest.raises(DataError) as caught:
        export(rows, f"sqlite:///{tmp_path}/a.db#t".replace("///", "////", 1))
    assert caught.value.where == "row 3, column x"
    with pytest.raises(DataError) as caught:
        connect.export(rows.to_reader(2), tmp_path / "a.ndjson")
    assert caught.value.where == "row 3, column x"
    nested = pa.table({"id": [1], "x": [[float("inf")]]})
    with pytest.raises(DataError) as caught:
        connect.export(nested.to_reader(), tmp_path / "a.ndjson")
    assert caught.value.where == "row 1, column x"
    assert list(tmp_path.glob("*.ndjson")) == []


@pytest.mark.service
def test_postgres_is_told_of_text_that_it_cannot_hold(postgres: str) -> None:
    with pytest.raises(DataError) as caught:
        export(pa.table({"t": ["fine", "a\0b"]}), postgres + "#t")
    assert caught.value.where == "row 2, column t"


@pytest.mark.parametrize("text", ["postgresql://host/table", "sqlite:///a.db", "duckdb:///a.db#a.b.c"])
def test_a_target_without_a_table_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        export(ROWS, text)


def test_files_go_to_any_fsspec_url(tmp_path: Path) -> None:
    import fsspec

    done = connect.export(ROWS.select(["id"]).to_reader(), "memory://out/a.csv")
    assert done.rows == 3
    with fsspec.open("memory://out/a.csv") as file:
        assert file.read() == b'"id"\n1\n2\n3\n'
    done = connect.export(ROWS.to_reader(), f"file://{tmp_path}/deep/a.parquet")
    assert (tmp_path / "deep" / "a.parquet").stat().st_size == done.size_bytes


@pytest.mark.service
def test_two_exports_at_once_both_succeed(postgres: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    target = postgres + "/marts.daily"
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda n: export(ROWS, target, content=f"v{n % 2}"), range(4)))
    assert all(one.rows == 3 for one in done)
    assert len(read(target)) == 3
