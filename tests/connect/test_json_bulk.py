"""Records read together are those read one by one, whatever stands among them."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import connect
from gristmill.connect import json_read
from gristmill.connect.json_bulk import Together, records_of

ODD = [
    '{"id": 1, "id": 2}', '{"id": 1, "in": {"a": 1, "a": 2}}', "[1]", "{", '{"id": NaN}', '{"id": 1e999}',
    '{"unknown": 1}', '{"": 1}', '{"id": "seven"}', '{"id": 123456789012345678901}', '{"x": 9007199254740993}',
    r'{"s": "\ud800"}', r'{"s": "a\": \\"}', '{"s": null, "id": null}', r'{"s": "{\"a\": 1}"}', "  ",
    '{"when": "soon"}',
    '{"in": {"a": 1, "b": "c"}}', '{"in": {"b": 7}}', '{"in": {"c": 7}}', '{"many": [1, 2.5]}', "3 4",
]  # fmt: skip


def written(folder: Path, *, seed: int, odd: float, layout: str) -> Path:
    rng = random.Random(seed)
    plain = [
        json.dumps(
            {"id": i, "x": rng.random(), "s": rng.choice(["a", 'q":', "ü", "\\"]), "when": f"2024-05-{i % 28 + 1:02d}"}
            | ({"in": {"a": i, "b": "t"}} if i % 5 == 0 else {})
            | ({"many": [i, i + 1]} if i % 7 == 0 else {}),
            ensure_ascii=i % 2 == 0,
        )
        for i in range(1500)
    ]
    lines = [rng.choice(ODD) if rng.random() < odd else line for line in plain]
    path = folder / f"t.{'json' if layout == 'array' else 'ndjson'}"
    if layout == "array":
        lines = [line for line in lines if line.strip() and line != "{"]
        path.write_text("[" + ",\n ".join(lines) + "]")
    else:
        path.write_text("\n".join(lines))
    return path


def read(path: Path) -> tuple[pa.Table, list[object], object]:
    source = connect.files(path.name)
    found = source.discover(path.parent, {})
    shape = source.infer(path.parent, found)
    rows = source.read(path.parent, found[0], shape=shape, number=1)
    chunks = list(rows)
    rejects = [reject for chunk in chunks for reject in chunk.rejects]
    return pa.Table.from_batches([chunk.rows for chunk in chunks]).combine_chunks(), rejects, (shape, rows.delivered)


@pytest.mark.parametrize("layout", ["lines", "array"])
@pytest.mark.parametrize(("seed", "odd"), [(1, 0.0), (2, 0.002), (3, 0.01), (4, 0.3)])
def test_together_and_singly_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, odd: float, layout: str
) -> None:
    path = written(tmp_path, seed=seed, odd=odd, layout=layout)
    rows, rejects, figures = read(path)
    monkeypatch.setattr(json_read, "records_of", lambda raws: None)
    monkeypatch.setattr(Together, "columns", lambda self, raws: None)
    one_rows, one_rejects, one_figures = read(path)
    assert rows.equals(one_rows)
    assert rejects == one_rejects
    assert figures == one_figures
    assert rejects or odd < 0.3


def test_numbers_are_those_of_the_standard_library() -> None:
    rng = random.Random(5)
    texts = [f"{rng.uniform(-1, 1) * 10.0 ** rng.randint(-320, 308):.{rng.randint(1, 30)}e}" for _ in range(2000)]
    found = records_of([f'{{"x": {text}}}'.encode() for text in texts])
    assert found is not None
    assert [row["x"] for row in found] == [json.loads(text) for text in texts]


@pytest.mark.parametrize("text", [text for text in ODD if text.strip()])
def test_what_is_read_together_is_strict(text: str) -> None:
    found = records_of([b'{"id": 1}', text.encode()])
    try:
        value = json_read.strict(text.encode())
    except ValueError:
        assert found is None
    else:
        assert found is None or found[1] == value


FLAT = Together({"id": "int64", "x": "double", "s": "string", "ok": "boolean"}, {"id"})
PLAIN = ['{"id": 1, "x": 2.5, "s": "a:b", "ok": true}', '{"id": 2}', '{"s": null, "id": 3, "x": 4}']


def test_plain_cells() -> None:
    columns = FLAT.columns([text.encode() for text in PLAIN])
    assert columns is not None
    assert {name: column.to_pylist() for name, column in columns.items()} == {
        "id": [1, 2, 3],
        "x": [2.5, None, 4.0],
        "s": ["a:b", None, None],
        "ok": [True, None, None],
    }


@pytest.mark.parametrize(
    "odd",
    [
        ['{"id": 4, "id": 5}'],
        ['{"id": 4}{"id": 5}'],
        ['{"id": 4}\n{"id": 5}', '{"id": 6, "s": "', '"}'],
        ['{"id": 4,', '"x": 1}', '{"id": 5}, {"id": 6}'],
        ['{"id": null}'],
        ["{}"],
        ['{"id": 4.0}'],
        ['{"id": true}'],
        ['{"id": 123456789012345678901}'],
        ['{"id": 4, "x": 9007199254740993}'],
        ['{"id": 4, "y": 1}'],
        ['{"id": 4, "s": "\\ud800"}'],
        ["[4]"],
        ["null"],
        ["4"],
    ],
)
def test_odd_cells_are_left_to_be_read_singly(odd: list[str]) -> None:
    assert FLAT.columns([text.encode() for text in [*PLAIN, *odd]]) is None


CELLS = st.one_of(
    st.integers(-(2**64), 2**64).map(str),
    st.sampled_from(
        ["1.5", "-0", "-0.0", "0", "1e3", "1e400", "01", "+1", "1.", ".5", "NaN", "Infinity", "true", "null"]
    ),
    st.sampled_from(["9007199254740993", "9007199254740993.0", "0.1", "-1.25e-7", "{}", "[]", "[1]", '{"a":1}']),
    st.sampled_from(['"2026-01-01"', '"2026-01-01T00:00:00Z"', '"2026-01-01 00:00:00.123456"', '"x:y{}"', "null"]),
    st.text('aé:{}", \\\x7f\u2028', max_size=4).map(lambda text: json.dumps(text, ensure_ascii=False)),
    st.sampled_from(['"\x01"', '"', '"a"b"', '"\ttab"', '"1"', "tru", "", '"é"', '"a","b":"c"']),
)
KINDS = {"a": "int64", "b": "string", "c": "double", "d": "timestamp", "e": "boolean"}
SOUND = {"a": "7", "b": '"x"', "c": "1.5", "d": '"2026-01-01T00:00:00Z"', "e": "true"}


@st.composite
def odd_lines(draw: st.DrawFn) -> list[bytes]:
    """Lines of sound objects, some of them with a cell, a name or an end that may be odd."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        cells = dict(SOUND)
        if draw(st.booleans()):
            cells[draw(st.sampled_from(sorted(KINDS)))] = draw(CELLS)
        names = draw(st.permutations(sorted(cells)))
        parts = [f'"{name}":{cells[name]}' for name in names]
        if draw(st.integers(0, 9)) == 0:
            parts = draw(
                st.sampled_from([parts[1:], [*parts[1:], parts[1]], [*parts, parts[0]], [*parts, '"f":1'], []])
            )
        end = draw(st.sampled_from(["", "", "", "", " ", "}", '{"a":1}', ",", " 5"]))
        found.append(("{" + ",".join(parts) + "}" + end).encode())
    return found


@given(odd_lines())
@settings(max_examples=400, deadline=None)
def test_lines_read_by_arrow_are_those_read_one_by_one(found: list[bytes]) -> None:
    together = Together(KINDS, [])
    text = b"".join(line + b"\n" for line in found)
    at_once = together.lines(text, len(found))
    if at_once is None:
        return
    slowly = together.columns(found)
    assert slowly is not None
    for name in KINDS:
        assert at_once[name].type == slowly[name].type
        assert at_once[name].to_pylist() == slowly[name].to_pylist()
        assert repr(at_once[name].to_pylist()) == repr(slowly[name].to_pylist())


def test_sound_lines_are_read_by_arrow() -> None:
    line = ("{" + ",".join(f'"{name}":{cell}' for name, cell in SOUND.items()) + "}\n").encode()
    assert Together(KINDS, []).lines(line * 3, 3) is not None
    assert Together(KINDS, []).lines(line * 3, 2) is None
    assert Together(KINDS, []).lines(line.replace(b'"a":7', b'"a":{"a":7}'), 1) is None
