"""Every operation that writes, under every fault: it is done whole or not at all, and can be done again.

A few steps of each are tried; all of them with ``GRISTMILL_FAULTS=all``, which takes long.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import EngineError, GristmillError
from gristmill.model.changes import AddColumn, RenameColumn, SetPartitioning, WidenColumn
from gristmill.model.predicates import Compare
from gristmill.model.units import Ledger, Unit
from gristmill.store import Store, compute, open_store

from . import faults

PEOPLE = pa.schema([pa.field("id", pa.int64(), False), ("name", pa.string()), ("_origin_unit", pa.int64())])
ASIDE = pa.schema([pa.field("id", pa.string(), False), ("unit_number", pa.int64())])


def rows(*numbers: int, name: str = "n", unit: int | None = None) -> pa.Table:
    named = [f"{name}{number}" for number in numbers]
    return pa.table({"id": numbers, "name": named, "_origin_unit": [unit] * len(numbers)}, PEOPLE)


def prepare(path: Path) -> None:
    """Make a store with a past: several branches, files, inlined rows, vectors, units, a hold."""
    with open_store(path, create=True, durability="none") as store:
        with store.begin("main", message="tables") as tx:
            tx.create_table("people", PEOPLE, key="id")
            tx.create_table("log", PEOPLE)
            tx.create_table("_quarantine.log", ASIDE, key="id")
            tx.append("people", rows(*range(400)))
            tx.append("log", rows(*range(400)))
        with store.begin("main", message="land") as tx:
            tx.append("log", rows(1000, 1001, unit=1))
            tx.append("_quarantine.log", pa.table({"id": ["r"], "unit_number": [1]}))
            counts = Ledger(delivered=3, accepted=2, quarantined=1)
            tx.put_units("log", {"u": Unit(name="u", number=1, digest="d", ledger=counts)})
            tx.put_document("d", b"one")
        store.create_branch("side")
        for number in range(13):
            with store.begin("main", message=f"edit {number}") as tx:
                tx.upsert("people", rows(number, name="main"))
                tx.append("log", rows(2000 + number))
        with store.begin("side", message="aside") as tx:
            tx.upsert("people", rows(300, 500, name="side"))
            tx.append("log", rows(*range(3000, 3300)))
        store.create_branch("run", at="main")
        with store.begin("run") as tx:
            tx.delete("people", Compare("id", ">", 390))
        store.create_hold("kept", "main~3", "a model")
        store.create_tag("v0", at="main~3")
    folder = path.parent / "given"
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(bytes(range(256)) * 8)


def in_transaction(change: Callable[..., object]) -> Callable[[Store], None]:
    def act(store: Store) -> None:
        with store.begin("main") as tx:
            change(tx)

    return act


def decide(tx) -> None:  # type: ignore[no-untyped-def]
    """Take a row out of quarantine and put it into its table."""
    tx.delete("_quarantine.log", keys=pa.table({"id": ["r"]}))
    tx.append("log", rows(1002, unit=1))
    tx.put_units("log", {"u": Unit(name="u", number=1, digest="d", ledger=Ledger(delivered=3, accepted=3))})


def evolve(tx) -> None:  # type: ignore[no-untyped-def]
    tx.alter("log", AddColumn("more", pa.int32()), RenameColumn("name", "called"), WidenColumn("more", pa.int64()))
    tx.append("log", pa.table({"id": [7], "more": [1]}))


def repartition(tx) -> None:  # type: ignore[no-untyped-def]
    tx.alter("log", SetPartitioning(("bucket(4, id)",)))
    tx.append("log", rows(*range(5000, 5400)))


def compact(store: Store) -> None:
    for number in range(4):
        with store.begin("main") as tx:
            tx.append("log", rows(4000 + number))


def check_out(store: Store) -> None:
    with store.begin("main") as tx:
        tx.put_files("m", store.path.parent / "given")
    store.checkout(store.snapshot("main").files("m"), store.path.parent / "out", link=True)


def replaced(tx) -> None:  # type: ignore[no-untyped-def]
    tx.replace("people", rows(*range(5, 300), name="new"))


def applied(tx) -> None:  # type: ignore[no-untyped-def]
    both = pa.concat_tables([rows(3, name="main"), rows(3, name="after")])
    tx.apply("people", both.append_column("_w", pa.array([-1, 1], pa.int64())))


def many(tx) -> None:  # type: ignore[no-untyped-def]
    for number in range(5):
        tx.create_table(f"t{number}", PEOPLE)
        tx.append(f"t{number}", rows(*range(300)))


OPERATIONS: dict[str, Callable[[Store], object]] = {
    "append": in_transaction(lambda tx: tx.append("log", rows(*range(6000, 6400)))),
    "append of one row": in_transaction(lambda tx: tx.append("people", rows(9000))),
    "upsert": in_transaction(lambda tx: tx.upsert("people", rows(*range(200, 600), name="up"))),
    "delete by key": in_transaction(lambda tx: tx.delete("people", keys=pa.table({"id": [1, 2, 399]}))),
    "delete by predicate": in_transaction(lambda tx: tx.delete("log", Compare("id", "<", 100))),
    "replace": in_transaction(replaced),
    "apply": in_transaction(applied),
    "many tables": in_transaction(many),
    "drop": in_transaction(lambda tx: tx.drop_table("people")),
    "evolve": in_transaction(evolve),
    "repartition": in_transaction(repartition),
    "decide on a row set aside": in_transaction(decide),
    "document": in_transaction(lambda tx: tx.put_document("d", b"two" * 1000)),
    "files": in_transaction(lambda tx: tx.put_files("m", tx.store.path.parent / "given")),
    "check out": check_out,
    "merge": lambda store: store.merge("side", into="main"),
    "publish": lambda store: store.publish("run", into="main", base="main", message="publish"),
    "publish a new branch": lambda store: store.publish("run", into="fresh", base="main", message="publish"),
    "cherry-pick": lambda store: store.cherry_pick("side", on="main"),
    "revert": lambda store: store.revert("main~13", on="main"),
    "restore": lambda store: store.restore("v0", on="main"),
    "restore a table": lambda store: store.restore("main~13", on="main", tables=["log"]),
    "maintain": lambda store: store.maintain(grace_s=0),
    "compaction": compact,
    "branch": lambda store: store.create_branch("new", at="main~2"),
    "delete a branch": lambda store: store.delete_branch("side"),
    "rename a branch": lambda store: store.rename_branch("side", "aside"),
    "tag": lambda store: store.create_tag("v1"),
    "delete a tag": lambda store: store.delete_tag("v0"),
    "hold": lambda store: store.create_hold("h", "main", "an export"),
    "release a hold": lambda store: store.release_hold("kept"),
    "record": lambda store: store.records.put("runs", "1", b"x" * 5000),
}
STEPPED = {"compaction", "check out", "maintain"}
"""What is several commits, of which some may be done."""


def act(name: str, path: str) -> None:
    with open_store(path) as store:
        OPERATIONS[name](store)
    faults.acknowledge(path, name)


class Operation:
    """One of the operations, in a form that another process can be given."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, path: str) -> None:
        act(self.name, path)


State = dict[str, object]


def state_of(path: Path) -> State:
    """Return everything that a store holds, without the numbers that only name it."""
    with open_store(path) as store:
        found: State = {"tags": sorted(store.tags()), "holds": sorted(store.holds())}
        found["record"] = store.records.get("runs", "1")
        for branch in store.branches():
            view = store.snapshot(branch)
            for name in view.tables(system=True):
                read = compute.reader(view._plan(name, hidden=True, row_ids=True)).read_all()
                assert len(set(read.column("_row_id").to_pylist())) == read.num_rows == view.table(name).row_count
                content = read.drop(["_row_id"]).to_pylist()
                found[f"{branch}/{name}"] = sorted(content, key=repr)
            documents = {path: view.document(path) for path in view.documents()}
            units = {unit: (u.state, u.ledger) for unit, u in view.units("log").items()}
            trees = {name: view.files(name).entries for name in view.file_trees()}
            found[f"{branch}/"] = (documents, units, trees)
        assert store.doctor().healthy, store.doctor().damages
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("made") / "store"
    prepare(place)
    return place


@pytest.fixture
def fresh(made: Path, tmp_path: Path) -> Callable[[], Path]:
    """Return what gives a new copy of the store, as it was, each time."""
    shutil.copytree(made.parent / "given", tmp_path / "given")

    def copy() -> Path:
        place = tmp_path / "store"
        shutil.rmtree(place, ignore_errors=True)
        (tmp_path / "store.journal").unlink(missing_ok=True)
        shutil.copytree(made, place)
        with open_store(place):
            """Let it notice that it is a copy."""
        return place

    return copy


ENDED = 1 << 30
"""A step that no operation gets to; then it has ended, and what it promised must hold."""


def spread(count: int, points: int) -> list[int]:
    """Return a few of so many steps, the last one among them; all with ``GRISTMILL_FAULTS=all``."""
    if os.environ.get("GRISTMILL_FAULTS") == "all":
        return list(range(count))
    return sorted({count - 1 - number * count // points for number in range(points)} - {-1})


@pytest.fixture(scope="module")
def before(made: Path, tmp_path_factory: pytest.TempPathFactory) -> State:
    place = tmp_path_factory.mktemp("before") / "store"
    shutil.copytree(made, place)
    return state_of(place)


def check(path: Path, name: str, before: State, after: State, *, again: bool = False) -> None:
    """Check that an operation was done whole or not at all, and, if told to, that it can be done again."""
    now = state_of(path)
    if name in faults.acknowledged(path):
        assert now == after
    if name not in STEPPED:
        assert now in (before, after)
    if again and now == before != after:
        assert faults.run(Operation(name), str(path)) == 0
        assert state_of(path) == after


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_or_without_power_it_is_done_whole_or_not_at_all(
    fresh: Callable[[], Path], before: State, name: str
) -> None:
    operation, path = Operation(name), fresh()
    count = faults.steps(path, operation)
    after = state_of(path)
    kills = []
    for step in spread(count, 3):
        killed = fresh()
        kills.append(faults.killed_at(killed, operation, step))
        check(killed, name, before, after, again=step == count - 1)
    assert any(kills)
    for step in (*spread(count, 1), ENDED):
        cut = fresh()
        assert faults.power_lost_at(cut, operation, step) or step != ENDED
        check(cut, name, before, after)


def refused(path: Path, name: str, step: int) -> EngineError | None:
    with open_store(path, durability="none") as store:
        try:
            faults.refusing(path, lambda: OPERATIONS[name](store), step)
        except EngineError as error:
            return error
    return None


@pytest.mark.parametrize("name", OPERATIONS)
def test_on_a_full_disk_it_is_done_whole_or_not_at_all(fresh: Callable[[], Path], before: State, name: str) -> None:
    path = fresh()
    with open_store(path, durability="none") as store:
        count = faults.refusing(path, lambda: OPERATIONS[name](store), ENDED)
    after = state_of(path)
    assert count
    for step in spread(count, 3):
        full = fresh()
        error = refused(full, name, step)
        assert error is None or (error.retryable, error.code) == (True, "GM-E011")
        check(full, name, before, after, again=step == count - 1)
    for limit in (0, 3000):
        full = fresh()
        assert faults.on_a_full_disk(full, Operation(name), limit) in (0, 10)
        check(full, name, before, after)


def flipped(path: Path) -> Iterator[Path]:
    yield from sorted(p for part in ("data", "files") for p in (path / part).rglob("*") if p.is_file())


def test_a_flipped_bit_in_what_any_operation_wrote_is_named(fresh: Callable[[], Path]) -> None:
    """Every file and every object that the operations leave, one after the other."""
    path = fresh()
    for name in ("files", "merge", "repartition", "upsert", "evolve"):
        assert faults.run(Operation(name), str(path)) == 0
    whole = faults.copy_of(path, path.parent / "whole")
    for file in flipped(path):
        for bit, offset in enumerate((0, file.stat().st_size // 3, file.stat().st_size - 1)):
            faults.flip(file, offset, bit)
            with open_store(path) as store:
                found = store.doctor()
            assert not found.healthy
            assert any(file.relative_to(path).as_posix() == d.where and d.lost for d in found.damages)
            faults.flip(file, offset, bit)
    with open_store(path) as store:
        objects = store.catalog.rows("select id, kind, data from objects order by kind, id")
        assert {kind for _, kind, _ in objects} == {
            "commit", "tree", "map", "text", "schema", "table", "manifest", "vector", "rows",
        }  # fmt: skip
        reached = {oid.hex() for oid, kind, _ in objects}
        for number, (oid, kind, data) in enumerate(objects):
            if number % 7 and kind not in ("vector", "rows", "schema", "text"):
                continue
            place = number % len(data)
            damaged = data[:place] + bytes([data[place] ^ 1 << number % 8]) + data[place + 1 :]
            with store.catalog.write() as db:
                db.execute("update objects set data = ? where id = ?", (damaged, oid))
            store.catalog.forget([oid])
            found = store.doctor(deep=False)
            assert not found.healthy, kind
            assert oid.hex() in {damage.where for damage in found.damages if damage.kind == "object"} & reached
            with store.catalog.write() as db:
                db.execute("update objects set data = ? where id = ?", (data, oid))
            store.catalog.forget([oid])
        assert store.doctor().healthy
    whole.back(path)


def test_a_flipped_bit_in_the_catalog_is_named_or_changes_nothing(fresh: Callable[[], Path]) -> None:
    path = fresh()
    with open_store(path) as store:
        store.catalog.connection().execute("pragma wal_checkpoint(truncate)")
    known = state_of(path)
    with open_store(path) as store:
        store.catalog.connection().execute("pragma wal_checkpoint(truncate)")
    whole = faults.copy_of(path, path.parent / "whole")
    size = (path / "catalog.db").stat().st_size
    for number in range(60):
        faults.flip(path / "catalog.db", (number * 2_654_435_761) % size, number % 8)
        try:
            with open_store(path) as store:
                named = not store.doctor().healthy
        except GristmillError:
            named = True
        if not named:
            assert state_of(path) == known, number
        whole.back(path)
