"""Where files come from: archives, codecs, URLs."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard

from gristmill import connect
from gristmill.errors import DataError, EngineError
from tests.connect.landing import land, values, write

TEXT = b"a,b\n1,x\n2,y\n"
ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


def test_codecs_by_name_and_declared(tmp_path: Path) -> None:
    write(tmp_path, gzip.compress(TEXT), "1/a.csv.gz")
    write(tmp_path, zstandard.compress(TEXT[:6]) + zstandard.compress(TEXT[6:]), "2/a.csv.zst")
    write(tmp_path, gzip.compress(TEXT), "3/a.csv")
    assert values(land(tmp_path, "1/*")[1]) == ROWS
    assert values(land(tmp_path, "2/*")[1]) == ROWS
    assert values(land(tmp_path, "3/*", compression="gzip")[1]) == ROWS


@pytest.mark.parametrize("name", ["a.csv.gz", "a.csv.zst", "a.csv.zip"])
def test_cut_and_false_archives_are_refused(tmp_path: Path, name: str) -> None:
    whole = {"gz": gzip.compress, "zst": zstandard.compress, "zip": lambda b: _zip({"a.csv": b})}[name[6:]](TEXT * 99)
    for content in (whole[:-9], whole[: len(whole) // 2], TEXT):
        write(tmp_path, content, name)
        with pytest.raises(DataError) as caught:
            land(tmp_path, name)
        assert caught.value.where is not None


def _zip(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in members.items():
            bundle.writestr(name, content)
    return out.getvalue()


def test_members_of_an_archive_are_units(tmp_path: Path) -> None:
    write(tmp_path, _zip({"y=1/a.csv": TEXT, "b.csv": TEXT, "__MACOSX/._b.csv": b"junk"}), "in/all.zip")
    source = connect.files("in/*.zip", format="csv")
    found = source.discover(tmp_path, {})
    assert [f.name for f in found] == ["in/all.zip!b.csv", "in/all.zip!y=1/a.csv"]
    assert values(land(tmp_path, "in/*.zip")[1]) == ROWS + ROWS


@pytest.mark.parametrize("name", ["../a.csv", "/etc/a.csv", "C:/a.csv", "a/../../b.csv", "..\\a.csv"])
def test_names_that_lead_out_of_an_archive_are_refused(tmp_path: Path, name: str) -> None:
    write(tmp_path, _zip({name: TEXT}), "a.zip")
    with pytest.raises(DataError, match="unsafe name"):
        connect.files("a.zip").discover(tmp_path, {})


def test_any_fsspec_url(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/lake/year=2013/a.csv", TEXT)
    system.pipe("/lake/year=2014/b.csv.gz", gzip.compress(TEXT))
    try:
        shape, table, _ = land(tmp_path, "memory://lake/**/*")
        assert [column.name for column in shape.columns] == ["a", "b", "year"]
        assert table["year"].to_pylist() == [2013, 2013, 2014, 2014]
        found = connect.files("memory://lake/year=2013/a.csv").discover(tmp_path, {})
        assert [f.name for f in found] == ["memory:///lake/year=2013/a.csv"]
        sink = io.BytesIO()
        pa.parquet.write_table(pa.table({"a": [1]}), sink)
        system.pipe("/lake/p.parquet", sink.getvalue())
        assert land(tmp_path, "memory://lake/p.parquet")[1]["a"].to_pylist() == [1]
    finally:
        system.rm("/lake", recursive=True)


def test_places_that_are_not_there(tmp_path: Path) -> None:
    assert connect.files("nothing/*.csv").discover(tmp_path, {}) == []
    with pytest.raises(DataError, match="no file to infer"):
        land(tmp_path, "nothing/*.csv")
    with pytest.raises(EngineError):
        connect.files("nowhere://x/*.csv").discover(tmp_path, {})


def test_secrets_in_urls_are_not_shown() -> None:
    source = connect.files("s3://key:secret@bucket/path/*.csv?token=secret")
    assert source.describe()["pattern"] == "s3://bucket/path/*.csv"


def test_hidden_files_and_work_files_are_left_out(tmp_path: Path) -> None:
    for name in ("in/a.csv", "in/.b.csv", "in/_tmp/c.csv", "in/_SUCCESS"):
        write(tmp_path, TEXT, name)
    found = connect.files("in").discover(tmp_path, {})
    assert [f.name for f in found] == ["in/a.csv"]
