"""Where files come from: archives, codecs, URLs."""

from __future__ import annotations

import fnmatch
import gzip
import io
import typing
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet
import pytest
import zstandard
from fsspec.registry import _registry

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


@pytest.mark.parametrize("folder", ["we[ir]d", "st*r", "wh?t"])
def test_a_root_or_folder_with_marks_of_a_glob_is_taken_as_it_is(tmp_path: Path, folder: str) -> None:
    write(tmp_path / folder, TEXT, f"in {folder}/a.csv")
    for pattern in (f"in {folder}", "*/*.csv", f"in {folder}/a.csv"):
        assert values(land(tmp_path / folder, pattern)[1]) == ROWS


def test_names_with_the_mark_of_a_member_are_no_members(tmp_path: Path) -> None:
    write(tmp_path, TEXT, "1/a!b.csv")
    write(tmp_path, gzip.compress(TEXT), "2/wow!.csv.gz")
    write(tmp_path, _zip({"one!two.csv": TEXT}), "3/x!y.zip")
    write(tmp_path, _zip({"one.csv": TEXT}), "4/x.bin")
    write(tmp_path, TEXT, "5/day=wow!/a.csv")
    for folder in "123":
        assert values(land(tmp_path, f"{folder}/*")[1]) == ROWS
    assert values(land(tmp_path, "4/*", compression="zip")[1]) == ROWS
    assert land(tmp_path, "5/**/*")[1]["day"].to_pylist() == ["wow!", "wow!"]


def test_a_scheme_whose_package_is_missing_is_not_tried_again(tmp_path: Path) -> None:
    for url in ("nowhere://x/*.csv", "dropbox://x/a.csv"):
        with pytest.raises(EngineError) as caught:
            connect.files(url).discover(tmp_path, {})
        assert not caught.value.retryable


class Web(fsspec.AbstractFileSystem):  # type: ignore[misc]
    """A web server as fsspec shows it: nothing is found at a plain address, and no page is an empty page."""

    protocol = ("http", "https")
    cachable = False
    files: typing.ClassVar = {"http://h/a.csv?token=s3cret": TEXT, "http://h/in/b.csv": TEXT.replace(b"x", b"z")}
    status = 200

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return path

    def unstrip_protocol(self, name: str) -> str:
        return name

    def info(self, path: str, **_: object) -> dict[str, object]:
        if Web.status != 200 or path not in self.files:
            cause = OSError(f"{Web.status}, url='{path}'")
            cause.status = 404 if Web.status == 200 else Web.status  # type: ignore[attr-defined]
            raise FileNotFoundError(path) from cause
        return {"name": path, "size": None, "type": "file"}

    def ls(self, path: str, detail: bool = True, **_: object) -> list[object]:
        if Web.status != 200:
            raise OSError(f"{Web.status}, url='{path}'")
        names = [name for name in self.files if name.startswith(path)]
        return [self.info(name) for name in names] if detail else names

    def find(self, path: str, **_: object) -> dict[str, object]:
        return {}

    def glob(self, path: str, **_: object) -> dict[str, object]:
        found = [] if Web.status != 200 else fnmatch.filter(self.files, path)
        return {name: self.info(name) for name in found}

    def _open(self, path: str, mode: str = "rb", **_: object) -> io.BytesIO:
        return io.BytesIO(self.files[path])


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Web]]:
    monkeypatch.setitem(_registry, "http", Web)
    yield Web
    Web.status = 200


def test_a_plain_web_address_is_read_and_its_token_is_told_to_nobody(tmp_path: Path, web: type[Web]) -> None:
    source = connect.files("http://h/a.csv?token=s3cret")
    (found,) = source.discover(tmp_path, {})
    assert found.name == "http://h/a.csv"
    assert "s3cret" not in str(source.describe())
    assert values(land(tmp_path, "http://h/a.csv?token=s3cret")[1]) == ROWS
    assert connect.files("http://h/none.csv").discover(tmp_path, {}) == []
    assert [unit.name for unit in connect.files("http://h/in/*.csv").discover(tmp_path, {})] == ["http://h/in/b.csv"]


@pytest.mark.parametrize("pattern", ["http://h/a.csv?token=s3cret", "http://h/in/*.csv", "http://h/none.csv"])
def test_a_web_server_that_refuses_is_not_taken_for_one_without_files(
    tmp_path: Path, web: type[Web], pattern: str
) -> None:
    web.status = 503
    with pytest.raises(EngineError, match="503") as caught:
        connect.files(pattern).discover(tmp_path, {})
    assert caught.value.retryable
    assert "s3cret" not in str(caught.value)


def test_errors_while_a_remote_file_is_read_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system = fsspec.filesystem("memory")
    system.pipe("/broken/a.csv", TEXT)

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise RuntimeError("connection lost")

    try:
        monkeypatch.setattr(type(system), "_open", lambda *_, **__: Broken())
        with pytest.raises(EngineError, match="connection lost") as caught:
            land(tmp_path, "memory://broken/a.csv")
        assert caught.value.retryable
        assert caught.value.where == "memory:///broken/a.csv"
    finally:
        system.rm("/broken", recursive=True)
