"""A store that cannot be written to shows its newest state, wherever that lies."""

import shutil

import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import StoreError
from gristmill.store import catalog


@pytest.mark.parametrize("index", [True, False], ids=["with the log's index", "without it"])
def test_what_is_only_in_the_log_is_seen(tmp_path, monkeypatch, index):
    store = gm.open(tmp_path / "a", create=True)
    store["main"].create_table("t", pa.schema({"x": pa.int64()})).append([{"x": 1}])
    shutil.copytree(tmp_path / "a", tmp_path / "b", ignore=None if index else shutil.ignore_patterns("*-shm"))
    assert (tmp_path / "b" / "catalog.db-wal").stat().st_size
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")}
    monkeypatch.setattr(catalog, "is_read_only", lambda folder: True)
    if not index:
        monkeypatch.setattr(catalog, "_LIVE", "mode=ro&vfs=none")
    copy = gm.open(tmp_path / "b")
    assert copy["main"]["t"].to_arrow()["x"].to_pylist() == [1]
    with pytest.raises(StoreError, match="read-only"):
        copy["main"]["t"].append([{"x": 2}])
    assert index or {path: path.stat().st_mtime_ns for path in (tmp_path / "b").rglob("*")} == before
