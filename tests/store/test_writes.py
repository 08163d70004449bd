"""Append, upsert, delete, replace: content, row ids, keys, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from gristmill.errors import Conflict, DataError, UsageError
from gristmill.model.predicates import Always, Compare, IsNull
from gristmill.store import SqlSource, Store, Transaction, compute

from .conftest import PEOPLE, content, ids

Rows = Callable[..., pa.Table]


def test_a_transaction_reads_its_own_writes(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.append("people", people(6))
        tx.upsert("people", people(1, 7, name="new"))
        tx.delete("people", Compare("id", "=", 2))
        assert sorted(tx.to_arrow("people").column("id").to_pylist()) == [1, 3, 4, 5, 6, 7]
        tx.upsert("people", people(6, name="again"))
    assert content(store) == {1: "new1", 3: "n3", 4: "n4", 5: "n5", 6: "again6", 7: "new7"}


def test_row_ids_stay_through_every_edit(store: Store, people: Rows) -> None:
    before = ids(store)
    with store.begin("main") as tx:
        tx.upsert("people", people(1, 2, 9, name="u"))
        tx.replace("people", people(1, 3, 5, 9, name="r"))
        tx.upsert("people", people(3))
    after = ids(store)
    assert {key: after[key] for key in (1, 3, 5)} == {key: before[key] for key in (1, 3, 5)}
    assert after[9] not in before.values()


@pytest.mark.parametrize("count", [1, 4, 5])
def test_replace_by_key_touches_what_differs(store: Store, people: Rows, count: int) -> None:
    before = ids(store)
    rows = pa.concat_tables([people(*range(1, count + 1), name="c"), people(*range(count + 1, 6)), people(8)])
    with store.begin("main") as tx:
        assert tx.replace("people", rows)
    assert content(store)[count] == f"c{count}"
    assert {k: v for k, v in ids(store).items() if k != 8} == before
    delta = store.diff("main~1", "main").tables["people"]
    assert (len(delta.updated), len(delta.inserted), len(delta.deleted)) == (count, 1, 0)


def test_replace_with_equal_rows_is_nothing(store: Store, people: Rows) -> None:
    head = store.resolve("main")
    with store.begin("main") as tx:
        assert not tx.replace("people", people(5, 4, 3, 2, 1))
    assert store.resolve("main") == head


def test_replace_without_key_compares_by_digest(store: Store) -> None:
    rows = pa.table({"a": [1, 1, 2], "b": [None, "x", ""]})
    with store.begin("main") as tx:
        tx.create_table("t", rows.schema)
        tx.append("t", rows)
    state = store.snapshot("main").table("t").id
    with store.begin("main") as tx:
        assert not tx.replace("t", rows.take([2, 0, 1]))
    assert store.snapshot("main").table("t").id == state
    with store.begin("main") as tx:
        assert tx.replace("t", rows.take([0, 1, 1]))
    assert store.snapshot("main").digest("t") != store.snapshot("main~1").digest("t")


def test_tokens_change_only_where_values_do(store: Store, people: Rows) -> None:
    before = store.snapshot("main").table("people").tokens
    rows = people(1, 2, 3, 4, 5).set_column(2, "score", pa.array([0.5, 0.5, 0.5, 0.5, 9.0]))
    with store.begin("main") as tx:
        tx.replace("people", rows)
    after = store.snapshot("main").table("people").tokens
    assert {name for name in before if before[name] != after[name]} == {"score"}


@pytest.mark.parametrize("rows", [[1, 6], [6, 6]])
def test_append_refuses_keys_that_repeat(store: Store, people: Rows, rows: list[int]) -> None:
    with pytest.raises(DataError) as error, store.begin("main") as tx:
        tx.append("people", people(*rows))
    assert error.value.code == "GM-D214"
    assert error.value.examples == (f"id={rows[0]}",)


def test_null_keys_and_required_nulls_are_refused(store: Store, people: Rows) -> None:
    with pytest.raises(DataError, match="requires a value"), store.begin("main") as tx:
        tx.append("people", pa.table({"id": pa.array([None, 7], pa.int64())}))
    con = duckdb.connect()
    with pytest.raises(DataError, match="requires a value"), store.begin("main") as tx:
        tx.upsert("people", SqlSource(con, "SELECT NULL::BIGINT AS id, 'x' AS name"))
    assert not list((store.path / "tmp").iterdir())


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        (pa.table({"id": [9], "nome": ["x"]}), "GM-D210"),
        (pa.table({"name": ["x"]}), "GM-D211"),
        (pa.table({"id": [9.5]}), "GM-D212"),
        (pa.table({"id": ["nine"]}), "GM-D212"),
    ],
)
def test_rows_that_do_not_fit_are_refused(store: Store, people: Rows, rows: pa.Table, code: str) -> None:
    head = store.resolve("main")
    with pytest.raises(DataError) as error, store.begin("main") as tx:
        tx.append("people", rows)
    assert error.value.code == code
    assert store.resolve("main") == head


def test_a_query_that_would_lose_values_is_refused(store: Store, people: Rows) -> None:
    con = duckdb.connect()
    with pytest.raises(DataError) as error, store.begin("main") as tx:
        tx.append("people", SqlSource(con, "SELECT 1.5::DOUBLE AS id"))
    assert error.value.code == "GM-D212"
    with store.begin("main") as tx:
        tx.append("people", SqlSource(con, "SELECT sum(i) AS id FROM range(5) r(i)"))
    assert 10 in content(store)


def test_any_frame_is_rows(store: Store, people: Rows) -> None:
    def stream() -> Iterator[pa.RecordBatch]:
        yield from people(30, 31).to_batches()

    with store.begin("main") as tx:
        tx.append("people", pd.DataFrame({"id": [10], "name": ["p"], "score": [1.0]}))
        tx.append("people", pl.DataFrame({"id": [20], "name": ["l"]}))
        tx.append("people", pa.RecordBatchReader.from_batches(PEOPLE, stream()))
        tx.append("people", duckdb.connect().sql("SELECT 40::BIGINT AS id"))
    assert sorted(content(store)) == [1, 2, 3, 4, 5, 10, 20, 30, 31, 40]
    with pytest.raises(UsageError), store.begin("main") as tx:
        tx.append("people", [1, 2])


def test_delete(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        assert tx.delete("people", keys=pa.table({"id": [1, 99]})) == 1
        assert tx.delete("people", IsNull("name")) == 0
        assert tx.delete("people", Always()) == 4
    state = store.snapshot("main").table("people")
    assert (state.row_count, state.file_count) == (0, 0)
    assert store.snapshot("main").to_arrow("people").schema.names == ["id", "name", "score"]


def test_many_files_many_vectors(store: Store, people: Rows) -> None:
    expected = dict.fromkeys(range(1, 6))
    with store.begin("main") as tx:
        for start in range(100, 140):
            tx.append("people", people(start, start + 1000))
            expected |= {start: None, start + 1000: None}
        for victim in (*range(1000, 1012), 1, 2):
            if tx.delete("people", Compare("id", "=", victim)):
                del expected[victim]
        tx.delete("people", Compare("id", ">=", 1120))
    expected = {key: None for key in expected if key < 1120}
    assert set(content(store)) == set(expected)


def test_files_that_cannot_hold_a_row_are_not_read(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        for start in range(1000, 5000, 1000):
            tx.append("people", people(*range(start, start + 300)))
    plan = store.snapshot("main").scan("people", where=Compare("id", "=", 2005), columns=["name"])
    assert len([file for file in plan.files if file.inline is None]) == 1
    assert compute.reader(plan).read_all().to_pylist() == [{"name": "n2005"}]


def test_large_streams_become_files_of_bounded_size(store: Store) -> None:
    con = duckdb.connect()
    sql = "SELECT i AS a, 'v' || (i % 100) AS b FROM range(300000) r(i)"
    with store.begin("main") as tx:
        tx.create_table("q", pa.schema([("a", pa.int64()), ("b", pa.string())]))
        tx.create_table("s", pa.schema([("a", pa.int64()), ("b", pa.string())]))
        tx.append("q", SqlSource(con, sql))
        tx.append("s", con.cursor().sql(sql))
    snapshot = store.snapshot("main")
    assert snapshot.digest("q") == snapshot.digest("s")
    for name in ("q", "s"):
        assert all(file.rows <= 262_144 for file in snapshot.scan(name).files)
        rows = snapshot.to_arrow(name, row_ids=True, columns=["a"])
        assert len(set(rows.column("_row_id").to_pylist())) == 300_000
    few = snapshot.to_arrow("s", where=Compare("a", ">=", 299_990), columns=["b"])
    assert few.num_rows == 10


def test_staged_rows_can_be_looked_at_and_filtered(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        staged = tx.stage("people", people(7, 8, 9))
        assert staged.row_count == compute.reader(staged.scan).read_all().num_rows == 3
        kept = tx.filter_staged(staged, "id > 7")
        tx.append("people", kept)
    assert sorted(content(store)) == [1, 2, 3, 4, 5, 8, 9]


def test_what_is_discarded_leaves_no_file(store: Store, people: Rows) -> None:
    before = sorted((store.path / "data").rglob("*.parquet"))

    def fail(tx: Transaction) -> None:
        tx.append("people", people(7))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.retry("main", fail)
    with pytest.raises(ZeroDivisionError), store.begin("main") as tx:
        fail(tx)
    assert sorted((store.path / "data").rglob("*.parquet")) == before


def test_the_same_rows_twice_are_two_files(store: Store) -> None:
    rows = pa.table({"a": list(range(1000))})
    with store.begin("main") as tx:
        tx.create_table("t", rows.schema)
        tx.append("t", rows)
        tx.append("t", rows)
        tx.delete("t", Compare("a", "=", 1))
    assert store.snapshot("main").table("t").row_count == 1998
    assert store.snapshot("main").to_arrow("t").num_rows == 1998


def test_hidden_columns(store: Store) -> None:
    rows = pa.table({"a": [1], "_origin_line": pa.array([7], pa.int64())})
    with store.begin("main") as tx:
        tx.create_table("t", rows.schema)
        tx.append("t", rows)
    snapshot = store.snapshot("main")
    assert snapshot.to_arrow("t").to_pylist() == [{"a": 1}]
    assert snapshot.to_arrow("t", hidden=True).to_pylist() == [{"a": 1, "_origin_line": 7}]
    assert snapshot.to_arrow("t", columns=["_origin_line"], where=Compare("a", "=", 1)).num_rows == 1


def test_a_table_cannot_be_made_twice(store: Store, people: Rows) -> None:
    with pytest.raises(Conflict), store.begin("main") as tx:
        tx.create_table("people", PEOPLE)


def test_hostile_names_and_values(store: Store) -> None:
    name = "a \"b\" 'c'; DROP TABLE x; --"
    rows = pa.table({name: ["it's", 'q"', "\\", "\0", None, "🙈", "x" * 100]})
    with store.begin("main") as tx:
        tx.create_table("t", rows.schema, key=[])
        tx.append("t", rows)
    snapshot = store.snapshot("main")
    assert snapshot.to_arrow("t").sort_by(name) == rows.sort_by(name)
    for value in rows.column(0).to_pylist()[:4]:
        assert snapshot.to_arrow("t", where=Compare(name, "=", value)).column(0).to_pylist() == [value]
    assert snapshot.digest("t").startswith("7:")


def test_statistics_bound_every_row_and_are_silent_where_they_do_not_know(store: Store) -> None:
    rows = pa.table({"id": range(400_000), "x": pa.array([None, *range(399_999)], pa.int64())})
    with store.begin("main", message="t") as tx:
        tx.create_table("t", rows.schema)
        staged = tx.stage("t", rows)
        assert (staged.ranges["x"].lower, staged.ranges["x"].upper, staged.ranges["x"].nulls) == (0, 399_998, 1)
        tx.append("t", staged)
    with store.begin("main", message="more") as tx:
        tx.append("t", pa.table({"id": [500_000], "x": pa.array([7], pa.int64())}))
    known = store.snapshot("main").ranges("t")
    assert "x" not in known or (known["x"].nulls, known["x"].rows) == (1, 400_001)
