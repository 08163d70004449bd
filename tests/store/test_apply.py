"""Applying weighted change sets: the same rows as a multiset of Python tuples, ids kept, errors that name rows."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import DataError
from gristmill.store import SqlSource, Store, applying, compute, inline, open_store

from .conftest import content, ids

SCHEMA = pa.schema([("n", pa.int64()), ("f", pa.float64()), ("s", pa.string()), ("l", pa.list_(pa.int32()))])
ROW = st.tuples(
    st.sampled_from([None, 0, 1, 0x6E756C6C6E756C6C - 2**63]),
    st.sampled_from([None, 0.0, -0.0, float("nan"), 1.5]),
    st.sampled_from([None, "", "a", "b" * 300]),
    st.sampled_from([None, [], [1], [1, None]]),
)
CHANGES = st.lists(st.tuples(ROW, st.integers(-2, 3)), max_size=6)


def _plain(row: tuple[object, ...]) -> tuple[object, ...]:
    number = row[1]
    shown = None if number is None else "nan" if number != number else number + 0.0  # type: ignore[operator]
    return (row[0], shown, row[2], None if row[3] is None else tuple(row[3]))  # type: ignore[arg-type]


def _table(rows: list[tuple[tuple[object, ...], int]]) -> pa.Table:
    columns = [pa.array([row[i] for row, _ in rows], field.type) for i, field in enumerate(SCHEMA)]
    return pa.Table.from_arrays([*columns, pa.array([w for _, w in rows], pa.int64())], names=[*SCHEMA.names, "_w"])


@pytest.mark.parametrize("spilled", [False, True])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets=st.lists(CHANGES, min_size=1, max_size=4))
def test_a_table_without_a_key_is_a_multiset(
    tmp_path_factory: pytest.TempPathFactory, spilled: bool, sets: list[list[tuple[tuple[object, ...], int]]]
) -> None:
    want: Counter[tuple[object, ...]] = Counter()
    folder: Path = tmp_path_factory.mktemp("apply") / "s"
    with (
        mock.patch.object(applying, "SPILL", 0 if spilled else 1 << 20),
        mock.patch.object(inline, "ROWS", -1 if spilled else 255),
        open_store(folder, create=True, durability="none") as store,
    ):
        with store.begin("main") as tx:
            tx.create_table("t", SCHEMA)
        for changes in sets:
            gone: Counter[tuple[object, ...]] = Counter()
            came: Counter[tuple[object, ...]] = Counter()
            for row, weight in changes:
                (came if weight > 0 else gone)[_plain(row)] += abs(weight)
            if any(count > want[row] for row, count in gone.items()):
                with pytest.raises(DataError, match="not there"), store.begin("main") as tx:
                    tx.apply("t", _table(changes))
            else:
                with store.begin("main") as tx:
                    assert tx.apply("t", _table(changes)) == (came.total(), gone.total())
                want = want - gone + came
            rows = store.snapshot("main").to_arrow("t")
            assert Counter(map(_plain, zip(*(c.to_pylist() for c in rows.columns), strict=True))) == +want
        assert not list((folder / "tmp").iterdir())


def _changes(*rows: tuple[int, str, int]) -> pa.Table:
    names, columns = ("id", "name", "_w"), list(zip(*rows, strict=True))
    return pa.table({name: list(column) for name, column in zip(names, columns, strict=True)})


def test_a_keyed_row_that_goes_and_comes_keeps_its_id(store: Store, people: object) -> None:
    before = ids(store)
    with store.begin("main") as tx:
        assert tx.apply("people", _changes((1, "n1", -1), (1, "new", 1), (2, "n2", -1), (9, "n9", 1))) == (2, 2)
    after = ids(store)
    assert content(store) == {1: "new", 3: "n3", 4: "n4", 5: "n5", 9: "n9"}
    assert {key: after[key] for key in (1, 3, 4, 5)} == {key: before[key] for key in (1, 3, 4, 5)}
    delta = store.diff("main~1", "main").tables["people"]
    assert (len(delta.updated), len(delta.inserted), len(delta.deleted)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("rows", "code", "example"),
    [
        ([(8, "x", -1)], "GM-D215", "id=8"),
        ([(1, "x", 1)], "GM-D214", "id=1"),
        ([(8, "x", 2)], "GM-D214", "id=8"),
        ([(1, "x", -1), (1, "y", 1), (1, "z", 1)], "GM-D214", "id=1"),
    ],
)
def test_what_does_not_fit_the_table_is_refused_by_name(
    store: Store, people: object, rows: list[tuple[int, str, int]], code: str, example: str
) -> None:
    head = store.resolve("main")
    with pytest.raises(DataError) as refused, store.begin("main") as tx:
        tx.apply("people", _changes(*rows))
    assert (refused.value.code, refused.value.examples[0]) == (code, example)
    assert store.resolve("main") == head


def test_changes_may_come_from_a_query_and_need_weights(store: Store, people: object) -> None:
    con = compute.connection()
    with store.begin("main") as tx:
        tx.apply("people", SqlSource(con, "SELECT 7::BIGINT AS id, 'q' AS name, 1::BIGINT AS _w"))
    assert content(store)[7] == "q"
    with pytest.raises(DataError, match="_w"), store.begin("main") as tx:
        tx.apply("people", pa.table({"id": [1]}))
