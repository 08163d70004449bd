"""Exports: every format reads back equal; nothing half-written is visible."""

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest

from gristmill.connect import export
from gristmill.errors import DataError, UsageError

ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "name": ["ana", 'b"o, x', None],
        "at": pa.array([datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)] * 3, pa.timestamp("us", "UTC")),
    }
)
READERS = {
    "parquet": pyarrow.parquet.read_table,
    "csv": pyarrow.csv.read_csv,
    "ndjson": pyarrow.json.read_json,
    "arrow": lambda path: pa.ipc.open_file(path).read_all(),
}


@pytest.mark.parametrize("ending", READERS)
def test_it_reads_back_equal(tmp_path: Path, ending: str) -> None:
    done = export(ROWS.to_reader(max_chunksize=2), tmp_path / f"rows.{ending}")
    assert done.rows == 3
    back = READERS[ending](tmp_path / f"rows.{ending}")
    assert back["id"].to_pylist() == [1, 2, 3]
    assert [name or None for name in back["name"].to_pylist()] == ["ana", 'b"o, x', None]


def test_a_failure_leaves_the_old_file_and_no_part_of_the_new(tmp_path: Path) -> None:
    target = tmp_path / "rows.ndjson"
    target.write_text("old")
    bad = pa.table({"x": [1.0, float("nan")]})
    with pytest.raises(DataError, match="row 2 holds nan in column `x`"):
        export(bad.to_reader(), target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_unknown_format_suggests_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="`parquet`"):
        export(ROWS.to_reader(), tmp_path / "rows", format="parqet")
