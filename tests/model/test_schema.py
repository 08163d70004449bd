"""Schemas: Arrow types there and back, ids, names."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from gristmill.errors import DataError, UsageError
from gristmill.model.names import check_branch_name, check_table_name
from gristmill.model.refs import Ref, parse_ref
from gristmill.model.schema import all_ids, schema_from_arrow

SAME = pa.schema(
    [
        pa.field("i", pa.int32(), nullable=False),
        ("l", pa.int64()),
        ("f", pa.float32()),
        ("d", pa.float64()),
        ("b", pa.bool_()),
        ("s", pa.string()),
        ("y", pa.binary()),
        ("x", pa.binary(7)),
        ("u", pa.uuid()),
        ("dc", pa.decimal128(20, 3)),
        ("dt", pa.date32()),
        ("tm", pa.time64("us")),
        ("ts", pa.timestamp("us")),
        ("tz", pa.timestamp("us", tz="UTC")),
        ("tn", pa.timestamp("ns")),
        ("tnz", pa.timestamp("ns", tz="UTC")),
        ("li", pa.list_(pa.field("element", pa.int64()))),
        ("st", pa.struct([("a", pa.int32()), ("b", pa.list_(pa.field("element", pa.string())))])),
        ("mp", pa.map_(pa.string(), pa.float64())),
        ("nu", pa.null()),
    ]
)


def test_arrow_there_and_back() -> None:
    ids = itertools.count(1)
    schema = schema_from_arrow(SAME, lambda *_: next(ids))
    assert schema.to_arrow() == SAME
    every = list(all_ids(schema.fields))
    assert len(set(every)) == len(every) == 26


@pytest.mark.parametrize(
    ("given_", "kept"),
    [
        (pa.int8(), pa.int32()),
        (pa.uint16(), pa.int32()),
        (pa.uint32(), pa.int64()),
        (pa.uint64(), pa.decimal128(20, 0)),
        (pa.float16(), pa.float32()),
        (pa.large_string(), pa.string()),
        (pa.string_view(), pa.string()),
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.timestamp("s", tz="Europe/Berlin"), pa.timestamp("us", tz="UTC")),
        (pa.time32("ms"), pa.time64("us")),
        (pa.large_list(pa.int8()), pa.list_(pa.field("element", pa.int32()))),
    ],
)
def test_the_written_rule_for_other_types(given_: pa.DataType, kept: pa.DataType) -> None:
    assert schema_from_arrow(pa.schema([("a", given_)]), lambda *_: 1).to_arrow().field("a").type == kept


@pytest.mark.parametrize("names", [["a", "A"], ["_row_id"], [""], ["a\0"]])
def test_names_that_cannot_be_columns(names: list[str]) -> None:
    with pytest.raises(DataError):
        schema_from_arrow(pa.schema([(name, pa.int64()) for name in names]), lambda *_: 1)


def test_durations_are_refused() -> None:
    with pytest.raises(DataError, match="duration"):
        schema_from_arrow(pa.schema([("a", pa.duration("s"))]), lambda *_: 1)


@pytest.mark.parametrize("name", ["", ".", "a.", "a b", "a/b", "../x", "a\n", "x" * 201, "1a", "é"])
def test_names_that_cannot_be_tables(name: str) -> None:
    with pytest.raises(UsageError):
        check_table_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a..b", "a~1", "a@b", "/a", "a/", "0" * 64, "a b"])
def test_names_that_cannot_be_branches(name: str) -> None:
    with pytest.raises(UsageError):
        check_branch_name(name)


def test_refs() -> None:
    assert parse_ref("run/17~2~") == Ref("run/17", None, 3)
    assert parse_ref("main@2026-11-01T09:30:00+02:00~1").steps == 1
    for wrong in ("", "~1", "main@tomorrow", "main@"):
        with pytest.raises(UsageError):
            parse_ref(wrong)
