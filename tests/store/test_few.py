"""The ways for a few rows agree with those for many: every act runs both ways and gives the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import DataError
from gristmill.model.predicates import Compare
from gristmill.store import compute, few, held, inline, open_store

SCHEMA = pa.schema(
    [
        pa.field("k", pa.string(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),
        ("f", pa.float64()),
        ("t", pa.timestamp("us", tz="UTC")),
        ("s", pa.string()),
        pa.field("x", pa.float64(), nullable=False),
        pa.field("d", pa.decimal128(30, 2), nullable=False),
        pa.field("m", pa.timestamp("ns"), nullable=False),
        pa.field("b", pa.binary(), nullable=False),
        pa.field("u", pa.uuid(), nullable=False),
        ("_origin_line", pa.int64()),
    ]
)
ROW = st.fixed_dictionaries(
    {
        "k": st.sampled_from(["", "a", "b", "é", "\U0001f600", "\uffff"]),
        "n": st.integers(-2, 2),
        "f": st.sampled_from([None, 0.0, -0.0, float("nan"), float("inf"), 0.1]),
        "t": st.sampled_from([None, 0, -1, 2**55]),
        "s": st.sampled_from([None, "", "~", "x"]),
        "x": st.sampled_from([0.0, -0.0, float("nan"), float("-inf"), 0.1]),
        "d": st.sampled_from([Decimal("0.01"), Decimal(-1), Decimal(10) ** 27]),
        "m": st.sampled_from([0, 1000, -1000]),
        "b": st.sampled_from([b"", b"\0", b"\0\0", b"x" * 300, b"x" * 299 + b"y"]),
        "u": st.sampled_from([b"u" * 16, bytes(16)]),
        "_origin_line": st.sampled_from([None, 1]),
    }
)
ACT = st.tuples(
    st.sampled_from(["append", "upsert", "upsert", "replace", "delete", "keys", "widen"]), st.lists(ROW, max_size=5)
)


@contextmanager
def _by_engine() -> Iterator[None]:
    with (
        mock.patch.object(compute, "rows_of", return_value=None),
        mock.patch.object(held, "ROWS", 0),
    ):
        yield


def _acted(folder: Path, key: tuple[str, ...], acts: list[tuple[str, list[dict[str, object]]]]) -> list[object]:
    """Do the acts one after the other on a fresh store and return everything that can be seen."""
    store = open_store(str(folder), create=True)
    seen: list[object] = []
    with store.begin() as tx:
        tx.create_table("t", SCHEMA, key=key)
    for act, rows in acts:
        try:
            with store.begin() as tx:
                if act == "delete":
                    seen.append(tx.delete("t", where=Compare("n", ">", 0)))
                elif act == "keys" and key:
                    seen.append(tx.delete("t", keys=pa.Table.from_pylist(rows, SCHEMA).select(key)))
                elif act == "widen":
                    tx.evolve("t", SCHEMA.append(pa.field("extra", pa.int32())), replace=True)
                elif act not in ("upsert", "keys") or key:
                    seen.append(getattr(tx, act)("t", pa.Table.from_pylist(rows, SCHEMA)))
        except DataError as error:
            seen.append((error.code, error.message, [text.replace("-0.0", "0.0") for text in error.examples]))
        snapshot = store.snapshot("main")
        table = snapshot.to_arrow("t", row_ids=True, hidden=True)
        ids = table["_row_id"] if key else None
        shown = sorted(map(repr, zip(*(c.to_pylist() for c in table.columns[:-1]), ids or table["n"], strict=True)))
        seen += [table.schema, shown, snapshot.digest("t")]
    return seen


KEYS = [(), ("n",), ("k", "n"), ("x",), ("m", "x"), ("d",), ("b",), ("u", "d")]


@pytest.mark.parametrize("inlined", [True, False])
@pytest.mark.parametrize("key", KEYS)
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=st.lists(ACT, min_size=1, max_size=5))
def test_both_ways_agree(
    tmp_path_factory: pytest.TempPathFactory,
    key: tuple[str, ...],
    inlined: bool,
    acts: list[tuple[str, list[dict[str, object]]]],
) -> None:
    folder = tmp_path_factory.mktemp("few")
    with nullcontext() if inlined else mock.patch.object(inline, "ROWS", -1):
        alone = _acted(folder / "a", key, acts)
        with _by_engine():
            assert _acted(folder / "b", key, acts) == alone


def test_rows_in_files_are_left_to_the_engine(tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "s"), create=True)
    rows = pa.table({"k": ["a"] * 5000, "n": range(5000)})
    with store.begin() as tx:
        tx.create_table("t", rows.schema, key=("n",))
        tx.append("t", rows)
    assert few.rows_of(store.snapshot("main").scan("t")) is None
    with store.begin() as tx, pytest.raises(DataError) as refused:
        tx.append("t", rows.slice(7, 1))
    assert refused.value.examples == ("n=7",)
    with store.begin() as tx:
        tx.append("t", pa.table({"k": ["b"], "n": [5000]}))
        assert tx.upsert("t", pa.table({"k": ["c", "c", "d"], "n": [5000, 7, 5001]})) == 2
    assert store.snapshot("main").table("t").row_count == 5002
