"""Compaction: content, identity and tokens stay; edits of others are carried over it; it never fails a writer."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.model.predicates import Always, Compare, In
from gristmill.store import Store, open_store

from .conftest import PEOPLE, content, ids

Rows = Callable[..., pa.Table]


def test_small_appends_stay_few_files_in_the_catalog_first(store: Store, people: Rows) -> None:
    for number in range(100, 160):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    state = store.snapshot("main").table("people")
    assert (state.row_count, state.file_count) == (65, state.file_count)
    assert state.file_count < 20
    assert not list((store.path / "data").rglob("*.parquet"))
    assert set(content(store)) == {1, 2, 3, 4, 5, *range(100, 160)}
    assert len(set(ids(store).values())) == 65
    for number in range(1000, 1400):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    assert store.snapshot("main").table("people").file_count < 40
    assert len(list((store.path / "data").rglob("*.parquet"))) >= 1
    assert len(set(ids(store).values())) == 465
    assert store.diff("main~400", "main").tables["people"].inserted
    for back in (1, 16, 17, 300, 459):
        assert len(content(store, ref=f"main~{back}")) == 465 - back


def test_a_table_inlines_a_bounded_number_of_bytes(tmp_path: Path) -> None:
    with open_store(tmp_path / "s", create=True, durability="none", compact="off") as store:
        with store.begin("main") as tx:
            tx.create_table("t", pa.schema([("a", pa.string())]))
            for number in range(120):
                tx.append("t", pa.table({"a": [str(number) * 1000]}))
        files = store.snapshot("main").scan("t").files
        inlined = [len(file.inline) for file in files if file.inline is not None]
        assert 0 < sum(inlined) <= (256 << 10) + (5 << 10)
        assert len(inlined) < len(files) == 120
        assert store.snapshot("main").to_arrow("t").num_rows == 120


def test_what_compaction_does_is_no_change(store: Store, people: Rows) -> None:
    for number in range(100, 114):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    before = store.snapshot("main")
    with store.begin("main") as tx:
        tx.upsert("people", people(1, name="u"))
    after = store.snapshot("main")
    assert after.table("people").file_count < before.table("people").file_count
    delta = store.diff("main~1", "main").tables["people"]
    assert (len(delta.updated), len(delta.inserted), len(delta.deleted)) == (1, 0, 0)
    store.revert("main", on="main")
    assert content(store)[1] == "n1"
    assert store.snapshot("main").digest("people") == before.digest("people")


@pytest.mark.parametrize("act", ["upsert", "delete all", "append", "replace", "where"])
def test_edits_are_carried_over_compaction(store: Store, people: Rows, act: str) -> None:
    for number in range(100, 114):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    tx = store.begin("main")
    if act == "upsert":
        tx.upsert("people", people(100, 107, 2, 500, name="late"))
    elif act == "delete all":
        tx.delete("people", keys=pa.table({"id": [1, 2, 3, 4, 5, *range(100, 108)]}))
    elif act == "append":
        tx.append("people", people(500))
    elif act == "replace":
        tx.replace("people", people(1, 500))
    else:
        tx.delete("people", Compare("id", ">", 105))
    known = ids(store)
    if act in ("replace", "where"):
        store.maintain()
    else:
        with store.begin("main") as other:
            other.append("people", people(600))
    assert store.snapshot("main").table("people").file_count <= 2
    expected = set(known) | ({600} if act not in ("replace", "where") else set())
    tx.commit()
    if act == "delete all":
        expected -= {1, 2, 3, 4, 5, *range(100, 108)}
    elif act == "replace":
        expected = {1, 500}
    elif act == "where":
        expected = {key for key in expected if key <= 105}
    else:
        expected |= {500}
    assert set(content(store)) == expected
    after = ids(store)
    assert {key: after[key] for key in after.keys() & known.keys()} == {
        key: known[key] for key in after.keys() & known.keys()
    }
    assert len(set(after.values())) == len(after)
    if act == "upsert":
        assert content(store)[107] == "late107"


def test_rows_that_died_while_it_worked_stay_dead(store: Store, people: Rows) -> None:
    for number in range(100, 110):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    from gristmill.store.maintenance import lay_out

    tx = store.begin("main")
    assert lay_out(tx, "people")
    with store.begin("main") as other:
        other.delete("people", keys=pa.table({"id": [1, 103]}))
        other.append("people", people(700))
    tx.commit()
    assert set(content(store)) == {2, 3, 4, 5, 100, 101, 102, *range(104, 110), 700}
    assert store.snapshot("main").table("people").file_count <= 3


def test_half_dead_files_are_written_again(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.append("people", people(*range(100, 1000)))
    with store.begin("main") as tx:
        tx.delete("people", In("id", tuple(range(100, 400))))
    with store.begin("main") as tx:
        tx.append("people", people(6))
    plan = store.snapshot("main").scan("people")
    assert all(file.rowset is None for file in plan.files)
    assert len(content(store)) == 606


def test_maintain_leaves_few_full_files(store: Store, people: Rows) -> None:
    with open_store(store.path, durability="none", compact="off") as lazy:
        for start in range(1000, 31_000, 1000):
            with lazy.begin("main") as tx:
                tx.append("people", people(*range(start, start + 500)))
            with lazy.begin("main") as tx:
                tx.delete("people", keys=pa.table({"id": [start, start + 1]}))
        assert lazy.snapshot("main").table("people").file_count > 30
    digest, known = store.snapshot("main").digest("people"), ids(store)
    tokens = store.snapshot("main").table("people").tokens
    report = store.maintain()
    assert report.tables[0].name == "people"
    assert store.snapshot("main").table("people").file_count == 1
    assert store.snapshot("main").digest("people") == digest
    assert store.snapshot("main").table("people").tokens == tokens
    assert ids(store) == known
    assert not store.maintain().tables
    assert store.diff("main~1", "main").empty
    assert [c.message for c in store.log("main", table="people", limit=1)] == [""]


def test_clustered_tables_have_disjoint_files(store: Store) -> None:
    rng = random.Random(7)
    schema = pa.schema([("day", pa.int64()), ("x", pa.int64())])
    with store.begin("main") as tx:
        tx.create_table("t", schema, cluster_by="day")
        for _ in range(2):
            days = [rng.randrange(10_000) for _ in range(250_000)]
            tx.append("t", pa.table({"day": days, "x": list(range(250_000))}, schema))
    store.maintain()
    ranges = _ranges(store)
    assert len(ranges) >= 2
    assert all(low[1] <= high[0] for low, high in pairwise(ranges))
    assert store.snapshot("main").table("t").row_count == 500_000
    few = store.snapshot("main").scan("t", where=Compare("day", "=", 5))
    assert len(few.files) == 1
    with store.begin("main") as tx:
        tx.append("t", pa.table({"day": list(range(300, 0, -1)), "x": [0] * 300}, schema))
    assert store.snapshot("main").to_arrow("t", where=Compare("day", "=", 7), columns=["x"]).num_rows > 1


def _ranges(store: Store) -> list[tuple[object, object]]:
    from gristmill.store.tables import live_files

    snapshot = store.snapshot("main")
    field = snapshot.table("t").schema.field("day").id
    files = live_files(store.catalog.get, snapshot.state("t"))
    return sorted((file.stats[field].lower, file.stats[field].upper) for file in files)  # type: ignore[type-var]


def test_a_compaction_that_fails_fails_no_writer(store: Store, people: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.store import compaction

    def broken(*_: object) -> None:
        raise OSError("no")

    for number in range(100, 115):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    monkeypatch.setattr(compaction, "_rows", broken)
    with store.begin("main") as tx:
        tx.append("people", people(200))
        tx.append("people", people(201))
    assert len(content(store)) == 22


def test_everything_dead(store: Store, people: Rows) -> None:
    for number in range(100, 120):
        with store.begin("main") as tx:
            tx.append("people", people(number))
    with store.begin("main") as tx:
        tx.delete("people", Always())
        tx.append("people", people(1))
    assert content(store) == {1: "n1"}
    assert store.snapshot("main").table("people").schema.to_arrow() == PEOPLE.set(
        0, PEOPLE.field(0).with_nullable(False)
    )


def test_digests_of_dropped_files_are_collected(store: Store) -> None:
    rows = pa.table({"n": range(5000)})
    store.create_branch("side")
    for branch in ("main", "side"):
        with store.begin(branch) as tx:
            tx.create_table("t", rows.schema)
            tx.append("t", rows.slice(0, 4990 if branch == "side" else 5000))
        store.snapshot(branch).digest("t")
    held = "select id from sidecars where kind = 'digest'"
    store.maintain(grace_s=0)
    assert len(store.catalog.rows(held)) == 2
    store.delete_branch("side")
    store.maintain(grace_s=0)
    assert len(store.catalog.rows(held)) == 1
    assert store.snapshot("main").digest("t").startswith("5000:")
    assert len(store.catalog.rows(held)) == 1
