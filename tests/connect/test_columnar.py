"""Parquet, Arrow, Feather and frames."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import feather

from gristmill import connect
from gristmill.errors import DataError, UsageError
from gristmill.model.units import Unit
from tests.connect.landing import land, types, values

TABLE = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int32()),
        "name": pa.array(["a", None, "c"]).dictionary_encode(),
        "at": pa.array([datetime(2013, 1, 1)] * 3, pa.timestamp("ms")),
        "tags": pa.array([["x"], [], None], pa.large_list(pa.large_string())),
    }
)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.feather", "stream.arrows"])
def test_typed_files_land_with_record_numbers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    table = TABLE
    if name.endswith("parquet"):
        pq.write_table(table, path)
    elif name.endswith("arrows"):
        with pa.ipc.new_stream(path, table.schema) as writer:
            writer.write_table(table)
    else:
        feather.write_feather(table, str(path))
    shape, got, rejects = land(tmp_path, name)
    assert not rejects
    assert types(shape)["at"] == "timestamp"
    assert types(shape)["name"] == "string"
    assert got["id"].to_pylist() == [1, 2, 3]
    assert got["_origin_record"].to_pylist() == [1, 2, 3]
    assert got["_origin_line"].null_count == 3
    assert any("without a zone are UTC" in note for note in shape.assumptions)


def test_files_of_several_widths_share_one_shape(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array([1], pa.int32())}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"a": pa.array([2**40], pa.int64()), "b": ["x"]}), tmp_path / "2.parquet")
    shape, table, _ = land(tmp_path, "*.parquet")
    assert types(shape) == {"a": "int64", "b": "string"}
    assert values(table) == [{"a": 1, "b": None}, {"a": 2**40, "b": "x"}]
    pq.write_table(pa.table({"a": ["x"]}), tmp_path / "3.parquet")
    with pytest.raises(DataError, match="the files disagree"):
        land(tmp_path, "*.parquet")


def test_a_value_that_would_lose_something_is_set_aside(tmp_path: Path) -> None:
    moments = pa.array([1_000, 1_001, None], pa.timestamp("ns"))
    pq.write_table(pa.table({"id": [1, 2, 3], "at": moments}), tmp_path / "a.parquet")
    _, table, rejects = land(tmp_path, "*.parquet")
    assert table["id"].to_pylist() == [1, 3]
    assert [(r.record, r.reason, r.column) for r in rejects] == [(2, "type", "at")]
    assert b'"id": "2"' in rejects[0].raw


def test_text_that_is_no_utf8_and_cut_files_are_refused(tmp_path: Path) -> None:
    bad = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"s": bad}), tmp_path / "bad.parquet")
    with pytest.raises(DataError, match="cannot be read") as caught:
        land(tmp_path, "bad.parquet")
    assert caught.value.where == "bad.parquet"
    pq.write_table(TABLE, tmp_path / "a.parquet")
    raw = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError):
        land(tmp_path, "a.parquet")
    (tmp_path / "old.feather").write_bytes(b"FEA1 and more")
    with pytest.raises(DataError, match="write it again as version 2"):
        land(tmp_path, "old.feather")


def test_names_of_origin_columns_are_kept(tmp_path: Path) -> None:
    pq.write_table(pa.table({"_origin_unit": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="kept for origins"):
        land(tmp_path, "a.parquet")


@pytest.mark.parametrize("kind", ["arrow", "batch", "reader", "pandas", "polars"])
def test_frames_of_every_kind(kind: str) -> None:
    table = pa.table({"a": [1, 2], "s": ["x", None]})
    made = {
        "arrow": lambda: table,
        "batch": lambda: table.to_batches()[0],
        "reader": lambda: table.to_reader(),
        "pandas": lambda: pd.DataFrame({"a": [1, 2], "s": ["x", None]}, index=[7, 8]),
        "polars": lambda: pl.from_arrow(table),
    }[kind]()
    source = connect.frame(made, name="mine")
    (found,) = source.discover(Path(), {})
    shape = source.infer(Path(), [found])
    rows = source.read(Path(), found, shape=shape, number=4)
    (chunk,) = rows
    assert values(pa.Table.from_batches([chunk.rows])) == [{"a": 1, "s": "x"}, {"a": 2, "s": None}]
    assert chunk.rows["_origin_unit"].to_pylist() == [4, 4]
    assert (rows.delivered, rows.digest) == (2, found.digest)
    unit = Unit(name="mine", number=4, digest=rows.digest)
    assert source.discover(Path(), {"mine": unit})[0].status == "same"


def test_what_is_no_frame_is_said_so() -> None:
    with pytest.raises(UsageError, match="a list is no frame"):
        connect.frame([1])
    with pytest.raises(DataError):
        connect.frame(pd.DataFrame({"a": [1, "x"]}))
