"""Which commit set each cell: through updates, rewrites to equal values, merges and tables made anew."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import NotFound
from gristmill.lineage import blame
from gristmill.store import Store, open_store

ROW = pa.schema([("k", pa.string()), ("a", pa.int64()), ("b", pa.int64())])


def rows(*values: tuple[str, int, int]) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(ROW.names, row, strict=True)) for row in values], ROW)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"), create=True, durability="none")


def upsert(store: Store, branch: str, *values: tuple[str, int, int], message: str = "") -> str:
    def change(tx: object) -> None:
        if "t" not in tx:  # type: ignore[operator]
            tx.create_table("t", ROW, key=("k",))  # type: ignore[attr-defined]
        tx.upsert("t", rows(*values))  # type: ignore[attr-defined]

    return store.retry(branch, change, message=message)


def setters(store: Store, ref: str = "main", key: str = "x") -> dict[str, str]:
    return {cell.column: cell.commit for cell in blame(store, ref, "t", key=key).cells}


def test_each_cell_is_its_last_change(store: Store) -> None:
    first = upsert(store, "main", ("x", 1, 1), ("y", 1, 1))
    second = upsert(store, "main", ("x", 1, 2))
    upsert(store, "main", ("y", 9, 9))
    third = upsert(store, "main", ("x", 3, 2))
    assert setters(store) == {"k": first, "a": third, "b": second}
    cell = next(c for c in blame(store, "main", "t", key="x").cells if c.column == "a")
    assert (cell.value, cell.before, cell.new) == (3, 1, False)
    assert setters(store, ref="main~1") == {"k": first, "a": first, "b": second}


def test_a_row_deleted_and_brought_again_is_new(store: Store) -> None:
    upsert(store, "main", ("x", 1, 1), ("y", 1, 1))
    store.retry("main", lambda tx: tx.delete("t", keys=pa.table({"k": ["x"]})))
    last = upsert(store, "main", ("x", 1, 1))
    assert set(setters(store).values()) == {last}


def test_a_merge_is_followed_to_the_side_that_brought_the_value(store: Store) -> None:
    first = upsert(store, "main", ("x", 1, 1), ("y", 1, 1))
    store.create_branch("fix", at="main")
    side = upsert(store, "fix", ("x", 1, 7))
    store.retry("main", lambda tx: tx.create_table("other", ROW))
    store.merge("fix", into="main")
    assert setters(store) == {"k": first, "a": first, "b": side}


def test_a_table_made_anew_is_followed_by_key(store: Store) -> None:
    first = upsert(store, "main", ("x", 1, 1))

    def again(tx: object) -> None:
        tx.drop_table("t")  # type: ignore[attr-defined]
        tx.create_table("t", ROW, key=("k",))  # type: ignore[attr-defined]
        tx.append("t", rows(("x", 1, 5)))  # type: ignore[attr-defined]

    second = store.retry("main", again)
    assert setters(store) == {"k": first, "a": first, "b": second}


def test_an_absent_row_and_too_many_rows_are_refused(store: Store) -> None:
    upsert(store, "main", ("x", 1, 1), ("y", 1, 1))
    with pytest.raises(NotFound):
        blame(store, "main", "t", key="z")
    with pytest.raises(NotFound, match="2 rows"):
        blame(store, "main", "t")


def test_cells_of_a_derived_table_name_their_run(made) -> None:  # type: ignore[no-untyped-def]
    made.land("orders/day2.csv", "id,customer,currency,day,amount\n5,ana,EUR,2026-01-07,100\n")
    project = made.load()
    assert project.run().ok
    assert {cell.column: cell.run for cell in project.blame("marts.customers", key="ana").cells} == {
        "customer": "run/1",
        "total": "run/2",
        "n": "run/2",
    }
