"""The store as users hold it: handles, frames, transactions, what is shown, and Ibis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import gristmill as gm
from gristmill.api.stores import Changes, Store
from gristmill.errors import DataError, NotFound, Stale, UsageError

SCHEMA = pa.schema([("carrier", pa.string()), ("seats", pa.int64())])


def rows(**seats: int) -> list[dict[str, object]]:
    return [{"carrier": name, "seats": number} for name, number in seats.items()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with gm.open(tmp_path / "store", create=True, durability="none") as opened:
        opened["main"].create_table("ref.airlines", SCHEMA, key="carrier").append(rows(UA=1, AA=2, DL=3))
        yield opened


def test_a_handle_reads_at_its_commit(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    assert (len(table), table.key, table.schema.names) == (3, ("carrier",), ["carrier", "seats"])
    store["main"]["ref.airlines"].append(rows(WN=4))
    assert len(table) == 3
    assert len(table.refresh()) == 4
    assert table.commit == store["main"].commit


def test_every_frame(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    expected = {"UA": 1, "AA": 2, "DL": 3}
    assert dict(zip(*table.to_arrow().to_pydict().values(), strict=True)) == expected
    assert dict(table.to_polars().rows()) == expected
    assert dict(table.to_pandas().itertuples(index=False)) == expected
    assert sum(batch.num_rows for batch in table.batches()) == 3
    assert pa.table(table).num_rows == 3
    assert duckdb.from_arrow(table).aggregate("sum(seats)").fetchall() == [(6,)]
    assert pa.schema(table.scan(columns=["seats"])) == pa.schema([("seats", pa.int64())])


def test_a_lazy_frame_asks_the_store_for_what_it_needs(store: Store) -> None:
    lazy = store["main"]["ref.airlines"].to_polars(lazy=True)
    assert lazy.filter(pl.col("seats") > 1).select("carrier").collect().sort("carrier").rows() == [("AA",), ("DL",)]
    assert lazy.filter(pl.col("carrier").str.len_chars() == 2, pl.col("seats") == 3).collect().height == 1
    assert lazy.head(1).collect().height == 1
    assert lazy.filter(pl.col("seats") * 2 == 4).select("carrier").collect().rows() == [("AA",)]


@pytest.mark.parametrize("where", ["seats >= 2", pc.field("seats") >= 2])
def test_scan(store: Store, where: object) -> None:
    scan = store.at("main")["ref.airlines"].scan(columns=["carrier"], where=where)  # type: ignore[arg-type]
    assert sorted(scan.to_arrow().column("carrier").to_pylist()) == ["AA", "DL"]
    with pytest.raises(UsageError, match="carier"):
        store.at("main")["ref.airlines"].scan(columns=["carier"])


def test_writes_return_their_commit_and_move_the_handle(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    for act in (
        lambda: table.append({"carrier": ["WN"], "seats": [4]}),
        lambda: table.upsert(pl.DataFrame(rows(WN=5))),
        lambda: table.delete(where="carrier = 'WN'", message="WN is gone"),
        lambda: table.replace(store.at("main")["ref.airlines"].to_polars(lazy=True).head(1)),
    ):
        assert act() == table.commit == store["main"].commit
    assert len(table) == 1
    assert [commit.message for commit in store.log(limit=2)] == ["replace ref.airlines", "WN is gone"]
    with pytest.raises(DataError):
        table.append(table)
    with pytest.raises(UsageError, match="fixed commit"):
        store.at("main")["ref.airlines"].append(rows(X=1))


def other_writer(store: Store) -> None:
    store["main"]["ref.airlines"].upsert(rows(UA=9))


def test_what_was_read_through_a_handle_is_relied_on(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    scan = table.scan(columns=["seats"])
    other_writer(store)
    table.append(rows(WN=4))
    assert len(table) == 4
    scan.to_arrow()
    other_writer(store)
    with pytest.raises(Stale) as error:
        table.append(rows(B6=5))
    assert "refresh" in str(error.value.hint)
    table.refresh().append(rows(B6=5))


def test_a_read_is_relied_on_by_every_later_write(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    total = len(table)
    table.upsert(rows(T1=total))
    other_writer(store)
    with pytest.raises(Stale):
        table.upsert(rows(T2=total))


def test_blind_writes(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    len(table)
    other_writer(store)
    with pytest.raises(Stale):
        table.upsert(rows(UA=5))
    stream = pa.Table.from_pylist(rows(UA=5)).to_reader()
    table.upsert(stream, blind=True)
    assert table.scan(where="carrier = 'UA'").to_arrow().column("seats").to_pylist() == [5]
    other_writer(store)
    table.delete(where="seats = 9", blind=True)
    assert sorted(table.to_polars()["carrier"]) == ["AA", "DL"]


def test_transactions_and_retry(store: Store) -> None:
    main = store["main"]
    with main.transaction("two") as tx:
        tx.create_table("log", pa.schema([("n", pa.int64())]))
        tx["log"].append([{"n": 1}])
        tx["ref.airlines"].delete(where="carrier = 'UA'")
        assert (len(tx["log"]), "log" in tx) == (1, True)
        assert tx["ref.airlines"].scan(where="seats > 0").to_arrow().num_rows == 2
    assert main.tables() == ["log", "ref.airlines"]

    def half(tx: Changes) -> None:
        tx["log"].append([{"n": 2}])
        tx["log"].append([{"m": 2}])

    with pytest.raises(DataError):
        main.retry(half)
    assert len(main["log"]) == 1

    def add(tx: Changes) -> None:
        number = len(tx["log"])
        if number == 1:
            main["log"].append([{"n": 7}])
        tx["log"].append([{"n": number}])

    main.retry(add)
    assert sorted(main["log"].to_polars()["n"]) == [1, 2, 7]


def test_branches_and_history(store: Store) -> None:
    fix = store.branch("fix", at="main")
    fix["ref.airlines"].append(rows(WN=4))
    assert len(store.diff("main", "fix").tables["ref.airlines"].inserted) == 1
    store.merge("fix", into="main")
    assert len(store["main"]["ref.airlines"]) == 4
    commit = store.tag("v1")
    store["main"]["ref.airlines"].append(rows(B6=5))
    store.revert("main")
    assert len(store["main"]["ref.airlines"]) == 4
    store["main"]["ref.airlines"].replace(rows(ZZ=1))
    store.restore("v1")
    assert store.at("main")["ref.airlines"].to_arrow() == store.at(commit)["ref.airlines"].to_arrow()
    assert [c.message for c in store.log("main", table="ref.airlines", limit=1)] == ["restore v1"]


def test_sql_and_ibis(store: Store) -> None:
    snapshot = store.at("main")
    assert snapshot.sql('select sum(seats) as n from "ref.airlines"').to_pylist() == [{"n": 6}]
    con = gm.ibis_connection(snapshot)
    table = con.table("ref.airlines")
    assert table.filter(table.seats > 1).select("carrier").to_pyarrow().num_rows == 2
    assert table.seats.sum().execute() == 6
    assert sorted(table.carrier.to_pyarrow().to_pylist()) == ["AA", "DL", "UA"]
    assert table.order_by("seats").to_polars()["carrier"][0] == "UA"
    assert table.to_pandas(limit=1).shape == (1, 2)
    assert table.to_pyarrow_batches().read_all().num_rows == 3
    assert "SELECT" in con.compile(table.seats.sum())
    with pytest.raises(NotFound, match="airline"):
        con.table("ref.airline")


def test_values_show_themselves(store: Store) -> None:
    main, table = store["main"], store["main"]["ref.airlines"]
    table.append(rows(**{"<b>": 1}))
    assert repr(table) == f"<table ref.airlines at {table.commit[:7]}: 4 rows, key carrier>"
    assert "&lt;b&gt;" in table._repr_html_()
    assert "<b>" not in table.scan(columns=["carrier"])._repr_html_()
    assert "ref.airlines" in store.at("main")._repr_html_()
    assert "main" in store._repr_html_()
    for value in (store, main, store.at("main"), table.scan(where="seats > 1"), gm.ibis_connection(store.at("main"))):
        assert repr(value).startswith("<")
    assert repr(store.diff("main~1", "main")) == "<diff: ref.airlines: +1 ~0 -0 rows>"
    assert repr(store.diff("main", "main")) == "<diff: nothing changed>"
    store["main"]["ref.airlines"].upsert(rows(UA=8))
    table.upsert(rows(AA=9))


def test_derived_tables_are_not_written_by_hand(store: Store) -> None:
    with store.engine.begin("main") as tx:
        from gristmill.model.changes import SetProperties

        tx.alter("ref.airlines", SetProperties({"kind": "derived"}))
    with pytest.raises(UsageError, match="definition"):
        store["main"]["ref.airlines"].append(rows(X=1))


def test_history_through_the_handle(tmp_path: Path) -> None:
    with gm.open(tmp_path / "s", create=True) as store:
        main = store["main"]
        table = main.create_table("t", pa.schema({"id": pa.int64()}))
        side = store.branch("side")
        for number in (1, 2):
            side["t"].append([{"id": number}], message=f"add {number}")
        store.cherry_pick("side", on="main")
        assert table.refresh().to_arrow().to_pylist() == [{"id": 2}]
        store.tag("v1")
        held = store.hold("audit", at="side~1", because="the numbers of May")
        assert store.holds() == {"audit": (held, "the numbers of May")}
        assert store.tags().keys() == {"v1"}
        for name in ("side", "v1", "audit"):
            store.delete(name)
        with pytest.raises(NotFound):
            store.delete("nope")
        assert (store.tags(), store.holds(), list(store.branches())) == ({}, {}, ["main"])
        moves = store.moves("side")
        assert [why for *_, why in moves] == ["delete", "add 2", "add 1", "create at main"]
        assert moves[0][1] == moves[1][2]


def test_definitions_change_within_a_transaction(tmp_path: Path) -> None:
    with gm.open(tmp_path / "s", create=True) as store:
        main = store["main"]
        main.create_table("t", pa.schema([("a", pa.int32()), ("s", pa.struct([("x", pa.int32())]))]))
        main["t"].append([{"a": 1, "s": {"x": 2}}])
        with main.transaction("evolve", idempotency_key="e1") as tx:
            table = tx["t"]
            table.add_column("s.y", pa.string())
            table.add_column("b", pa.string(), doc="what b is")
            table.rename_column("s.x", "ex")
            table.widen_column("a", pa.int64())
            table.set_required("a")
            table.set_key("a")
            table.reorder_columns("b", "s")
            table.append([{"a": 2**40, "b": "b", "s": {"ex": 1, "y": "y"}}])
        assert sorted(main["t"].to_arrow().to_pylist(), key=str) == [
            {"b": "b", "s": {"ex": 1, "y": "y"}, "a": 2**40},
            {"b": None, "s": {"ex": 2, "y": None}, "a": 1},
        ]
        assert main["t"].key == ("a",)
        with main.transaction() as tx:
            tx["t"].drop_column("s.y")
            tx["t"].set_key()
        assert main["t"].schema.field("s").type == pa.struct([("ex", pa.int32())])
        with pytest.raises(UsageError, match="cannot be widened"), main.transaction() as tx:
            tx["t"].widen_column("a", pa.int32())


def test_a_request_that_is_made_again_changes_nothing(tmp_path: Path) -> None:
    with gm.open(tmp_path / "s", create=True) as store:
        store["main"].create_table("t", pa.schema({"id": pa.int64()}))
        for _ in range(2):
            with store["main"].transaction("pay", idempotency_key="order-7") as tx:
                tx["t"].append([{"id": 7}])
        assert len(store["main"]["t"]) == 1


def test_rows_come_in_parts_or_not_at_all(store: Store) -> None:
    table = store["main"]["ref.airlines"]
    parts = [pa.RecordBatch.from_pylist(rows(**{name: 1}), SCHEMA) for name in ("B6", "WN")]
    table.append(part for part in parts)
    table.upsert(iter([pl.DataFrame(rows(B6=7)), pa.Table.from_batches(parts[1:])]), blind=True)
    assert len(table) == 5
    with pytest.raises(DataError, match="different columns"):
        table.append(iter([parts[0], pa.RecordBatch.from_pydict({"x": [1]})]))
    for nothing in ([], {}, iter(()), pa.table({})):
        table.append(nothing)
    assert len(table) == 5
    with pytest.raises(DataError, match="lack the column"):
        table.append([{"seats": 1}])
    table.replace([])
    assert len(table) == 0


@pytest.mark.parametrize("where", ["seats > 'many'", "carrier > 3", "seats in (1, 'x')"])
def test_a_condition_that_does_not_suit_a_column_says_so(store: Store, where: str) -> None:
    table = store["main"]["ref.airlines"]
    for act in (lambda: table.scan(where=where).to_arrow(), lambda: table.delete(where=where)):
        with pytest.raises(UsageError, match="does not suit its columns"):
            act()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        gm.open(tmp_path / "f", create=True)
