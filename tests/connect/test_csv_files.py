"""Delimited files from discovery to rows, on clean and on broken input."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import connect
from gristmill.connect import csv_text, places
from gristmill.errors import DataError, GristmillError, UsageError
from gristmill.model.units import Unit
from tests.connect.landing import land, types, values, write


def test_every_type_is_inferred_from_the_whole_content(tmp_path: Path) -> None:
    write(
        tmp_path,
        "i,d,b,day,at,naive,s,zip,big,mixed\n"
        "1,1,true,2013-01-01,2013-01-01T10:00:00Z,2013-01-01 10:00:00,x,01234,9223372036854775808,1\n"
        "-2,.5e3,FALSE,2013-12-31,2013-01-01T10:00:00.25Z,2013-06-01 00:00:00.5,,1,1,1.5\n",
    )
    shape, table, rejects = land(tmp_path)
    assert not rejects
    assert types(shape) == {
        "i": "int64",
        "d": "double",
        "b": "boolean",
        "day": "date",
        "at": "timestamp",
        "naive": "timestamp",
        "s": "string",
        "zip": "string",
        "big": "string",
        "mixed": "double",
    }
    assert table["naive"][0].as_py() == datetime(2013, 1, 1, 10, tzinfo=UTC)
    assert table["zip"].to_pylist() == ["01234", "1"]
    assert table["s"].to_pylist() == ["x", None]


def test_a_cell_that_does_not_fit_makes_the_row_a_reject(tmp_path: Path) -> None:
    write(tmp_path, 'id,n\n1,10\n2,ten\n3,"multi\nline"\n4,0x1F\n5,1e999\n6,7\n')
    _, table, rejects = land(tmp_path, types={"n": "int64"})
    assert values(table) == [{"id": 1, "n": 10}, {"id": 6, "n": 7}]
    assert [(r.record, r.line, r.offset, r.raw, r.reason, r.column) for r in rejects] == [
        (2, 3, 10, b"2,ten\n", "type", "n"),
        (3, 4, 16, b'3,"multi\nline"\n', "type", "n"),
        (4, 6, 31, b"4,0x1F\n", "type", "n"),
        (5, 7, 38, b"5,1e999\n", "type", "n"),
    ]
    assert table["_origin_line"].to_pylist() == [2, 8]
    assert table["_origin_record"].to_pylist() == [1, 6]
    assert "'ten' is no int64" in rejects[0].message


def test_rows_with_another_number_of_cells_are_set_aside_and_never_shift(tmp_path: Path) -> None:
    write(tmp_path, "a,b,c\n1,2,3\n4,5\n6,7,8,9\n\n10,11,12\n")
    _, table, rejects = land(tmp_path)
    assert [list(row.values()) for row in values(table)] == [[1, 2, 3], [10, 11, 12]]
    assert [(r.record, r.line, r.reason, r.message) for r in rejects] == [
        (2, 3, "fields", "2 cells where 3 are expected"),
        (3, 4, "fields", "4 cells where 3 are expected"),
    ]


def test_null_words_found_and_null_words_declared(tmp_path: Path) -> None:
    write(tmp_path, 'n,s\n1,NA\nNA,x\n,"NA"\n"NA",""\n')
    shape, table, _ = land(tmp_path)
    assert shape.value_nulls == ("NA",)
    assert any("'NA' means null" in note for note in shape.assumptions)
    assert table["n"].to_pylist() == [1, None, None, None]
    assert table["s"].to_pylist() == ["NA", "x", "NA", ""]
    _, table, _ = land(tmp_path, nulls=["NA"])
    assert table["s"].to_pylist() == [None, "x", "NA", ""]


def test_nul_bytes_and_bytes_of_no_character_are_rejected_loudly(tmp_path: Path) -> None:
    write(tmp_path, b"a,b\n1,x\n2,y\0z\n3,\xe9t\xe9\n4,ok\n")
    _, table, rejects = land(tmp_path)
    assert table["a"].to_pylist() == [1, 4]
    assert [(r.reason, r.line, r.raw) for r in rejects] == [
        ("nul", 3, b"2,y\0z\n"),
        ("encoding", 4, b"3,\xe9t\xe9\n"),
    ]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "gbk"])
def test_encodings_and_marks(tmp_path: Path, encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "BLOCK_BYTES", 7)
    rows = [["id", "name"], ["1", "é😀" if encoding.startswith("utf") else "é"], ["2", "x\ny"], ["x", "z"]]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    path = write(tmp_path, out.getvalue().encode(encoding))
    marked = encoding in ("utf-8-sig", "utf-16", "utf-32")
    declared = {} if marked else {"encoding": encoding}
    _, table, rejects = land(tmp_path, types={"id": "int64"}, **declared)
    assert values(table) == [{"id": 1, "name": rows[1][1]}, {"id": 2, "name": "x\ny"}]
    assert [(r.line, r.record) for r in rejects] == [(5, 3)]
    raw = path.read_bytes()
    for offset, first in zip(table["_origin_offset"].to_pylist(), "12", strict=True):
        if encoding == "gbk":
            assert offset is None
        else:
            unmarked = {"utf-16": "utf-16-le", "utf-32": "utf-32-le", "utf-8-sig": "utf-8"}.get(encoding, encoding)
            assert raw[offset:].decode(unmarked)[0] == first
            assert raw[rejects[0].offset :] == rejects[0].raw


def test_preambles_are_set_aside_and_named(tmp_path: Path) -> None:
    write(tmp_path, "Report of 2013\n\na,b\n1,2\n3,4\n5,6\nTotal: 3 rows\n")
    shape, table, rejects = land(tmp_path)
    assert values(table) == [{"a": 1, "b": 2}, {"a": 3, "b": 4}, {"a": 5, "b": 6}]
    assert [(r.reason, r.line) for r in rejects] == [("preamble", 1), ("fields", 7)]
    assert any("preamble" in note for note in shape.assumptions)


def test_a_header_that_is_narrower_than_the_rows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a,b\nx,1,2\ny,3,4\n")
    with pytest.raises(DataError, match="the first record has 2 cells and the others have 3"):
        land(tmp_path)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    write(tmp_path, "a,b\n1,5;x\n2,5;y\n".replace(";", "#").replace(",", delimiter).replace("#", "_"))
    shape, table, _ = land(tmp_path)
    assert shape.dialect is not None
    assert shape.dialect.delimiter == delimiter
    assert table["b"].to_pylist() == ["5_x", "5_y"]


def test_a_file_without_header(tmp_path: Path) -> None:
    write(tmp_path, "1,x\n2,y\n")
    _shape, table, _ = land(tmp_path)
    assert values(table)[0] == {"column1": 1, "column2": "x"}
    _, table, _ = land(tmp_path, header=["id", "name"])
    assert values(table)[0] == {"id": 1, "name": "x"}


def test_files_with_other_columns(tmp_path: Path) -> None:
    write(tmp_path, "a,b\n1,2\n", "1.csv")
    write(tmp_path, "b,a,c\n3,4,5\n", "2.csv")
    shape, table, _ = land(tmp_path)
    assert values(table) == [{"a": 1, "b": 2, "c": None}, {"a": 4, "b": 3, "c": 5}]
    write(tmp_path, "a,bb\n1,2\n", "3.csv")
    source = connect.files("3.csv")
    with pytest.raises(DataError, match="column `bb`"):
        list(source.read(tmp_path, source.discover(tmp_path, {})[0], shape=shape, number=3))


def test_folders_become_columns(tmp_path: Path) -> None:
    for year, month in ((2013, "01"), (2014, "12")):
        write(tmp_path, "v\n7\n", f"lake/year={year}/month={month}/p.csv")
    shape, table, _ = land(tmp_path, "lake/**/*.csv")
    assert types(shape) == {"v": "int64", "year": "int64", "month": "string"}
    assert values(table)[0] == {"v": 7, "year": 2013, "month": "01"}
    assert "columns from folder names: year, month" in shape.assumptions


def test_discovery_knows_same_changed_and_gone(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n")
    source = connect.files("*.csv")
    (found,) = source.discover(tmp_path, {})
    assert (found.name, found.status, found.digest) == ("a.csv", "new", None)
    rows = source.read(tmp_path, found, shape=source.infer(tmp_path, [found]), number=1)
    list(rows)
    unit = Unit(name="a.csv", number=1, digest=rows.digest, size_bytes=found.size_bytes, modified_ns=found.modified_ns)
    known = {"a.csv": unit, "b.csv": unit}
    assert [f.status for f in source.discover(tmp_path, known)] == ["same", "gone"]
    path.touch()
    assert source.discover(tmp_path, known)[0].status == "same"
    path.write_text("a\n2\n")
    assert source.discover(tmp_path, known)[0].status == "changed"
    with pytest.raises(DataError, match="its content has changed"):
        connect.files("*.csv", on_change="refuse").discover(tmp_path, known)


def test_a_file_that_changes_between_discovery_and_reading_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a\n1\n")
    source = connect.files("*.csv")
    unit = Unit(name="a.csv", number=1, digest="0" * 64)
    (found,) = source.discover(tmp_path, {"a.csv": unit})
    shape = source.infer(tmp_path, [found])
    path.write_text("a\n2\n")
    with pytest.raises(DataError, match="changed while it was read") as caught:
        list(source.read(tmp_path, found, shape=shape, number=1))
    assert caught.value.retryable


def test_empty_and_header_only_files(tmp_path: Path) -> None:
    write(tmp_path, "", "0.csv")
    with pytest.raises(DataError, match="empty"):
        land(tmp_path)
    write(tmp_path, "a,b\n", "1.csv")
    shape, table, rejects = land(tmp_path)
    assert types(shape) == {"a": "string", "b": "string"}
    assert (table.num_rows, rejects) == (0, [])


def test_wrong_calls_say_what_is_right() -> None:
    for options in (
        {"delimiter": ",,"},
        {"quote": "é"},
        {"format": "cvs"},
        {"encoding": "utf-9"},
        {"nulls": "NA"},
        {"delimiter": '"', "quote": '"'},
    ):
        with pytest.raises(UsageError) as caught:
            connect.files("a.csv", **options)  # type: ignore[arg-type]
        assert caught.value.hint


cell = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8),
    st.sampled_from(["", "NA", "1", "-7", "2.5", "007", "true", "2013-01-01", "a,b", 'q"q', "x\r\ny", " 1", "0x1"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=20), st.integers(1, 40))
def test_what_was_written_comes_back(rows: list[tuple[str, str, str]], block: int) -> None:
    """As text: every cell comes back as written, whatever the block size; nothing is rejected."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "BLOCK_BYTES", block)
        root = Path(folder)
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b", "c"), *rows])
        write(root, out.getvalue())
        _shape, table, rejects = land(root, types=dict.fromkeys("abc", "string"), delimiter=",", header=True)
        assert not rejects
        assert [tuple(row.values()) for row in values(table)] == rows


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.integers(1, 20))
def test_any_bytes_end_in_rows_rejects_or_a_named_error(content: bytes, block: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(places, "BLOCK_BYTES", block)
        write(Path(folder), b"a,b\n" + content)
        with contextlib.suppress(GristmillError):
            land(Path(folder), delimiter=",", header=True)


def test_blocks_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(7)
    lines = ["id,n,s"]
    for i in range(400):
        lines.append(
            draw.choice([f"{i},{i},x", f'{i},{i}.5,"y\nz"', f'{i},NA,"a""b"', f"{i},1", f'{i},"2,z', f'{i},,5" x'])
        )
    write(tmp_path, "\n".join(lines))
    seen = []
    for size in (64, 1000, 1 << 20):
        monkeypatch.setattr(places, "BLOCK_BYTES", size)
        shape, table, rejects = land(tmp_path)
        seen.append((shape, table.to_pylist(), rejects))
    assert seen[0] == seen[2]
    assert seen[1] == seen[2]


def test_what_arrow_would_take_for_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marks inside the text, blocks without a sound record, lone line ends that come together."""
    monkeypatch.setattr(places, "BLOCK_BYTES", 4)
    write(tmp_path, "a,b\n1,x\n\ufeff,y\n2\n3\n4\n")
    _, table, rejects = land(tmp_path, types={"a": "string"}, delimiter=",", header=True)
    assert values(table) == [{"a": "1", "b": "x"}, {"a": "\ufeff", "b": "y"}]
    assert [reject.line for reject in rejects] == [4, 5, 6]
    monkeypatch.setattr(places, "BLOCK_BYTES", 1 << 20)
    write(tmp_path, b'a\nx\n\r"b"c\n\ny')
    _, table, rejects = land(tmp_path, delimiter=",", header=True)
    assert table["a"].to_pylist() == ["x", None, None, "y"]
    assert [(reject.line, reject.raw) for reject in rejects] == [(4, b'"b"c\n')]


def test_an_archive_of_bytes(tmp_path: Path) -> None:
    write(tmp_path, gzip.compress(b"a,b\n1,x\n") + gzip.compress(b"2,y\n"), "a.csv.gz")
    _, table, _ = land(tmp_path, "*.csv.gz")
    assert table["a"].to_pylist() == [1, 2]
    assert csv_text.mark_of(b"a") is None
