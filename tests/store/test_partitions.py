"""Partitions: where rows go, what a scan leaves out, what changing the spec does, and what compaction keeps apart."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.errors import Conflict, UsageError
from gristmill.model.changes import AddColumn, DropColumn, RenameColumn, SetPartitioning, SetProperties, WidenColumn
from gristmill.model.partitions import PartitionField, parse_terms, part_range
from gristmill.model.predicates import And, Compare, In, IsNull, Not, Or, Predicate
from gristmill.model.schema import Field, Schema
from gristmill.store import Store, open_store
from gristmill.store.manifests import manifest
from gristmill.store.objects import INLINE, DataFile, Manifest
from gristmill.store.tables import Edit, apply_edit, live_files
from gristmill.store.transforms import bucket_numbers, transformed

EVENTS = pa.schema([("id", pa.int32()), ("at", pa.timestamp("us")), ("country", pa.string()), ("price", pa.float64())])
START = dt.datetime(2026, 1, 1)


def events(count: int, first: int = 0, hours: int = 1) -> pa.Table:
    """Rows whose time, country and id go round."""
    ids = range(first, first + count)
    return pa.table(
        {
            "id": list(ids),
            "at": [None if i % 101 == 100 else START + dt.timedelta(hours=hours * i) for i in ids],
            "country": [None if i % 7 == 6 else ("de", "fr", "ünited", "")[i % 4] for i in ids],
            "price": [i / 8 for i in ids],
        },
        EVENTS,
    )


def files(store: Store, name: str = "events", where: Predicate | None = None) -> list[DataFile]:
    view = store.snapshot("main")
    return list(live_files(store.catalog.get, view.state(name), where))  # type: ignore[arg-type]


def make(
    store: Store, *terms: str, count: int = 2000, key: str | tuple[()] = (), cluster: tuple[str, ...] = ()
) -> None:
    with store.begin("main") as tx:
        tx.create_table("events", EVENTS, key=key or (), partition_by=terms, cluster_by=cluster)
        tx.append("events", events(count))


# -- the transforms ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "type_", "hashed"),
    [
        (34, pa.int32(), 2017239379),
        (34, pa.int64(), 2017239379),
        (Decimal("14.20"), pa.decimal128(9, 2), -500754589),
        (dt.date(2017, 11, 16), pa.date32(), -653330422),
        (dt.time(22, 31, 8), pa.time64("us"), -662762989),
        (dt.datetime(2017, 11, 16, 22, 31, 8), pa.timestamp("us"), -2047944441),
        (dt.datetime(2017, 11, 16, 22, 31, 8), pa.timestamp("ns"), -2047944441),
        (b"\x00\x01\x02\x03", pa.binary(), -188683207),
        (b"\x00\x01\x02\x03", pa.binary(4), -188683207),
        ("iceberg", pa.string(), 1210000089),
    ],
)
def test_buckets_are_those_of_the_specification(value: object, type_: pa.DataType, hashed: int) -> None:
    found = bucket_numbers(pa.array([value, None], type_), 2**31 - 1)
    assert found[0] == (hashed & 0x7FFFFFFF) % (2**31 - 1)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=30))
def test_buckets_do_not_depend_on_the_neighbours(values: list[bytes]) -> None:
    together = bucket_numbers(pa.array(values, pa.binary()), 1000)
    assert together.tolist() == [int(bucket_numbers(pa.array([value], pa.binary()), 1000)[0]) for value in values]


def test_periods_and_widths_before_1970_and_below_zero() -> None:
    def made(transform: str, values: list[object], type_: pa.DataType) -> list[object]:
        return transformed(PartitionField(1000, 1, transform), pa.array(values, type_)).to_pylist()

    moments = [dt.datetime(1969, 12, 31, 23, 59), dt.datetime(1970, 1, 1), None]
    assert made("year", moments, pa.timestamp("us")) == [-1, 0, None]
    assert made("month", moments, pa.timestamp("ns", "UTC")) == [-1, 0, None]
    assert made("day", moments, pa.timestamp("us")) == [-1, 0, None]
    assert made("hour", moments, pa.timestamp("us")) == [-1, 0, None]
    assert made("month", [dt.date(1969, 12, 1), dt.date(1970, 2, 1)], pa.date32()) == [-1, 1]
    assert made("truncate[10]", [-1, 0, 19, None], pa.int64()) == [-10, 0, 10, None]
    assert made("truncate[3]", ["ünited", "ü", None], pa.string()) == ["üni", "ü", None]
    assert made("truncate[2]", [b"abc", b""], pa.binary()) == [b"ab", b""]
    wide = [Decimal("10.65"), Decimal("-0.01")]
    assert made("truncate[50]", wide, pa.decimal128(9, 2)) == [Decimal("10.50"), Decimal("-0.50")]


SCHEMA = Schema(
    (Field(1, "at", "timestamp"), Field(2, "x", "double"), Field(3, "day(at)", "string"), Field(4, "n", "decimal(9,2)"))
)


@pytest.mark.parametrize(
    "term", ["nothing", "x", "hour(n)", "bucket(at)", "bucket(0, at)", "truncate(3, at)", "day(3, at)", "week(at)", ""]
)
def test_what_cannot_divide_a_table_is_refused(term: str) -> None:
    with pytest.raises(UsageError):
        parse_terms([term], SCHEMA)


def test_a_column_goes_before_a_transform_of_that_name() -> None:
    assert parse_terms(["day(at)", "year(at)", "Bucket( 4 , n )"], SCHEMA) == [
        (3, "identity"),
        (1, "year"),
        (4, "bucket[4]"),
    ]
    with pytest.raises(UsageError, match="twice"):
        parse_terms(["at", "at"], SCHEMA)


@given(st.integers(-(2**63), 2**63 - 1), st.integers(1, 2**31 - 1))
def test_the_range_of_a_truncated_number_holds_it(value: int, width: int) -> None:
    field = PartitionField(1000, 1, f"truncate[{width}]")
    made = transformed(field, pa.array([value], pa.int64()))[0].as_py()
    known = part_range(field, made, "long", 1)
    assert known.lower is None or (known.lower <= value and value <= known.upper)  # type: ignore[operator]


@given(st.text(max_size=6), st.integers(1, 4))
def test_the_range_of_a_truncated_text_holds_it(value: str, width: int) -> None:
    field = PartitionField(1000, 1, f"truncate[{width}]")
    known = part_range(field, value[:width], "string", 1)
    assert known.lower <= value  # type: ignore[operator]
    assert known.upper is None or value <= known.upper  # type: ignore[operator]


# -- tables -------------------------------------------------------------------------------------------


def test_rows_lie_in_the_files_of_their_partition(store: Store) -> None:
    make(store, "month(at)", "country", count=5000)
    spec = store.snapshot("main").state("events").specs[0]
    seen = set()
    for file in files(store):
        assert file.spec == spec.id
        rows = pq.read_table(store.path / file.path)
        for field, value in zip(spec.fields, file.partition, strict=True):
            name = "at" if field.kind == "month" else "country"
            column = transformed(field, rows.column(name).combine_chunks())
            assert set(column.to_pylist()) == {value}
        assert file.partition not in seen
        seen.add(file.partition)
    assert store.snapshot("main").table("events").partition_by == ("month(at)", "country")
    assert store.snapshot("main").to_arrow("events").sort_by("id").equals(events(5000))


def test_a_scan_opens_the_files_of_the_partitions_that_can_match(store: Store) -> None:
    make(store, "bucket(8, id)", "day(at)", count=200)
    whole = files(store)
    assert len(whole) > 50
    one = files(store, where=Compare("id", "=", 77))
    assert len(one) < len(whole) / 7
    assert len(files(store, where=Compare("at", "<", START + dt.timedelta(days=1)))) <= 16
    where = And((In("id", (1, 2)), Not(IsNull("at"))))
    assert store.snapshot("main").to_arrow("events", where=where).num_rows == 2
    assert store.snapshot("main").to_arrow("events", where=Compare("id", "=", 10**12)).num_rows == 0
    assert len(files(store, where=IsNull("at"))) == 1


_CONDITIONS: list[Predicate] = [
    Compare("id", "=", 15),
    Compare("id", "!=", 15),
    Not(In("id", (15, 16))),
    In("id", (15, 400)),
    Or((Compare("id", "=", 3), Compare("country", "=", "fr"))),
    Compare("at", ">=", START + dt.timedelta(days=3)),
    Compare("at", "=", START + dt.timedelta(hours=5)),
    Compare("country", "<", "e"),
    Compare("country", "=", "ünited"),
    IsNull("country"),
    Not(IsNull("country")),
]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["country", "bucket(3, id)", "truncate(50, id)", "truncate(1, country)", "hour(at)", "day(at)", "year(at)"]
        ),
        min_size=1,
        max_size=2,
        unique=True,
    ),
    st.sampled_from(_CONDITIONS),
    st.booleans(),
)
def test_pruning_never_loses_a_row(
    tmp_path_factory: pytest.TempPathFactory, terms: list[str], where: Predicate, bare: bool
) -> None:
    folder = tmp_path_factory.mktemp("parts") / "s"
    with open_store(folder, create=True, durability="none", compact="off") as plain:
        with plain.begin("main") as tx:
            tx.create_table("events", EVENTS, partition_by=terms)
            tx.create_table("same", EVENTS)
            tx.append("events", events(150))
            tx.append("same", events(150))
        with plain.begin("main") as tx:
            tx.alter("events", SetPartitioning(()) if bare else SetPartitioning(("bucket(2, country)",)))
            tx.append("events", events(150, 150))
            tx.append("same", events(150, 150))
        view = plain.snapshot("main")
        got, wanted = (view.to_arrow(name, where=where).sort_by("id") for name in ("events", "same"))
        assert got.equals(wanted)


def test_changing_the_spec_rewrites_nothing_and_old_files_are_pruned_by_theirs(store: Store) -> None:
    make(store, "country", count=1000)
    before = {file.hash: file.spec for file in files(store)}
    with store.begin("main") as tx:
        tx.alter("events", SetPartitioning(("bucket(4, id)",)), RenameColumn("country", "land"))
    assert {file.hash: file.spec for file in files(store)} == before
    with store.begin("main") as tx:
        tx.append("events", events(1000, 1000).rename_columns(["id", "at", "land", "price"]))
    specs = {file.spec for file in files(store)}
    assert len(specs) == 2
    found = files(store, where=Compare("land", "=", "fr"))
    assert sum(file.spec in before.values() for file in found) == 1
    assert len({file.partition for file in found if file.spec not in before.values()}) == 4
    with pytest.raises(Conflict, match="divided"), store.begin("main") as tx:
        tx.alter("events", DropColumn("id"))
    with store.begin("main") as tx:
        tx.alter("events", SetPartitioning(("land",)))
    assert store.snapshot("main").state("events").spec in before.values()
    with store.begin("main") as tx:
        tx.alter("events", WidenColumn("id", pa.int64()), AddColumn("more", pa.string()))
    got = store.snapshot("main").to_arrow("events", where=Compare("id", "=", 1777))
    assert got.column("land").to_pylist() == ["fr" if 1777 % 7 != 6 else None]
    with store.begin("main") as tx:
        tx.alter("events", SetPartitioning(()))
    assert store.snapshot("main").table("events").partition_by == ()


def test_branches_share_the_numbers_of_specs_and_merge_their_partitioning(store: Store) -> None:
    make(store, count=10)
    store.create_branch("other", at="main")
    for branch in ("main", "other"):
        with store.begin(branch) as tx:
            tx.alter("events", SetPartitioning(("day(at)",)))
    numbers = {store.snapshot(branch).state("events").spec for branch in ("main", "other")}
    assert len(numbers) == 1
    with store.begin("other") as tx:
        tx.append("events", events(500, 10))
    store.merge("other", into="main")
    assert store.snapshot("main").table("events").row_count == 510
    store.create_branch("third", at="main")
    for branch, term in (("main", "country"), ("third", "year(at)")):
        with store.begin(branch) as tx:
            tx.alter("events", SetPartitioning((term,)))
    with pytest.raises(Conflict):
        store.merge("third", into="main")


def test_edits_compaction_and_maintain_keep_partitions_apart(store: Store) -> None:
    make(store, "country", count=400, key="id", cluster=("price",))
    for number in range(40):
        with store.begin("main") as tx:
            tx.upsert("events", events(300, 200 + number * 7, hours=2))
    with store.begin("main") as tx:
        tx.alter("events", SetPartitioning(("bucket(2, id)",)))
    for number in range(40):
        with store.begin("main") as tx:
            tx.upsert("events", events(3, 100 + number * 11))
    with store.begin("main") as tx:
        tx.delete("events", Compare("id", "<", 50))
    expected = store.snapshot("main").to_arrow("events").sort_by("id")
    _check_partitions(store)
    store.maintain()
    _check_partitions(store)
    assert not any(file.kind == INLINE for file in files(store))
    assert store.snapshot("main").to_arrow("events").sort_by("id").equals(expected)
    assert not store.maintain().tables
    assert store.snapshot("main").digest("events") == store.snapshot("main~1").digest("events")


def _check_partitions(store: Store) -> None:
    view = store.snapshot("main")
    specs = {spec.id: spec for spec in view.state("events").specs}
    schema = view.schema_of("events")
    for file in files(store):
        if file.kind == INLINE or file.spec == 0:
            assert file.partition == ()
            continue
        rows = pq.read_table(store.path / file.path)
        for field, value in zip(specs[file.spec].fields, file.partition, strict=True):
            column = schema.by_id(field.source)
            assert column is not None
            assert set(transformed(field, rows.column(column.name).combine_chunks()).to_pylist()) == {value}


def test_many_partitions_of_a_long_stream(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is brought together by the engine, which sorts."""
    monkeypatch.setattr("gristmill.store.laying.HELD_BYTES", 10_000)

    def stream() -> pa.RecordBatchReader:
        parts = (events(100, start).to_batches()[0] for start in range(0, 20_000, 100))
        return pa.RecordBatchReader.from_batches(EVENTS, parts)

    with store.begin("main") as tx:
        tx.create_table("events", EVENTS, partition_by=["bucket(20, id)", "country"], cluster_by="price")
        tx.append("events", stream())
    found = files(store)
    assert len(found) == len({file.partition for file in found}) == 100
    rows = store.snapshot("main").to_arrow("events").sort_by("id")
    assert rows.equals(events(20_000))
    prices = pq.read_table(store.path / found[0].path).column("price")
    assert prices.to_pylist() == sorted(prices.to_pylist())


def test_every_type_that_can_divide_a_table(store: Store) -> None:
    moment = dt.datetime(2026, 3, 4, 5, 6, 7, 8, tzinfo=dt.UTC)
    columns = {
        "b": pa.array([True, False, None]),
        "l": pa.array([2**62, -1, None], pa.int64()),
        "d": pa.array([Decimal("12345678901234567890.12"), Decimal("-0.01"), None], pa.decimal128(38, 2)),
        "day": pa.array([dt.date(2026, 3, 4), dt.date(1, 1, 1), None]),
        "t": pa.array([dt.time(1, 2, 3), dt.time(0), None], pa.time64("us")),
        "ts": pa.array([moment, dt.datetime(1900, 1, 1, tzinfo=dt.UTC), None], pa.timestamp("us", "UTC")),
        "ns": pa.array([1, -1, None], pa.timestamp("ns")),
        "s": pa.array(["x\0'y", "", None]),
        "bin": pa.array([b"\xff\0", b"", None], pa.binary()),
        "fix": pa.array([b"\xff\0", b"ab", None], pa.binary(2)),
    }
    rows = pa.table(columns)
    for name in rows.column_names:
        for term in (name, f"bucket(5, {name})"):
            if term == "bucket(5, b)":
                continue
            with store.begin("main") as tx:
                table = f"t.{name}_{len(term)}"
                tx.create_table(table, rows.schema, partition_by=term)
                tx.append(table, pa.concat_tables([rows] * 200))
            view = store.snapshot("main")
            assert view.to_arrow(table).num_rows == 600
            assert 2 <= len(files(store, table)) <= 3
            for value in rows.column(name).to_pylist()[:2]:
                if name in ("t", "ns", "fix"):
                    continue
                assert view.to_arrow(table, where=Compare(name, "=", value)).num_rows == 200, (term, value)
            assert view.to_arrow(table, where=IsNull(name)).num_rows == 200


@pytest.mark.parametrize("codec", ["zstd", "snappy", "gzip", "none"])
def test_files_are_packed_as_the_table_says(store: Store, codec: str) -> None:
    with store.begin("main") as tx:
        tx.create_table("plain", EVENTS, codec=codec)
        tx.create_table("parted", EVENTS, codec=codec, partition_by="country")
        tx.create_table("sorted", EVENTS, codec=codec, cluster_by="price")
        for name in ("plain", "parted", "sorted"):
            tx.append(name, events(1000))
    for name in ("plain", "parted", "sorted"):
        for file in files(store, name):
            packed = pq.read_metadata(store.path / file.path).row_group(0).column(0).compression
            assert packed == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())
        assert store.snapshot("main").to_arrow(name).sort_by("id").equals(events(1000))


def test_a_codec_can_be_changed_and_must_exist(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lz4"), store.begin("main") as tx:
        tx.create_table("events", EVENTS, codec="lz4")
    make(store, count=1000)
    with pytest.raises(UsageError, match="brotli"), store.begin("main") as tx:
        tx.alter("events", SetProperties({"codec": "brotli"}))
    with store.begin("main") as tx:
        tx.alter("events", SetProperties({"codec": "gzip"}))
        tx.append("events", events(1000, 1000))
    packed = {pq.read_metadata(store.path / f.path).row_group(0).column(0).compression for f in files(store)}
    assert packed == {"ZSTD", "GZIP"}


def test_types_that_iceberg_lacks_are_kept_by_the_written_rule(store: Store) -> None:
    """docs/format.md: unsigned numbers widen, a column of nothing but nulls is `unknown` until it is widened."""
    top = {8: 2**8 - 1, 16: 2**16 - 1, 32: 2**32 - 1, 64: 2**64 - 1}
    kinds = {8: pa.uint8(), 16: pa.uint16(), 32: pa.uint32(), 64: pa.uint64()}
    rows = pa.table({f"u{bits}": pa.array([0, value, None], kinds[bits]) for bits, value in top.items()})
    rows = rows.append_column("nothing", pa.nulls(3))
    with store.begin("main") as tx:
        tx.create_table("odd", rows.schema)
        tx.append("odd", pa.concat_tables([rows] * 100))
    kept = {field.name: field.type for field in store.snapshot("main").schema_of("odd").fields}
    assert kept == {"u8": "int", "u16": "int", "u32": "long", "u64": "decimal(20,0)", "nothing": "unknown"}
    back = store.snapshot("main").to_arrow("odd")
    assert back.column("nothing").null_count == 300
    for bits, value in top.items():
        assert pc.max(back.column(f"u{bits}")).as_py() == value
        assert pc.min(back.column(f"u{bits}")).as_py() == 0
    assert "nothing" not in pq.read_schema(store.path / files(store, "odd")[0].path).names
    with store.begin("main") as tx:
        tx.alter("odd", WidenColumn("nothing", pa.string()))
        tx.append("odd", pa.table({"nothing": ["now"]}))
    back = store.snapshot("main").to_arrow("odd", where=Compare("nothing", "=", "now"))
    assert back.num_rows == 1


@pytest.mark.parametrize("appends", [1, 60])
def test_few_nodes_of_the_manifest_are_read_for_one_partition(store: Store, appends: int) -> None:
    """Buckets say nothing about the bounds of a column, so every node says which of them are below it."""
    count = 30_000
    with store.begin("main") as tx:
        tx.create_table("t", EVENTS, partition_by="bucket(1000, id)")
        state = tx.state("t")
        per = count // appends
        buckets = [number * 1000 // per for _ in range(appends) for number in range(per)]
        files = [
            DataFile(first, bytes(32), 1, state.schema, 1, spec=state.spec, partition=(bucket,))
            for first, bucket in enumerate(buckets)
        ]
        state = apply_edit(tx.pending.get, tx.pending.put, state, Edit(added=files))
        seen: list[Manifest] = []

        def get(oid: bytes) -> object:
            value = tx.pending.get(oid)
            seen.extend([value] if isinstance(value, Manifest) else [])
            return value

        wanted = bucket_numbers(pa.array([77], pa.int32()), 1000)[0]
        found = list(live_files(get, state, Compare("id", "=", 77)))
        assert {file.partition for file in found} == {(wanted,)}
        assert len(found) == buckets.count(wanted)
        assert len(seen) <= 2 + 2 * appends
        seen.clear()
        assert len(list(live_files(get, state, In("id", (77, 78))))) <= 2 * len(found) + 2
        assert len(list(live_files(get, state, Compare("id", "<", 77)))) == count


def test_what_nodes_say_of_partitions_stands_the_widening_of_a_column(store: Store) -> None:
    """A bucket of a date is another one than that of the moment that the date becomes."""
    rows = pa.table({"on": [dt.date(2026, 1, 1) + dt.timedelta(days=n) for n in range(600)]})
    with store.begin("main") as tx:
        tx.create_table("t", rows.schema, partition_by="bucket(400, on)")
        tx.append("t", rows)
        tx.alter("t", WidenColumn("on", pa.timestamp("us")))
        tx.append("t", rows)
    state = store.snapshot("main").state("t")
    assert state.root is not None
    assert {child.parts[0].spec for child in manifest(store.catalog.get, state.root).children} == {state.spec}
    for number in range(0, 600, 37):
        moment = START + dt.timedelta(days=number)
        assert store.snapshot("main").to_arrow("t", where=Compare("on", "=", moment)).num_rows == 2
