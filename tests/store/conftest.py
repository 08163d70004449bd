"""A store in a folder of its own, and the small tables that most tests use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.store import Store, open_store

PEOPLE = pa.schema([("id", pa.int64()), ("name", pa.string()), ("score", pa.float64())])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store", create=True, durability="none") as opened:
        yield opened


@pytest.fixture
def people(store: Store) -> Callable[..., pa.Table]:
    """Make a keyed table of people with ids 1 to 5 on main and return a maker of rows."""

    def rows(*ids: int, name: str = "n", score: float = 0.5) -> pa.Table:
        return pa.table({"id": list(ids), "name": [f"{name}{i}" for i in ids], "score": [score] * len(ids)}, PEOPLE)

    with store.begin("main", message="people") as tx:
        tx.create_table("people", PEOPLE, key="id")
        tx.append("people", rows(1, 2, 3, 4, 5))
    return rows


def content(store: Store, table: str = "people", ref: str = "main") -> dict[object, object]:
    """Return a keyed table as {first column: second column}."""
    rows = store.snapshot(ref).to_arrow(table)
    return dict(zip(rows.column(0).to_pylist(), rows.column(1).to_pylist(), strict=True))


def ids(store: Store, table: str = "people", ref: str = "main") -> dict[object, int]:
    """Return {first column: row id}."""
    rows = store.snapshot(ref).to_arrow(table, row_ids=True)
    return dict(zip(rows.column(0).to_pylist(), rows.column("_row_id").to_pylist(), strict=True))
