"""Queries as sources, on the three databases: what is landed, told apart, and found late."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest

import gristmill as gm
from gristmill import connect
from gristmill.errors import DataError, EngineError, UsageError
from gristmill.model.units import Unit

DATABASES = ["sqlite", "duckdb", pytest.param("postgres", marks=pytest.mark.service)]
MAKE = "CREATE TABLE orders (id BIGINT, amount DOUBLE PRECISION, moment {moment}, note TEXT)"

SELECT = "select id, amount, moment, note from orders"


class Shop:
    """A database with orders, and a project that reads them."""

    def __init__(self, root: Path, url: str, execute: Callable[[str], None]) -> None:
        self.root, self.url, self.execute = root, url, execute
        (root / "gristmill.toml").write_text('[project]\nname = "shop"\n')

    def put(self, *rows: tuple[int, float, str]) -> None:
        values = ", ".join(f"({i}, {amount}, '{at}', 'it''s é, \"x\"')" for i, amount, at in rows)
        self.execute(f"INSERT INTO orders VALUES {values}")

    def project(self, *, key: str = "", sql: str = SELECT, **options: object) -> gm.Project:
        project = gm.Project(self.root)
        project.source("raw.orders", gm.query(self.url, sql, **options), key=key or ())  # type: ignore[arg-type]
        return project


@pytest.fixture(params=DATABASES)
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Shop:
    kind = request.param
    if kind == "sqlite":
        file = tmp_path / "shop.db"

        def execute(sql: str) -> None:
            with sqlite3.connect(file) as connection:
                connection.execute(sql)
            connection.close()

        made = Shop(tmp_path, "sqlite:///shop.db", execute)
    elif kind == "duckdb":
        import duckdb

        file = tmp_path / "shop.duckdb"

        def execute(sql: str) -> None:
            with duckdb.connect(str(file)) as connection:
                connection.execute(sql)

        made = Shop(tmp_path, "duckdb:///shop.duckdb", execute)
    else:
        import psycopg

        url = request.getfixturevalue("postgres")

        def execute(sql: str) -> None:
            with psycopg.connect(url) as connection:
                connection.execute(sql)

        made = Shop(tmp_path, url, execute)
    made.execute(MAKE.format(moment="TEXT" if kind == "sqlite" else "TIMESTAMP"))
    return made


def ids(project: gm.Project) -> list[int]:
    return sorted(project.store.snapshot("main").to_arrow("raw.orders").column("id").to_pylist())


def test_a_snapshot_is_landed_once_and_again_only_when_it_changes(shop: Shop) -> None:
    shop.put((1, 1.5, "2026-01-01 10:00:00"), (2, 2.5, "2026-01-01 11:00:00"), (3, 0.1, "2026-01-01 11:00:00"))
    options = {"key": "id"}
    assert shop.project(**options).run().ok
    (row,) = [r for r in shop.project().store.snapshot("main").to_arrow("raw.orders").to_pylist() if r["id"] == 3]
    assert (row["amount"], row["note"]) == (0.1, 'it\'s é, "x"')
    assert shop.project(**options).run().record.status == "unchanged"
    shop.execute("DELETE FROM orders WHERE id = 2")
    shop.execute("UPDATE orders SET amount = 7 WHERE id = 1")
    project = shop.project(**options)
    assert project.run().ok
    assert ids(project) == [1, 3]
    (unit,) = project.store.snapshot("main").units("raw.orders").values()
    assert unit.ledger.delivered == 2
    assert unit.detail["rows_gone"] == "1"


def test_a_snapshot_keeps_the_ids_of_rows_that_stay(shop: Shop) -> None:
    shop.put((1, 1.5, "2026-01-01 10:00:00"), (2, 2.5, "2026-01-01 11:00:00"))
    project = shop.project(key="id")
    project.run()

    def row_ids() -> dict[int, int]:
        reader = project.store.snapshot("main").reader("raw.orders", row_ids=True)
        return {row["id"]: row["_row_id"] for row in reader.read_all().to_pylist()}

    before = row_ids()
    shop.execute("UPDATE orders SET amount = 7 WHERE id = 2")
    project.run()
    assert row_ids() == before


def test_a_cursor_reads_only_what_is_above_it(shop: Shop) -> None:
    shop.put((1, 1.0, "2026-01-01 10:00:00"), (2, 2.0, "2026-01-01 11:00:00"))
    assert shop.project(cursor="id").run().ok
    assert shop.project(cursor="id").run().record.status == "unchanged"
    shop.put((3, 3.0, "2026-01-01 12:00:00"))
    shop.execute("UPDATE orders SET amount = 99 WHERE id = 1")
    project = shop.project(cursor="id")
    assert project.run().ok
    assert ids(project) == [1, 2, 3]
    units = project.store.snapshot("main").units("raw.orders")
    assert sorted(units) == ["..2", "2..3"]
    assert units["2..3"].ledger.delivered == 1


def test_rows_of_one_moment_that_come_in_two_runs_are_all_landed_once(shop: Shop) -> None:
    shop.put((1, 1.0, "2026-01-01 10:00:00"), (2, 2.0, "2026-01-01 10:00:00"))
    shop.project(cursor="moment").run()
    shop.put((3, 3.0, "2026-01-01 10:00:00"), (2, 2.0, "2026-01-01 10:00:00"))
    project = shop.project(cursor="moment")
    assert project.run().ok
    assert ids(project) == [1, 2, 2, 3]  # the equal row is another row, and both are landed
    assert shop.project(cursor="moment").run().record.status == "unchanged"


def test_rows_committed_late_are_found_within_the_lag_and_none_is_doubled(shop: Shop) -> None:
    shop.put((1, 1.0, "2026-01-01 10:00:00"), (2, 2.0, "2026-01-01 12:00:00"))
    options = {"cursor": "moment", "lag": "3h"}
    shop.project(**options).run()
    shop.put((3, 3.0, "2026-01-01 11:00:00"))
    project = shop.project(**options)
    assert project.run().ok
    assert ids(project) == [1, 2, 3]
    shop.put((4, 4.0, "2026-01-01 13:00:00"), (5, 5.0, "2026-01-01 12:30:00"))
    assert project.run().ok
    assert ids(project) == [1, 2, 3, 4, 5]
    assert shop.project(**options).run().record.status == "unchanged"
    units = project.store.snapshot("main").units("raw.orders").values()
    assert sum(unit.ledger.delivered for unit in units) == 5


def test_a_reverted_window_stays_away_and_comes_back_when_released(shop: Shop) -> None:
    from gristmill.run.landing import release

    shop.put((1, 1.0, "2026-01-01 10:00:00"))
    project = shop.project(cursor="moment", lag="1h")
    project.run()
    shop.put((2, 2.0, "2026-01-01 12:00:00"))
    project.run()
    project.store.revert("main", on="main")
    shop.put((3, 3.0, "2026-01-01 14:00:00"))
    assert project.run().ok
    assert ids(project) == [1, 3]
    (held,) = [n for n, unit in project.store.snapshot("main").units("raw.orders").items() if unit.state == "held"]
    release(project.store, "main", "raw.orders", [held])
    shop.put((4, 4.0, "2026-01-01 13:30:00"))
    assert project.run().ok
    assert ids(project) == [1, 2, 3, 4]
    assert project.run().record.status == "unchanged"


def test_rows_without_a_cursor_value_stop_the_source(shop: Shop) -> None:
    shop.put((1, 1.0, "2026-01-01 10:00:00"))
    shop.execute("INSERT INTO orders VALUES (2, 2, NULL, 'x')")
    with pytest.raises(DataError) as caught:
        shop.project(cursor="moment").run()
    assert caught.value.code == "GM-D122"


def test_an_empty_query_waits(shop: Shop) -> None:
    assert [step.mode for step in shop.project(cursor="id").plan().steps] == ["wait"]


def test_a_query_that_fails_names_the_database_without_its_password(shop: Shop) -> None:
    with pytest.raises(EngineError) as caught:
        shop.project(sql="select 1 from nowhere").plan()
    assert "not-a-real-secret" not in str(caught.value)
    assert caught.value.code == "GM-E041"
    assert "nowhere" in caught.value.message


@pytest.mark.service
def test_postgres_types_come_as_the_server_declares_them(postgres: str, tmp_path: Path) -> None:
    sql = """select true as b, 1::int2 as i, 9007199254740993 as l, 0.1::float4 as f, 'NaN'::float8 as d,
        12.30::numeric(10, 2) as n, 'x,"y"\n'::text as t, null::text as none, '' as empty, date '2026-02-03' as day,
        timestamptz '2026-01-01 10:00:00.5+02' as z, time '10:11:12' as clock, '\\x00ff'::bytea as raw,
        '{"a": 1}'::jsonb as j, array[1, 2] as a, 1.5::numeric as free, uuid_nil() as u"""
    sql = sql.replace("uuid_nil()", "'00000000-0000-0000-0000-000000000000'::uuid")
    source = connect.query(postgres, sql)
    shape = source.infer(tmp_path, [])
    (row,) = rows_of(source, tmp_path, shape)
    assert (row["b"], row["i"], row["l"], row["n"]) == (True, 1, 9007199254740993, Decimal("12.30"))
    assert (row["t"], row["none"], row["empty"], row["day"]) == ('x,"y"\n', None, "", dt.date(2026, 2, 3))
    assert row["z"] == dt.datetime(2026, 1, 1, 8, 0, 0, 500_000, tzinfo=dt.UTC)
    assert (row["clock"], row["raw"], row["a"], row["free"]) == (dt.time(10, 11, 12), b"\x00\xff", "{1,2}", "1.5")
    assert any("a, free" in note for note in shape.assumptions)


def rows_of(source: connect.QuerySource, root: Path, shape: connect.Shape) -> list[dict[str, object]]:
    chunks = source.read(root, *_whole(source, root), shape=shape, number=1)
    return [row for chunk in chunks for row in chunk.rows.to_pylist()]


def _whole(source: connect.QuerySource, root: Path) -> list[connect.Found]:
    return source.discover(root, {})


@pytest.mark.service
def test_values_that_no_table_holds_set_their_row_aside(postgres: str, tmp_path: Path) -> None:
    source = connect.query(postgres, "select * from (values (1, date '2026-01-01'), (2, 'infinity')) v(i, d)")
    shape = source.infer(tmp_path, [])
    rows = source.read(tmp_path, *_whole(source, tmp_path), shape=shape, number=1)
    chunks = list(rows)
    assert sum(chunk.rows.num_rows for chunk in chunks) == 1
    (reject,) = [reject for chunk in chunks for reject in chunk.rejects]
    assert (reject.record, reject.column, rows.delivered) == (2, "d", 2)
    assert b"infinity" in reject.raw


@pytest.mark.service
def test_a_function_may_give_an_adbc_or_a_psycopg_connection(postgres: str, tmp_path: Path) -> None:
    import adbc_driver_postgresql.dbapi as adbc
    import psycopg

    for opener in (lambda: adbc.connect(postgres), lambda: psycopg.connect(postgres)):
        source = connect.query(opener, "select 1::int8 as a, 'x' as b", cursor="a")
        found = source.discover(tmp_path, {})
        shape = source.infer(tmp_path, found)
        rows = [row for chunk in source.read(tmp_path, *found, shape=shape, number=1) for row in chunk.rows.to_pylist()]
        assert [(row["a"], row["b"]) for row in rows] == [(1, "x")]


def test_a_function_may_give_any_db_api_connection(tmp_path: Path) -> None:
    import adbc_driver_sqlite.dbapi as adbc

    file = str(tmp_path / "a.db")
    with sqlite3.connect(file) as connection:
        connection.execute("create table t (a, b)")
        connection.execute("insert into t values (1, 'x'), (2, 3), (3, null)")
    connection.close()
    for opener in (lambda: sqlite3.connect(file), lambda: adbc.connect(file)):
        source = connect.query(opener, "select a from t order by a")
        shape = source.infer(tmp_path, [])
        chunks = list(source.read(tmp_path, *source.discover(tmp_path, {}), shape=shape, number=1))
        assert [a for chunk in chunks for a in chunk.rows.column("a").to_pylist()] == [1, 2, 3]
    mixed = connect.query(lambda: sqlite3.connect(file), "select b from t").infer(tmp_path, [])
    assert mixed.columns[0].type == "string"
    assert any("several kinds" in note for note in mixed.assumptions)


def test_what_cannot_be_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError):
        connect.query("sqlite:///a.db", "delete from t")
    with pytest.raises(UsageError):
        connect.query("sqlite:///a.db", "select 1", lag="1h")
    with pytest.raises(UsageError):
        connect.query("mysql://u:p@h/d", "select 1").infer(tmp_path, [])
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(UsageError, match="NOT_THERE"):
        connect.query("env:NOT_THERE", "select 1").infer(tmp_path, [])
    with pytest.raises(EngineError) as caught:
        connect.query("postgresql://ana:geheim@127.0.0.1:1/x", "select 1").infer(tmp_path, [])
    assert "geheim" not in str(caught.value)
    assert caught.value.retryable


def test_memory_stays_small_while_a_large_result_is_read(tmp_path: Path) -> None:
    source = connect.query(lambda: __import__("duckdb").connect(), "select range as a from range(2000000)")
    shape = source.infer(tmp_path, [])
    largest = total = 0
    for chunk in source.read(tmp_path, connect.Found(name="snapshot"), shape=shape, number=1):
        largest, total = max(largest, chunk.rows.num_rows), total + chunk.rows.num_rows
    assert total == 2_000_000
    assert largest <= 70_000


def test_the_key_of_a_query_is_the_key_of_its_table(shop: Shop) -> None:
    shop.put((1, 1.0, "2026-01-01 10:00:00"))
    project = gm.Project(shop.root)
    project.source("raw.orders", gm.query(shop.url, SELECT, cursor="moment", key="id"))
    project.run()
    shop.put((1, 2.0, "2026-01-01 11:00:00"))
    assert project.run().ok
    (row,) = project.store.snapshot("main").to_arrow("raw.orders").to_pylist()
    assert row["amount"] == 2.0


@pytest.mark.service
@pytest.mark.parametrize("kind", ["timestamptz", "date", "text", "numeric", "double precision"])
@pytest.mark.parametrize("driver", ["psycopg", "adbc"])
def test_cursors_of_many_types(postgres: str, tmp_path: Path, kind: str, driver: str) -> None:
    import adbc_driver_postgresql.dbapi as adbc
    import psycopg

    first, second, lag = {
        "timestamptz": ("2026-01-01 10:00:00.123456+02", "2026-01-01 10:00:00.123457+02", "1h"),
        "date": ("2026-01-01", "2026-01-03", "1d"),
        "text": ("it''s A", "it''s a", None),
        "numeric": ("1.5", "10.25", 1),
        "double precision": ("1.5", "10.25", 0.5),
    }[kind]
    connection = postgres if driver == "psycopg" else lambda: adbc.connect(postgres)
    source = connect.query(connection, "select c, v from t", cursor="c", lag=lag)
    known: dict[str, Unit] = {}
    with psycopg.connect(postgres, autocommit=True) as db:
        db.execute(f"create table t (c {kind}, v int)")
        for value in (first, second, first):
            db.execute(f"insert into t values ('{value}', 1)")
            (found,) = [one for one in source.discover(tmp_path, known) if one.status == "new"]
            shape = source.infer(tmp_path, [found])
            unit = source.read(tmp_path, found, shape=shape, number=len(known) + 1)
            assert sum(chunk.rows.num_rows for chunk in unit) == 1
            known[found.name] = Unit(name=found.name, number=len(known) + 1, digest="", detail=dict(unit.detail))
            assert not [one for one in source.discover(tmp_path, known) if one.status == "new"]
            if lag is None and len(known) == 2:
                return
            if kind in ("date", "numeric", "double precision") and len(known) == 2:
                return  # the third lies further back than lag


def test_duckdb_moments_with_a_zone_can_be_a_cursor(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "a.duckdb")) as db:
        moment = "timestamptz '2026-01-01 10:00:00.5+00' + interval (i) hour"
        db.execute(f"create table t as select {moment} as c, i from range(5) r(i)")
    source = connect.query("duckdb:///a.duckdb", "select * from t", cursor="c", lag="2h")
    (found,) = source.discover(tmp_path, {})
    unit = source.read(tmp_path, found, shape=source.infer(tmp_path, [found]), number=1)
    assert sum(chunk.rows.num_rows for chunk in unit) == 5
    assert unit.detail["window_rows"] == "3"
    landed = {found.name: Unit(name=found.name, number=1, digest="", detail=dict(unit.detail))}
    assert [one.status for one in source.discover(tmp_path, landed)] == ["same"]
