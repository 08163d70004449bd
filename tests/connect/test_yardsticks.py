"""Files made to break readers: each file's outcome is compared with the one expected here.

An outcome is ``rows/rejects``, or the code of the error that refuses the file.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.connect.json_text import strict
from gristmill.errors import GristmillError
from tests.connect.landing import land, values, write

Shared = Callable[[str], Path]

FRICTIONLESS = {
    "blank-rows-multiple.csv": "13/0",
    "blank-rows-no-fields.csv": "2/0",
    "capital-invalid.csv": "8/2",
    "capital-valid.csv": "5/0",
    "capitals.csv": "5/0",
    "delimiter.csv": "2/0",
    "dialect.csv": "1/1",
    "duplicate-column.csv": "1/0",
    "duplicate-rows.csv": "3/0",
    "invalid.csv": "GM-D113",
    "issue-1009-comma.csv": "1/0",
    "issue-1009-semicolon.csv": "1/0",
    "issue-1066-largecellsize.csv": "19/0",
    "issue-1066-smallcellsize.csv": "12/0",
    "issue-1066-smallcellsizewithdeviation.csv": "12/0",
    "issue-1100.csv": "2/0",
    "issue-1105-timezone.csv": "2/0",
    "issue-1109.csv": "3/0",
    "issue-1232.csv": "5/0",
    "issue-825.csv": "3/0",
    "issue-833.csv": "3/0",
    "issue-844.csv": "2/0",
    "issue-991.csv": "1/0",
    "latin1.csv": "1/1",
    "matrix.csv": "4/0",
    "skip-blank-at-the-end.csv": "1/1",
    "table-delimiter.csv": "2/0",
    "table-infer-utf8.csv": "5/0",
    "table-infer.csv": "4/0",
    "table-unicode-headers.csv": "2/0",
    "table_with_data.csv": "2/0",
}
PARQUET_REFUSED = {
    "datapage_v1-corrupt-checksum.parquet",
    "incorrect_map_schema.parquet",
    "large_string_map.brotli.parquet",
    "rle-dict-uncompressed-corrupt-checksum.parquet",
}
UNUSUAL = {
    "repeated_no_annotation.parquet": "6/0",  # its footer says no rows
    "int96_from_spark.parquet": "5/1",  # one moment in the year 290000
}
BAD_PARQUET = {
    "ARROW-GH-41317.parquet": "GM-D118",
    "ARROW-GH-41321.parquet": "GM-D118",
    "ARROW-GH-43605.parquet": "21186/0",
    "ARROW-GH-45185.parquet": "GM-D118",
    "ARROW-GH-47662.parquet": "GM-D118",
    "ARROW-RS-GH-6229-DICTHEADER.parquet": "GM-D118",
    "ARROW-RS-GH-6229-LEVELS.parquet": "GM-D118",
    "PARQUET-1481.parquet": "GM-D118",
}


def outcome(path: Path, **options: object) -> str:
    try:
        _, table, rejects = land(path.parent, path.name, **options)
    except GristmillError as error:
        return error.code if error.where else "an error that names no file"
    return f"{table.num_rows}/{len(rejects)}"


def test_csv_fixtures(shared_data: Shared) -> None:
    folder = shared_data("bad_csv") / "frictionless"
    assert {path.name: outcome(path) for path in sorted(folder.glob("*.csv"))} == FRICTIONLESS


def test_csv_spectrum_comes_out_as_its_authors_say(shared_data: Shared) -> None:
    folder = shared_data("bad_csv") / "csv_spectrum"
    for path in sorted((folder / "csvs").glob("*.csv")):
        want = json.loads((folder / "json" / path.name.replace(".csv", ".json")).read_text())
        if b"\r" not in path.read_bytes():  # a checkout may have turned CRLF into LF
            want = json.loads(json.dumps(want).replace("\\r\\n", "\\n"))
        want = want if isinstance(want, list) else [want]
        if path.name == "location_coordinates.csv":  # its two files differ in the number
            want[0]["Contact Phone Number"] = "2095257564"
        names = dict.fromkeys(want[0], "string")
        _, table, rejects = land(path.parent, path.name, types=names)
        got = [{k: "" if v is None else v for k, v in row.items()} for row in values(table)]
        assert (got, rejects) == (want, []), path.name


def test_hostile_strings_come_back_from_every_format(shared_data: Shared, tmp_path: Path) -> None:
    strings = json.loads((shared_data("bad_csv") / "naughty_strings.json").read_text())
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("n", "s"), *enumerate(strings)])
    write(tmp_path, out.getvalue(), "a.csv")
    write(tmp_path, "\n".join(json.dumps({"n": n, "s": s}) for n, s in enumerate(strings)), "a.ndjson")
    write(tmp_path, json.dumps([{"n": n, "s": s} for n, s in enumerate(strings)], ensure_ascii=False), "a.json")
    pq.write_table(pa.table({"n": range(len(strings)), "s": strings}), tmp_path / "a.parquet")
    for name in ("a.csv", "a.ndjson", "a.json", "a.parquet"):
        _, table, rejects = land(tmp_path, name)
        lost = {reject.record - 1 for reject in rejects}
        assert all("\0" in strings[n] for n in lost), name
        assert table["n"].to_pylist() == [n for n in range(len(strings)) if n not in lost]
        assert table["s"].to_pylist() == [s for n, s in enumerate(strings) if n not in lost]


def _json_text(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def test_json_texts_are_taken_and_refused_as_the_standard_says(shared_data: Shared, tmp_path: Path) -> None:
    wrong = []
    for path in sorted((shared_data("bad_json") / "test_parsing").iterdir()):
        text = _json_text(path)
        try:
            strict(text)
            taken = True
        except ValueError:
            taken = False
        if path.name[0] in "yn" and taken != (path.name[0] == "y"):
            wrong.append(path.name)
        write(tmp_path, text, "a.json")
        landed = outcome(tmp_path / "a.json")
        clean = landed.endswith("/0")
        if path.name[0] == "n" and clean:
            wrong.append(f"{path.name} landed {landed}")
        if b"\n" not in text and b"\r" not in text:
            write(tmp_path, b'{"v": 0}\n{"v":' + text + b"}\n", "a.ndjson")
            landed = outcome(tmp_path / "a.ndjson")
            if (landed == "2/0") != taken:
                wrong.append(f"{path.name} as a line: {landed}")
    # RFC 8259 leaves names that stand twice to the reader; here they would lose a value
    assert wrong == [
        "y_object_duplicated_key.json",
        "y_object_duplicated_key_and_value.json",
        *ALSO_REFUSED,
    ]


ALSO_REFUSED: list[str] = []


def test_json_values_that_parsers_change_are_kept_or_set_aside(shared_data: Shared, tmp_path: Path) -> None:
    folder = shared_data("bad_json") / "test_transform"
    seen = {}
    for path in sorted(folder.iterdir()):
        text = path.read_bytes().strip()
        write(tmp_path, b'{"n": 1}\n{"n": 2, "v":' + text + b"}\n", "a.ndjson")
        _, table, rejects = land(tmp_path, "a.ndjson")
        seen[path.stem] = "set aside" if rejects else table["v"].to_pylist()[1]
    refused = [
        f"string_{n}_{e}invalid_codepoint{s}" for n, s in ((1, ""), (2, "s"), (3, "s")) for e in ("", "escaped_")
    ]
    refused += [f"object_same_key_{kind}" for kind in ("different_values", "same_value", "unclear_values")]
    assert {name: seen.pop(name) for name in refused} == dict.fromkeys(refused, "set aside")
    assert seen == {
        "number_-9223372036854775808": [-(2**63)],
        "number_-9223372036854775809": "[-9223372036854775809]",
        "number_1.0": [1.0],
        "number_1.000000000000000005": [1.0],
        "number_1000000000000000": [10**15],
        "number_10000000000000000999": "[10000000000000000999]",
        "number_1e-999": [0.0],
        "number_1e6": [1e6],
        "number_9223372036854775807": [2**63 - 1],
        "number_9223372036854775808": "[9223372036854775808]",
        "object_key_nfc_nfd": {"\u00e9": "NFC", "e\u0301": "NFD"},
        "object_key_nfd_nfc": {"e\u0301": "NFD", "\u00e9": "NFC"},
        "string_with_escaped_NULL": ["A\0B"],
    }


def test_parquet_files_made_to_break_readers(shared_data: Shared) -> None:
    folder = shared_data("bad_parquet") / "bad_data"
    assert {path.name: outcome(path) for path in sorted(folder.glob("*.parquet"))} == BAD_PARQUET


def test_unusual_parquet_files(shared_data: Shared) -> None:
    folder = shared_data("bad_parquet") / "data"
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("*.encrypted"), *folder.glob("*.bin")]):
        got = outcome(path, format="parquet")
        if path.suffix != ".parquet" or path.name in PARQUET_REFUSED:
            assert got == "GM-D118", path.name
        else:
            want = UNUSUAL.get(path.name) or f"{pq.ParquetFile(path).metadata.num_rows}/0"
            assert got == want, path.name


def test_parquet_contents_are_those_expected(shared_data: Shared) -> None:
    folder = shared_data("bad_parquet") / "data"
    _, table, _ = land(folder, "int96_from_spark.parquet")
    want = [1704141296123456, 1704070800000000, 253402225200000000, 1735599600000000, None]
    assert table["a"].cast(pa.int64()).to_pylist() == want
    for name in ("delta_binary_packed", "delta_encoding_required_column", "delta_byte_array"):
        _, table, _ = land(folder, f"{name}.parquet")
        _, expected, rejects = land(folder, f"{name}_expect.csv", nulls=[], header=True)
        assert not rejects
        assert table.num_rows == expected.num_rows
        for column in range(table.num_columns - 4):
            got = table.column(column).cast(expected.column(column).type)
            assert got.to_pylist() == expected.column(column).to_pylist(), (name, column)
