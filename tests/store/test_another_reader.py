"""`docs/format.md` is enough: a program that knows only it reads what the store reads."""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import random
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.model.changes import (
    AddColumn,
    DropColumn,
    RenameColumn,
    ReorderColumns,
    SetPartitioning,
    SetProperties,
    WidenColumn,
)
from gristmill.model.predicates import Compare
from gristmill.store import Store, compute, open_store

from . import another_reader

FIXTURES = Path(__file__).parent / "fixtures"

ORDERS = pa.schema(
    [
        pa.field("id", pa.int64(), False),
        ("on", pa.date32()),
        ("at", pa.timestamp("us")),
        ("land", pa.string()),
        ("price", pa.decimal128(9, 2)),
        ("n", pa.int32()),
        ("raw", pa.binary()),
        ("s", pa.struct([("a", pa.int32()), ("lines", pa.list_(pa.struct([("x", pa.int32()), ("y", pa.string())])))])),
        ("m", pa.map_(pa.string(), pa.struct([("v", pa.int32())]))),
        ("_origin_unit", pa.int64()),
    ]
)


def rows(numbers: list[int], schema: pa.Schema = ORDERS) -> pa.Table:
    """Rows of every kind of value; only the columns that the schema has."""
    renamed = "count" in schema.names
    made = []
    for i in numbers:
        inner = {"alpha": i, "a": f"a{i}"} if renamed else {"a": i}
        row = {
            "id": i,
            "on": dt.date(2026, 1, 1 + i % 3) if i % 9 else None,
            "at": dt.datetime(2026, 1 + i % 2, 1, 2, 3, 4, i) if i % 11 else None,
            "land": ["de", "fr", "it", None][i % 4],
            "price": decimal.Decimal(i) / 100,
            "count": i if i % 5 else None,
            "n": (f"n{i}" if renamed else i) if i % 5 else None,
            "raw": bytes([i % 256]) if i % 3 else None,
            "s": {**inner, "lines": [{"x": i, "y": str(i)}, None] if i % 2 else []} if i % 7 else None,
            "m": [(str(i), {"v": i})] if i % 6 else None,
            "_origin_unit": i % 2,
        }
        made.append({name: row.get(name) for name in schema.names})
    return pa.Table.from_pylist(made, schema)


def current(store: Store) -> pa.Schema:
    return store.snapshot("main").table("orders").schema.to_arrow(hidden=True)


def live_through_much(store: Store) -> None:
    """Make a table whose files are of every kind: vectors, inlined rows, moved rows, old schemas, old specs."""
    random.seed(4)
    with store.begin("main") as tx:
        tx.create_table("orders", ORDERS, key="id", partition_by=["land", "month(at)"])
        tx.append("orders", rows(list(range(700))))
        tx.put_document("notes/one.txt", "ünd".encode())
    for number in range(4):
        with store.begin("main") as tx:
            tx.upsert("orders", rows(random.sample(range(750), 20)))
            tx.delete("orders", keys=pa.table({"id": random.sample(range(700), 15)}))
        if number == 3:
            with store.begin("main") as tx:
                tx.alter(
                    "orders",
                    SetPartitioning(("day(on)", "truncate(1, land)")),
                    SetProperties({"codec": "gzip"}),
                    RenameColumn("n", "count"),
                    AddColumn("n", pa.string()),
                    WidenColumn("count", pa.float64()),
                    RenameColumn("s.a", "alpha"),
                    AddColumn("s.a", pa.string()),
                    WidenColumn("s.lines.element.x", pa.int64()),
                    WidenColumn("price", pa.decimal128(12, 2)),
                )
                tx.upsert("orders", rows(list(range(100, 300)), tx.table("orders").schema.to_arrow(hidden=True)))
    for number in range(14):
        with store.begin("main") as tx:
            tx.upsert("orders", rows(random.sample(range(750), 1 + 30 * (number % 2)), current(store)))
            tx.delete("orders", keys=pa.table({"id": random.sample(range(700), 8)}))
    with store.begin("main") as tx:
        tx.alter("orders", DropColumn("s.lines.element.y"), AddColumn("s.lines.element.y", pa.string()))
        tx.alter("orders", ReorderColumns(("land", "id")), AddColumn("m.value.w", pa.int64()))
        tx.delete("orders", Compare("id", "<", 40))
        tx.upsert("orders", rows([5000, 5001], tx.table("orders").schema.to_arrow(hidden=True)))
    store.create_tag("v1")
    store.maintain()
    with store.begin("main") as tx:
        tx.upsert("orders", rows([7, 77, 777], tx.table("orders").schema.to_arrow(hidden=True)))


def same(store: Store, reader: another_reader.Reader, name: str, ref: str, commit: dict) -> int:
    """Check that both read the same, row for row, and return how many rows there are."""
    snapshot = store.snapshot(ref)
    plan = snapshot._plan(name, row_ids=True, sequence=True, hidden=True)
    known = {row.pop("_row_id"): row for row in compute.reader(plan).read_all().to_pylist()}
    found = {row.pop("_row_id"): row for row in reader.table(commit, name)}
    for row in found.values():
        row["_last_updated_sequence_number"] = row.pop("_sequence")
    assert found.keys() == known.keys()
    assert all(found[number] == row for number, row in known.items())
    return len(found)


def test_it_imports_nothing_of_ours() -> None:
    tree = ast.parse(Path(another_reader.__file__).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} == {
        "__future__", "collections", "datetime", "io", "pathlib", "pyarrow", "sqlite3", "struct",
    }  # fmt: skip


@pytest.mark.parametrize("compact", ["auto", "off"])
def test_another_program_reads_what_the_store_reads(tmp_path: Path, compact: str) -> None:
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "model.bin").write_bytes(bytes(range(256)) * 9)
    with open_store(tmp_path / "s", True, durability="none", compact=compact) as store:  # type: ignore[arg-type]
        live_through_much(store)
        with store.begin("main") as tx:
            tx.put_files("models.m", tmp_path / "given")
        reader = another_reader.Reader(tmp_path / "s")
        depth = store.commit_object(bytes.fromhex(store.resolve("main"))).depth
        kinds = set()
        for back in range(0, depth - 1, 5):
            commit = reader.commit("branch", "main", back)
            assert same(store, reader, "orders", f"main~{back}", commit) > 400
            state = reader.object(reader.space(commit, "tables")["orders"])
            for file in [*reader.below(state.get("root")), *reader.below(state.get("tail"))]:
                kinds |= {file.get("kind", "parquet"), f"spec {file.get('spec', 0)}", f"ids {file.get('stored_ids')}"}
                kinds |= {f"{min(len(file.get('vectors', [])), 2)} vectors"}
        assert same(store, reader, "orders", "v1", reader.commit("tag", "v1")) > 400
        assert kinds >= {"parquet", "inline", "spec 1", "spec 2", "ids True", "ids None", "0 vectors", "1 vectors"}
        assert kinds >= ({"2 vectors"} if compact == "off" else set())
        head = reader.commit("branch", "main")
        documents = reader.space(head, "documents")
        assert reader.object(documents["notes/one.txt"])["content"] == "ünd".encode()
        assert reader.files(head, "models.m") == {"model.bin": bytes(range(256)) * 9}
        reader.close()


@pytest.mark.parametrize("version", sorted(path.name for path in FIXTURES.glob("v*")))
def test_another_program_reads_the_stores_of_every_version(tmp_path: Path, version: str) -> None:
    import shutil

    shutil.copytree(FIXTURES / version, tmp_path / "s")
    with open_store(tmp_path / "s") as store:
        reader = another_reader.Reader(tmp_path / "s")
        head = reader.commit("branch", "main")
        assert same(store, reader, "t", "main", head) == 499
        for name in store.snapshot("main").tables():
            assert same(store, reader, name, "main", head)
        reader.close()


def test_bitmaps_of_every_kind_of_container() -> None:
    from pyroaring import BitMap

    cases = [set(), {1, 5}, set(range(66_000)), set(range(0, 140_000, 2)), {9, *range(65_536, 70_000), 2**31}]
    for wanted in cases:
        for run in (False, True):
            bits = BitMap(wanted)
            if run:
                bits.run_optimize()
            assert another_reader.positions(bits.serialize()) == wanted
