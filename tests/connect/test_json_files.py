"""JSON and NDJSON: strict values, true lines and offsets, types without loss."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.connect import places
from gristmill.connect.json_text import strict, texts
from gristmill.errors import DataError
from tests.connect.landing import land, types, values, write


def test_a_bad_line_is_set_aside_with_its_line_and_text(tmp_path: Path) -> None:
    lines = [
        b'{"a": 1}',
        b"",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b"[1]",
        b'{"a": "x"}',
        b'  {"a": 2}\r',
        b'{"a": 3',
    ]
    write(tmp_path, b"\n".join(lines), "a.ndjson")
    _, table, rejects = land(tmp_path, "*.ndjson", types={"a": "int64"})
    assert values(table) == [{"a": 1}, {"a": 2}]
    assert table["_origin_line"].to_pylist() == [1, 7]
    assert table["_origin_record"].to_pylist() == [1, 6]
    raw = (tmp_path / "a.ndjson").read_bytes()
    assert [(r.line, r.reason, r.record) for r in rejects] == [
        (3, "json", 2),
        (4, "json", 3),
        (5, "json", 4),
        (6, "type", 5),
        (8, "json", 7),
    ]
    assert all(raw[r.offset : r.offset + len(r.raw)] == r.raw for r in rejects if r.offset is not None)


def test_types_are_found_without_loss(tmp_path: Path) -> None:
    rows = [
        {"i": 1, "d": 1, "b": True, "s": "x", "day": "2013-01-01", "at": "2013-01-01T10:00:00Z", "n": "007"},
        {
            "i": 2,
            "d": 2.5,
            "b": None,
            "s": "2013-01-01",
            "day": "2013-12-31",
            "at": "2013-01-02T10:00:00+02:00",
        },
        {"big": 2**63, "mix": 1, "obj": {"a": 1, "b": [1.5]}, "open": {}, "wide": {"x": 2**53 + 1}},
        {"big": 1, "mix": "1", "obj": {"b": []}, "open": {"z": 1}, "wide": {"x": 0.5}, "never": None},
    ]
    write(tmp_path, "\n".join(json.dumps(row) for row in rows), "a.jsonl")
    shape, table, rejects = land(tmp_path, "*.jsonl")
    assert not rejects
    assert types(shape) == {
        "i": "int64",
        "d": "double",
        "b": "boolean",
        "s": "string",
        "day": "date",
        "at": "timestamp",
        "n": "string",
        "big": "json",
        "mix": "json",
        "obj": "struct<a: int64, b: list<item: double>>",
        "open": "struct<z: int64>",
        "wide": "json",
        "never": "string",
    }
    assert any("JSON text is kept: big, mix, wide" in note for note in shape.assumptions)
    got = values(table)
    assert got[1]["at"] == datetime(2013, 1, 2, 8, tzinfo=UTC)
    assert got[0]["day"] == date(2013, 1, 1)
    assert [got[2]["big"], got[2]["mix"], got[3]["mix"]] == [str(2**63), "1", '"1"']
    assert got[2]["obj"] == {"a": 1, "b": [1.5]}
    assert got[2]["wide"] == '{"x":9007199254740993}'


@pytest.mark.parametrize(
    ("text", "kept", "reasons"),
    [
        ('[{"a": 1}, {"a": "]"},\n {"a": 3}]', 3, []),
        ('[{"a": 1}, {"a": nan}, {"a": 3}]\n', 2, ["json"]),
        ('[{"a": 1},, {"a": 3},]', 2, ["json", "json"]),
        ("[]", 0, None),
        ('{"a": 1}\n{"a": 2\n{"a": 3}\n', 2, ["json"]),
        ('{"a":\n 1}{"a": 2} 7 {"a": 3}', 2, ["json"]),
        ('\ufeff[{"a": 1}]', 1, []),
    ],
)
def test_arrays_and_values_lose_only_what_is_wrong(
    tmp_path: Path, text: str, kept: int, reasons: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, text, "a.json")
    for size in (1 << 20, 40):
        monkeypatch.setattr(places, "BLOCK_BYTES", size)
        if reasons is None:
            with pytest.raises(DataError, match="nothing to infer"):
                land(tmp_path, "*.json")
            continue
        _, table, rejects = land(tmp_path, "*.json")
        assert (table.num_rows, [r.reason for r in rejects]) == (kept, reasons)


@pytest.mark.parametrize("text", ['[{"a": 1}', '[{"a": 1}] x', '[{"a": 1}}', '[{"a": "1}]'])
def test_an_array_that_is_no_array_is_refused(tmp_path: Path, text: str) -> None:
    write(tmp_path, text, "a.json")
    with pytest.raises(DataError) as caught:
        land(tmp_path, "*.json")
    assert caught.value.where is not None


def test_an_unknown_name_never_vanishes(tmp_path: Path) -> None:
    write(tmp_path, '{"a": 1}\n', "1.ndjson")
    shape, _, _ = land(tmp_path, "*.ndjson")
    write(tmp_path, '{"a": 1, "amount": 2}\n', "2.ndjson")
    from gristmill import connect

    source = connect.files("2.ndjson")
    (chunk,) = source.read(tmp_path, source.discover(tmp_path, {})[0], shape=shape, number=2)
    assert [r.message for r in chunk.rejects] == ["the source does not know the name 'amount'"]


@pytest.mark.parametrize(
    "text", [b"NaN", b"[Infinity]", b'{"a":1,"a":1}', b"1e400", b'"\\ud800"', b"[" * 100_000, b'"\xff"']
)
def test_strict_refuses(text: bytes) -> None:
    with pytest.raises(ValueError):
        strict(text)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
document = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.dictionaries(st.sampled_from("abc"), document, min_size=1), min_size=1, max_size=8),
    st.integers(5, 50),
)
def test_every_value_is_found_whole_in_any_layout(rows: list[dict[str, object]], block: int) -> None:
    for kind, text in (
        ("ndjson", "\n".join(json.dumps(row) for row in rows)),
        ("json", json.dumps(rows, indent=1, ensure_ascii=False)),
        ("json", "\n".join(json.dumps(row, indent=2) for row in rows)),
    ):
        raw = text.encode("utf-8", "surrogatepass")
        pieces = [raw[i : i + block] for i in range(0, len(raw), block)]
        if kind == "json":
            pieces = [raw[:2000], *[raw[i : i + block] for i in range(2000, len(raw), block)]]
        found = [piece for part in texts(iter(pieces), kind, unit="x") for piece in part]
        assert [json.loads(piece.raw) for piece in found] == rows
        for piece in found:
            assert raw[piece.offset :].startswith(piece.raw)
            assert piece.line == raw[: piece.offset].count(b"\n") + 1


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(st.dictionaries(st.sampled_from("abc"), document, min_size=1), min_size=1, max_size=6))
def test_rows_come_back_as_written(rows: list[dict[str, object]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), "\n".join(json.dumps(row) for row in rows), "a.ndjson")
        shape, table, rejects = land(Path(folder), "*.ndjson")
        assert not [r for r in rejects if "half" not in r.message and "NUL" not in r.message]
        if rejects:
            return
        kinds = types(shape)
        for row, got in zip(rows, values(table), strict=True):
            for name, value in row.items():
                if kinds[name] == "json" and value is not None:
                    assert json.loads(str(got[name])) == value
                elif kinds[name] in ("string", "int64", "double", "boolean"):
                    assert got[name] == value
