"""Stores of every format version open and read as they were written; `docs/format.md` says what is in them."""

from __future__ import annotations

import shutil
from pathlib import Path

import blake3
import msgspec
import pyarrow as pa
import pytest

from gristmill.model.predicates import Compare
from gristmill.store import open_store
from gristmill.store.catalog import FORMAT

FIXTURES = Path(__file__).parent / "fixtures"


def test_there_is_a_store_of_every_version() -> None:
    versions = {path.name.partition("-")[0] for path in FIXTURES.glob("v*")}
    assert versions == {f"v{number}" for number in range(1, FORMAT + 1)}


@pytest.mark.parametrize("name", sorted(path.name for path in FIXTURES.glob("v*")))
def test_a_store_of_an_older_version_opens(tmp_path: Path, name: str) -> None:
    shutil.copytree(FIXTURES / name, tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        snapshot = store.snapshot("main")
        rows = {row["id"]: row for row in snapshot.to_arrow("t").to_pylist()}
        assert len(rows) == 499
        assert (rows[1]["called"], rows[7]["called"], rows[7]["tags"]) == ("one", "n7", ["a", None])
        assert snapshot.digest("t").startswith("499:")
        assert store.snapshot("v1").document("notes/a.txt") == b"hello"
        assert [c.message for c in store.log("main", limit=3)] == ["third", "second", "first"]
        with store.begin("main") as tx:
            tx.append("t", pa.table({"id": [2]}))
        assert store.doctor(repair=True).healthy
        store.checkout(store.snapshot("main").files("models.m"), tmp_path / "out")
    assert (tmp_path / "out" / "model.bin").read_bytes() == bytes(range(256))


def test_partitions_of_an_older_store_are_found(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "v1-parts", tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        snapshot = store.snapshot("main")
        state = snapshot.table("parted")
        assert (state.row_count, state.partition_by) == (800, ("truncate(100, id)",))
        for number, value in ((77, 77), (777, 2**40)):
            plan = snapshot.scan("parted", where=Compare("id", "=", number))
            assert len(plan.files) == 1
            assert snapshot.to_arrow("parted", where=plan.where).to_pylist() == [{"id": number, "s": {"a": value}}]


def test_objects_are_named_as_the_document_says(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / f"v{FORMAT}", tmp_path / "store")
    with open_store(tmp_path / "store") as store:
        kinds = set()
        for oid, kind, data in store.catalog.rows("select id, kind, data from objects"):
            assert blake3.blake3(b"gristmill/1/" + kind.encode() + b"\0" + data).digest() == oid
            plain = msgspec.msgpack.decode(data)
            assert next(iter(plain.items())) == ("type", kind)
            kinds.add(kind)
    assert kinds == {"commit", "tree", "map", "text", "schema", "table", "manifest", "vector", "rows"}
