"""Definitions that change on several branches at once, and rows that must suit both."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pyarrow as pa
import pytest

from gristmill.errors import Conflict
from gristmill.model.changes import (
    AddColumn,
    Change,
    DropColumn,
    RenameColumn,
    ReorderColumns,
    SetKey,
    SetPartitioning,
    SetProperties,
    SetRequired,
    WidenColumn,
)
from gristmill.store import Store, Transaction

LINE = pa.struct([("x", pa.int32()), ("y", pa.string())])
ORDERS = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("small", pa.int32()),
        ("price", pa.decimal128(5, 2)),
        ("s", pa.struct([("a", pa.int32()), ("b", pa.string()), ("lines", pa.list_(LINE))])),
        ("m", pa.map_(pa.string(), LINE)),
    ]
)
ROW = {
    "id": 1, "name": "one", "small": 7, "price": None,
    "s": {"a": 1, "b": "b", "lines": [{"x": 1, "y": "y"}, None]}, "m": [("k", {"x": 2, "y": "z"})],
}  # fmt: skip


@pytest.fixture
def orders(store: Store) -> Store:
    with store.begin("main") as tx:
        tx.create_table("t", ORDERS)
        tx.append("t", pa.Table.from_pylist([ROW], ORDERS))
    store.create_branch("side")
    return store


def alter(store: Store, branch: str, *changes: Change) -> None:
    with store.begin(branch) as tx:
        tx.alter("t", *changes)


def merged(store: Store) -> dict[str, object]:
    """Merge, and return the first row."""
    store.merge("side", into="main")
    assert store.doctor().healthy
    return next(row for row in store.snapshot("main").to_arrow("t").to_pylist() if row.get("id") == 1)


def test_parts_of_one_column_merge(orders: Store) -> None:
    alter(orders, "main", RenameColumn("small", "tiny"), WidenColumn("price", pa.decimal128(9, 2)))
    alter(orders, "side", WidenColumn("small", pa.int64()), WidenColumn("price", pa.decimal128(12, 2)))
    assert merged(orders)["tiny"] == 7
    schema = orders.snapshot("main").table("t").schema.to_arrow()
    assert (schema.field("tiny").type, schema.field("price").type) == (pa.int64(), pa.decimal128(12, 2))


def test_nested_fields_merge_by_id(orders: Store) -> None:
    alter(
        orders,
        "main",
        AddColumn("s.new", pa.string()),
        WidenColumn("s.lines.element.x", pa.int64()),
        RenameColumn("s.a", "alpha"),
        AddColumn("m.value.more", pa.int32()),
    )
    alter(
        orders,
        "side",
        AddColumn("s.other", pa.int32()),
        DropColumn("s.lines.element.y"),
        WidenColumn("s.a", pa.int64()),
        RenameColumn("m.value.x", "ex"),
        AddColumn("s.new", pa.string()),
    )
    with orders.begin("side") as tx:
        rows = [
            {
                "id": 2,
                "s": {"a": 2**40, "b": None, "lines": [{"x": 5}], "other": 3, "new": "n"},
                "m": [("q", {"ex": 1})],
            }
        ]
        tx.append("t", pa.Table.from_pylist(rows, tx.table("t").schema.to_arrow()))
    row = merged(orders)
    assert row["s"] == {"alpha": 1, "b": "b", "lines": [{"x": 1}, None], "new": None, "other": None}
    assert row["m"] == [("k", {"ex": 2, "y": "z", "more": None})]
    second = next(row for row in orders.snapshot("main").to_arrow("t").to_pylist() if row["id"] == 2)
    assert second["s"] == {"alpha": 2**40, "b": None, "lines": [{"x": 5}], "new": "n", "other": 3}
    assert second["m"] == [("q", {"ex": 1, "y": None, "more": None})]


@pytest.mark.parametrize("turned", [False, True])
def test_an_order_of_columns_given_on_one_side_stays(orders: Store, turned: bool) -> None:
    one, two = ("side", "main") if turned else ("main", "side")
    alter(orders, one, ReorderColumns(("m", "s", "name")), AddColumn("z", pa.int64()))
    alter(orders, two, AddColumn("q", pa.int64()))
    merged(orders)
    names = orders.snapshot("main").table("t").schema.names
    assert tuple(name for name in names if name not in "zq") == ("m", "s", "name", "id", "small", "price")
    assert {"z", "q"} <= set(names)


CLASHES: dict[str, tuple[Change, Change]] = {
    "order": (ReorderColumns(("name",)), ReorderColumns(("small",))),
    "name": (RenameColumn("name", "x"), RenameColumn("name", "y")),
    "nested name": (RenameColumn("s.a", "x"), RenameColumn("s.a", "y")),
    "one name for two": (RenameColumn("name", "x"), RenameColumn("small", "x")),
    "one nested name for two": (RenameColumn("s.a", "x"), AddColumn("s.x", pa.int64())),
    "dropped and widened": (DropColumn("small"), WidenColumn("small", pa.int64())),
    "dropped and renamed within": (DropColumn("s"), RenameColumn("s.a", "x")),
    "dropped within and widened within": (DropColumn("s.a"), WidenColumn("s.a", pa.int64())),
    "divided by what is dropped": (SetPartitioning(("name",)), DropColumn("name")),
    "added with two types": (AddColumn("x", pa.int64()), AddColumn("x", pa.string())),
}


@pytest.mark.parametrize("name", CLASHES)
@pytest.mark.parametrize("turned", [False, True])
def test_what_both_sides_changed_is_a_conflict_that_changes_nothing(orders: Store, name: str, turned: bool) -> None:
    one, two = CLASHES[name]
    alter(orders, "main", two if turned else one)
    alter(orders, "side", one if turned else two)
    head = orders.resolve("main")
    with pytest.raises(Conflict) as error:
        orders.merge("side", into="main")
    assert error.value.examples[0].startswith("t: ")
    assert orders.resolve("main") == head


def test_both_sides_drop_everything(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("a", pa.int64()), ("b", pa.int64())]))
    store.create_branch("side")
    alter(store, "main", DropColumn("a"))
    alter(store, "side", DropColumn("b"))
    with pytest.raises(Conflict):
        store.merge("side", into="main")


def test_rows_of_one_side_must_suit_what_the_other_demands(orders: Store) -> None:
    """Also where both sides have changed the definition: no null in a required column, no key twice."""
    for number, (demand, rows) in enumerate(
        [
            (SetRequired("name", True), {"id": [5], "z": [1]}),
            (SetKey(("id",)), {"id": [5, 5], "z": [1, 2]}),
            (SetKey(("id",)), {"id": [1], "z": [1]}),
        ]
    ):
        for one, two in (("main", f"a{number}"), (f"a{number}", "main")):
            start = orders.resolve("main")
            orders.create_branch(f"a{number}", at=start)
            alter(orders, one, demand)
            with orders.begin(two) as tx:
                tx.alter("t", AddColumn("z", pa.int64()), SetProperties({"owner": "bo"}))
                tx.append("t", pa.table(rows))
            head = orders.resolve("main")
            with pytest.raises(Conflict):
                orders.merge(f"a{number}", into="main")
            assert orders.resolve("main") == head
            orders.restore(start, on="main")
            orders.delete_branch(f"a{number}")


def test_a_demand_merges_with_a_definition_of_the_other_side(orders: Store) -> None:
    alter(orders, "main", AddColumn("z", pa.int64()))
    alter(orders, "side", SetRequired("name", True), SetKey(("id",)))
    merged(orders)
    assert orders.snapshot("main").table("t").key == ("id",)


def test_what_one_side_made_and_dropped_does_not_come_back(orders: Store) -> None:
    """The ids that a branch has used go with a merge; its dropped values would be found under them."""
    alter(orders, "side", AddColumn("x", pa.int64()))
    with orders.begin("side") as tx:
        tx.append("t", pa.table({"id": [3], "x": [99]}))
    alter(orders, "side", DropColumn("x"))
    orders.create_branch("late")
    with orders.begin("main") as tx:
        tx.append("t", pa.table({"id": [4]}))
    merged(orders)
    alter(orders, "main", AddColumn("x", pa.int64()))
    assert orders.snapshot("main").to_arrow("t").column("x").null_count == 3
    alter(orders, "late", AddColumn("x", pa.int64()))
    with pytest.raises(Conflict, match="changed the same") as error:
        orders.merge("side", into="late")
    assert "dropped a column `x`" in error.value.examples[0]


def test_a_commit_that_evolved_is_picked_and_reverted(orders: Store) -> None:
    with orders.begin("side", message="evolve") as tx:
        tx.alter("t", AddColumn("z", pa.int64()), RenameColumn("name", "called"), WidenColumn("small", pa.int64()))
        tx.append("t", pa.table({"id": [7], "z": [8], "small": [2**40]}))
    picked = orders.resolve("side")
    with orders.begin("main") as tx:
        tx.append("t", pa.table({"id": [4], "name": ["four"]}))
    done = orders.cherry_pick(picked, on="main")
    rows = {row["id"]: row for row in orders.snapshot("main").to_arrow("t").to_pylist()}
    assert (rows[1]["called"], rows[4]["called"], rows[7]["small"], rows[7]["z"]) == ("one", "four", 2**40, 8)
    with orders.begin("main") as tx:
        tx.append("t", pa.table({"id": [9], "called": ["nine"], "z": [1]}))
    orders.revert(done, on="main")
    rows = {row["id"]: row for row in orders.snapshot("main").to_arrow("t").to_pylist()}
    assert {key: row["name"] for key, row in rows.items()} == {1: "one", 4: "four", 9: "nine"}
    assert "z" not in rows[9]
    assert orders.snapshot("main").table("t").schema.field("small").type == "int"


def test_nested_names_go_round_without_bringing_values_back(orders: Store) -> None:
    """Rename, drop and add of one name within a struct, in files and inlined rows."""
    with orders.begin("main") as tx:
        tx.append("t", pa.Table.from_pylist([{**ROW, "id": number} for number in range(100, 700)], ORDERS))
        tx.alter(
            "t",
            RenameColumn("s.a", "old"),
            AddColumn("s.a", pa.string()),
            DropColumn("s.old"),
            RenameColumn("s.a", "c"),
            AddColumn("s.a", pa.int32()),
            RenameColumn("s.b", "d"),
            AddColumn("s.b", pa.string()),
            DropColumn("s.lines.element.x"),
            AddColumn("s.lines.element.x", pa.int32()),
        )
        new = {"id": 2, "s": {"c": "cc", "a": 5, "d": "dd", "b": "bb", "lines": [{"x": 9, "y": "y"}]}}
        tx.append("t", pa.Table.from_pylist([new], tx.table("t").schema.to_arrow()))
    for _ in range(2):
        rows = {row["id"]: row["s"] for row in orders.snapshot("main").to_arrow("t").to_pylist()}
        assert (
            rows[1] == rows[345] == {"c": None, "a": None, "d": "b", "b": None, "lines": [{"x": None, "y": "y"}, None]}
        )
        assert rows[2] == new["s"]
        orders.maintain()


def _append(tx: Transaction) -> None:
    tx.append("t", pa.table({"id": [50]}))


ACTS: dict[str, Callable[[Transaction], None]] = {
    "add": lambda tx: tx.alter("t", AddColumn("s.new", pa.int64()), AddColumn("new", pa.int64())),
    "drop": lambda tx: tx.alter("t", DropColumn("s.b"), DropColumn("small")),
    "rename": lambda tx: tx.alter("t", RenameColumn("s.a", "alpha"), RenameColumn("name", "called")),
    "widen": lambda tx: tx.alter("t", WidenColumn("s.lines.element.x", pa.int64())),
    "order": lambda tx: tx.alter("t", ReorderColumns(("s", "id"))),
    "settings": lambda tx: tx.alter("t", SetProperties({"codec": "gzip"}), SetPartitioning(("bucket(2, id)",))),
    "rows": _append,
}


def test_every_two_kinds_of_change_merge_the_same_in_both_directions(orders: Store) -> None:
    for one, two in itertools.combinations(ACTS, 2):
        found = []
        for first, second in ((one, two), (two, one)):
            for branch, act in (("x", first), ("y", second)):
                orders.create_branch(branch, at="main")
                with orders.begin(branch) as tx:
                    ACTS[act](tx)
            orders.merge("y", into="x")
            state, rows = orders.snapshot("x").table("t"), orders.snapshot("x").to_arrow("t")
            found.append((sorted(state.schema.names), state.properties, state.partition_by, rows.num_rows))
            assert rows.schema == state.schema.to_arrow()
            for branch in ("x", "y"):
                orders.delete_branch(branch)
        assert found[0] == found[1], (one, two)
