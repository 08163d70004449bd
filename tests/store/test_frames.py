"""Small files read as Arrow tables: the same rows as the engine reads, whatever has become of the table since."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import Corrupt
from gristmill.model.changes import AddColumn, DropColumn, RenameColumn, WidenColumn
from gristmill.model.predicates import Compare
from gristmill.store import Store, frames, kept, open_store

WIDE = pa.schema([("id", pa.int32()), ("name", pa.string()), ("a.b", pa.float32()), ("tags", pa.list_(pa.int32()))])


def rows(first: int, count: int = 300) -> pa.Table:
    ids = range(first, first + count)
    columns = [list(ids), [f"n{i}" for i in ids], [i / 2 for i in ids], [[i, None] for i in ids]]
    return pa.table(dict(zip(WIDE.names, columns, strict=True)), WIDE)


def grown(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", WIDE, key="id")
    for number in range(5):
        with store.begin("main") as tx:
            tx.append("t", rows(number * 300))
    with store.begin("main") as tx:
        tx.alter("t", RenameColumn("name", "label"), WidenColumn("id", pa.int64()), DropColumn("a.b"))
    with store.begin("main") as tx:
        tx.alter("t", AddColumn("more", pa.string()))
        tx.delete("t", Compare("id", "<", 310))
    with store.begin("main") as tx:
        tx.upsert(
            "t", pa.table({"id": [400, 5000], "label": ["new", "newer"], "tags": [[1], None], "more": ["x", "y"]})
        )


@pytest.mark.parametrize("columns", [None, ["more"], ["label", "id"], ["tags"]])
def test_the_engine_reads_the_same(store: Store, monkeypatch: pytest.MonkeyPatch, columns: list[str] | None) -> None:
    grown(store)
    view = store.snapshot("main")

    def read() -> pa.Table:
        found = view.to_arrow("t", columns=columns, row_ids=True, where=Compare("id", "!=", 77))
        return found.sort_by("_row_id")

    at_hand = [read(), read()]
    monkeypatch.setattr(frames, "SMALL_ROWS", 0)
    by_engine = read()
    assert by_engine.num_rows == 1191
    assert all(part.equals(by_engine) for part in at_hand)


def test_what_is_kept_stays_within_its_bound(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made = kept._Kept()
    monkeypatch.setattr(frames, "kept", made)
    monkeypatch.setattr(kept, "kept", made)
    monkeypatch.setattr(kept, "KEPT", 40_000)
    grown(store)
    for _ in range(3):
        assert store.snapshot("main").to_arrow("t", where=Compare("id", ">=", 0)).num_rows == 1191
    assert made._size <= 40_000 or len(made._held) == 1


def test_damage_is_still_named(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", create=True, durability="none") as store:
        grown(store)
        for file in (store.path / "data").rglob("*.parquet"):
            file.write_bytes(b"nothing of use")
    with open_store(tmp_path / "s") as store, pytest.raises(Corrupt, match="damaged"):
        kept.kept._held.clear()
        store.snapshot("main").to_arrow("t")
