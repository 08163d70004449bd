"""Schema evolution by field id, against an oracle that keeps the rows in plain Python."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gristmill.errors import Conflict, DataError, UsageError
from gristmill.model.changes import (
    AddColumn,
    DropColumn,
    RenameColumn,
    ReorderColumns,
    SetKey,
    SetProperties,
    SetRequired,
    WidenColumn,
)
from gristmill.store import Store, open_store

NARROW = {"int": pa.int32(), "float": pa.float32(), "date": pa.date32(), "dec": pa.decimal128(5, 2), "null": pa.null()}
WIDE = {
    "int": pa.int64(),
    "float": pa.float64(),
    "date": pa.timestamp("us"),
    "dec": pa.decimal128(12, 2),
    "null": pa.string(),
}
VALUES = {"int": 7, "float": 0.5, "date": 19_000, "dec": 125, "null": None}


@dataclass
class Oracle:
    """What the table should hold: columns in order as (name, kind, wide), and rows by name."""

    columns: list[tuple[str, str, bool]] = field(default_factory=list)
    rows: list[dict[str, object]] = field(default_factory=list)

    def schema(self) -> pa.Schema:
        return pa.schema([(name, (WIDE if wide else NARROW)[kind]) for name, kind, wide in self.columns])

    def batch(self, number: int) -> pa.Table:
        arrays = []
        for (_, kind, _), column in zip(self.columns, self.schema(), strict=True):
            narrow = pa.array([VALUES[kind], None], pa.int32() if kind in ("date", "dec") else NARROW[kind])
            if kind == "dec":
                narrow = pa.array([None, None], NARROW[kind]) if number % 2 else narrow.cast(pa.decimal128(12, 2))
            elif kind == "date":
                narrow = narrow.cast(pa.date32())
            arrays.append(narrow.cast(column.type))
        return pa.Table.from_arrays(arrays, schema=self.schema())

    def expected(self) -> list[dict[str, object]]:
        return [{name: row.get(name) for name, _, _ in self.columns} for row in self.rows]


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "drop", "rename", "widen", "reorder", "append"]),
        st.integers(0, 10),
        st.sampled_from(sorted(NARROW)),
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps)
def test_evolution_against_the_oracle(steps: list[tuple[str, int, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s", True, durability="none") as store:
        oracle = Oracle([("c", "int", False), ("d", "float", False)])
        with store.begin("main") as tx:
            tx.create_table("t", oracle.schema())
            for number, (act, index, kind) in enumerate(steps):
                _step(tx, oracle, number, act, index, kind)
                assert tx.table("t").schema.to_arrow() == oracle.schema()
        rows = store.snapshot("main").to_arrow("t", row_ids=True).sort_by("_row_id").drop(["_row_id"])
        assert rows.schema == oracle.schema()
        assert rows.to_pylist() == _cast(oracle)


def _step(tx, oracle: Oracle, number: int, act: str, index: int, kind: str) -> None:  # type: ignore[no-untyped-def]
    names = [name for name, _, _ in oracle.columns]
    at = index % len(names)
    name, old_kind, wide = oracle.columns[at]
    free = next(letter for letter in "cdefghijklmnop" if letter not in names)
    if act == "add":
        tx.alter("t", AddColumn(free, NARROW[kind]))
        oracle.columns.append((free, kind, False))
    elif act == "drop" and len(names) > 1:
        tx.alter("t", DropColumn(name))
        del oracle.columns[at]
        for row in oracle.rows:
            row.pop(name, None)
    elif act == "rename":
        tx.alter("t", RenameColumn(name, free))
        oracle.columns[at] = (free, old_kind, wide)
        for row in oracle.rows:
            row[free] = row.pop(name, None)
    elif act == "widen" and not wide:
        tx.alter("t", WidenColumn(name, WIDE[old_kind]))
        oracle.columns[at] = (name, old_kind, True)
    elif act == "reorder":
        tx.alter("t", ReorderColumns((name,)))
        oracle.columns.insert(0, oracle.columns.pop(at))
    elif act == "append":
        batch = oracle.batch(number)
        tx.append("t", batch)
        oracle.rows += batch.to_pylist()


def _cast(oracle: Oracle) -> list[dict[str, object]]:
    import datetime as dt

    def widen(value: object, kind: str, wide: bool) -> object:
        if wide and kind == "date" and type(value) is dt.date:
            return dt.datetime.combine(value, dt.time())
        return value

    kinds = {name: (kind, wide) for name, kind, wide in oracle.columns}
    return [{n: widen(v, *kinds[n]) for n, v in row.items()} for row in oracle.expected()]


NESTED = pa.struct([("a", pa.int32()), ("inner", pa.list_(pa.struct([("x", pa.int32()), ("y", pa.string())])))])


@pytest.fixture
def nested(store: Store) -> Store:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("s", NESTED), ("m", pa.map_(pa.string(), pa.struct([("v", pa.int32())])))]))
        rows = [{"s": {"a": 1, "inner": [{"x": 1, "y": "y1"}, None]}, "m": [("k", {"v": 3})]}, {"s": None, "m": None}]
        tx.append("t", pa.Table.from_pylist(rows, tx.table("t").schema.to_arrow()))
    return store


def test_nested_fields_evolve_by_id_not_by_name(nested: Store) -> None:
    with nested.begin("main") as tx:
        tx.alter(
            "t",
            RenameColumn("s.a", "alpha"),
            AddColumn("s.extra", pa.string()),
            WidenColumn("s.alpha", pa.int64()),
            DropColumn("s.inner.element.y"),
            AddColumn("s.inner.element.y", pa.string()),
            RenameColumn("m.value.v", "w"),
        )
    got = nested.snapshot("main").to_arrow("t").to_pylist()
    assert got[0]["s"] == {"alpha": 1, "inner": [{"x": 1, "y": None}, None], "extra": None}
    assert got[0]["m"] == [("k", {"w": 3})]
    assert got[1] == {"s": None, "m": None}
    with nested.begin("main") as tx:
        tx.append(
            "t",
            pa.Table.from_pylist(
                [{"s": {"alpha": 2**40, "inner": [], "extra": "e"}, "m": []}], tx.table("t").schema.to_arrow()
            ),
        )
    snapshot = nested.snapshot("main")
    assert [row["s"] and row["s"]["alpha"] for row in snapshot.to_arrow("t").to_pylist()].count(2**40) == 1
    assert snapshot.digest("t").startswith("3:")


def test_a_dropped_column_does_not_come_back(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("a", pa.int64()), ("b", pa.int64())]))
        tx.append("t", pa.table({"a": [1], "b": [2]}))
        tx.alter("t", DropColumn("b"), AddColumn("b", pa.int64()))
    assert store.snapshot("main").to_arrow("t").to_pylist() == [{"a": 1, "b": None}]


def test_the_same_addition_on_two_branches_is_one_field(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("a", pa.int64())]))
    for branch, columns in (("x", ["price", "qty"]), ("y", ["qty", "price", "other"])):
        store.create_branch(branch)
        with store.begin(branch) as tx:
            tx.alter("t", *(AddColumn(name, pa.int64()) for name in columns))
    one, two = (store.snapshot(branch).table("t").schema for branch in "xy")
    assert {f.name: f.id for f in one.fields}.items() <= {f.name: f.id for f in two.fields}.items()
    assert len({f.id for f in two.fields}) == 4


def test_changes_that_cannot_be(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("a", pa.int64()), ("b", pa.string())]), key="a")
        tx.append("t", pa.table({"a": [1, 2], "b": [None, "x"]}))
        for change, error in (
            (WidenColumn("a", pa.int32()), UsageError),
            (WidenColumn("b", pa.int64()), UsageError),
            (RenameColumn("b", "A"), UsageError),
            (AddColumn("a", pa.int64()), UsageError),
            (DropColumn("c"), UsageError),
            (DropColumn("a"), Conflict),
            (SetRequired("b", True), DataError),
            (SetKey(("b",)), DataError),
        ):
            with pytest.raises(error):
                tx.alter("t", change)
        tx.alter("t", SetProperties({"kind": "derived", "no": None}), SetKey(("a", "b")) if False else SetKey(()))
    state = store.snapshot("main").table("t")
    assert state.properties == {"kind": "derived"}
    assert state.key == ()


def test_evolve_to_a_schema(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("t", pa.schema([("a", pa.int32()), ("b", pa.string()), ("c", pa.bool_())]), key="a")
        tx.append("t", pa.table({"a": [1], "b": ["x"], "c": [True]}))
        tx.evolve("t", pa.schema([("d", pa.date32()), ("b", pa.string()), ("a", pa.int64())]))
        assert tx.to_arrow("t").to_pylist() == [{"d": None, "b": "x", "a": 1}]
        same = tx.table("t").id
        tx.evolve("t", pa.schema([("d", pa.date32()), ("b", pa.string()), ("a", pa.int64())]))
        assert tx.table("t").id == same
        wanted = pa.schema([("d", pa.date32()), ("b", pa.int64()), ("a", pa.string())])
        with pytest.raises(Conflict) as error:
            tx.evolve("t", wanted)
        assert error.value.examples == ("b: string -> long", "a: long -> string")
        tx.evolve("t", wanted, replace=True, key="b")
        tx.replace("t", pa.table({"a": ["y"], "b": [5]}))
        assert tx.to_arrow("t").to_pylist() == [{"d": None, "b": 5, "a": "y"}]
        assert tx.table("t").key == ("b",)
        tx.evolve("t", pa.schema([("z", pa.int64())]), replace=True, key=())
        assert tx.table("t").schema.names == ("z",)


def test_all_types_survive(store: Store) -> None:
    import datetime as dt
    import decimal
    import uuid

    from tests.model.test_schema import SAME

    row = {
        "i": 1, "l": 2**62, "f": 0.5, "d": float("nan"), "b": True, "s": "é", "y": b"\x00\xff", "x": b"1234567",
        "u": uuid.UUID(int=5), "dc": decimal.Decimal("-99999999999999999.999"), "dt": dt.date(1, 1, 1),
        "tm": dt.time(1, 2, 3, 4), "ts": dt.datetime(1960, 1, 1, 0, 0, 0, 7),
        "tz": dt.datetime(2026, 1, 1, tzinfo=dt.UTC), "tn": 1, "tnz": 5, "li": [1, None], "st": {"a": 1, "b": ["x"]},
        "mp": [("k", 1.5)], "nu": None,
    }  # fmt: skip
    columns = [pa.array([row[f.name], None] if f.nullable else [row[f.name], 2], f.type) for f in SAME if f.name != "u"]
    rows = pa.Table.from_arrays(columns, schema=pa.schema([f for f in SAME if f.name != "u"]))
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([row["u"].bytes, None], pa.binary(16)))  # type: ignore[attr-defined]
    rows = rows.add_column(SAME.get_field_index("u"), SAME.field("u"), uuids)
    with store.begin("main") as tx:
        tx.create_table("t", SAME, key="i")
        tx.append("t", rows)
    snapshot = store.snapshot("main")
    assert _plain(snapshot.to_arrow("t")) == _plain(rows)
    with store.begin("main") as tx:
        assert not tx.replace("t", snapshot.reader("t"))
        tx.upsert("t", rows.slice(0, 1))
    assert store.snapshot("main").digest("t") == snapshot.digest("t")
    assert store.snapshot("main").to_arrow("t").schema == SAME


def test_encodings_are_decoded_and_what_does_not_fit_is_named(store: Store) -> None:
    encoded = {
        "view": pa.array([[1], [], None, [2, 3]], pa.list_view(pa.int64())),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([3, 4], pa.int32()), pa.array(["a", None])),
        "words": pa.array(["x", None, "x", "y"]).dictionary_encode(),
        "text": pa.array(["x", None, "long enough not to be inlined", ""], pa.string_view()),
    }
    wanted = {"view": [[1], [], None, [2, 3]], "runs": ["a", "a", "a", None], "words": ["x", None, "x", "y"]}
    with store.begin("main") as tx:
        tx.create_table("t", pa.table(encoded).schema)
        tx.append("t", pa.table(encoded))
        tx.create_table("moments", pa.schema([("at", pa.timestamp("us"))]))
        with pytest.raises(DataError, match="out of bounds") as error:
            tx.append("moments", pa.table({"at": pa.array([0, 2**60], pa.timestamp("s"))}))
    assert error.value.examples == (f"row 2: {2**60}",)
    found = store.snapshot("main").to_arrow("t").to_pydict()
    assert {name: found[name] for name in wanted} == wanted


def _plain(table: pa.Table) -> str:
    return str(table.sort_by("i").to_pydict() if table.num_rows < 2 else table.take([0, 1]).to_pydict())
