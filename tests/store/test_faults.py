"""The promises of the store under faults: nothing acknowledged is lost, nothing half-done is seen, damage is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import Corrupt
from gristmill.model.changes import SetPartitioning
from gristmill.model.units import Unit
from gristmill.store import Transaction, open_store

from . import faults

NUMBERS = pa.schema([pa.field("id", pa.int64(), False), ("text", pa.string())])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "store"
    with open_store(place, create=True, durability="none") as store, store.begin("main") as tx:
        for name in ("small", "large"):
            tx.create_table(name, NUMBERS)
    return place


def rows(number: int, count: int) -> pa.Table:
    return pa.table({"id": [number] * count, "text": [f"{number}/{i}" for i in range(count)]}, NUMBERS)


def append_both(path: str) -> None:
    """Append to two tables at once: a row to one, a file to the other; now and then that compacts."""
    with open_store(path) as store:
        number = store.snapshot("main").table("small").row_count
        with store.begin("main") as tx:
            tx.append("small", rows(number, 1))
            tx.append("large", rows(number, 400))
        faults.acknowledge(path, str(number))


def put_files(path: str) -> None:
    """Store a folder of files and a document."""
    folder = Path(path).parent / "folder"
    folder.mkdir(exist_ok=True)
    (folder / "model.bin").write_bytes(os.urandom(2000))
    with open_store(path) as store:
        with store.begin("main") as tx:
            tx.put_files("models.m", folder)
            tx.put_document("d", (folder / "model.bin").read_bytes())
        faults.acknowledge(path, "files")


def tidy(path: str) -> None:
    """Compact everything and collect garbage at once."""
    with open_store(path) as store:
        store.maintain(grace_s=0)


def whole(path: Path) -> int:
    """Check that both tables tell the same story, and return how many appends there are."""
    with open_store(path) as store:
        snapshot = store.snapshot("main")
        small = snapshot.to_arrow("small").column("id").to_pylist()
        assert sorted(small) == list(range(len(small)))
        large = snapshot.to_arrow("large").column("id").to_pylist()
        assert sorted(large) == sorted([*small] * 400)
        assert snapshot.table("large").row_count == len(large)
        return len(small)


def healthy(path: Path) -> None:
    with open_store(path) as store:
        found = store.doctor()
    assert found.healthy, found.damages


def test_killed_at_every_step_of_a_commit(path: Path) -> None:
    for _ in faults.killed_at_every_step(path, append_both, stride=3):
        count = whole(path)
        known = len(faults.acknowledged(path))
        assert known <= count
    healthy(path)
    with open_store(path) as store:
        collected = store.maintain(grace_s=0).collected
        assert collected.files > 0
        assert store.maintain(grace_s=0).collected.waiting == 0
        assert all(damage.kind != "loose" for damage in store.doctor().damages)
    whole(path)


def test_killed_at_every_step_of_maintenance(path: Path) -> None:
    for _ in range(3):
        faults.run(append_both, str(path))
    for _ in faults.killed_at_every_step(path, tidy, stride=5):
        assert whole(path) == 3
    healthy(path)


def test_killed_at_every_step_of_storing_files(path: Path) -> None:
    for _ in faults.killed_at_every_step(path, put_files, stride=2):
        with open_store(path) as store:
            snapshot = store.snapshot("main")
            if "models.m" in snapshot.file_trees():
                out = path.parent / "out"
                store.checkout(snapshot.files("models.m"), out)
                assert (out / "model.bin").read_bytes() == snapshot.document("d")
    healthy(path)


@pytest.mark.parametrize("operation", [append_both, put_files])
def test_lost_power_loses_nothing_acknowledged(path: Path, operation: faults.Operation) -> None:
    with open_store(path) as store:
        store.records.put("x", "x", b"flushed")
    step, ended = 0, False
    while not ended:
        ended = faults.power_lost_at(path, operation, step)
        count = whole(path)
        assert len([word for word in faults.acknowledged(path) if word != "files"]) <= count
        healthy(path)
        step += 5
    if operation is put_files:
        with open_store(path) as store:
            assert "models.m" in store.snapshot("main").file_trees()


def test_a_full_disk_is_an_error_that_loses_nothing(path: Path) -> None:
    faults.run(append_both, str(path))
    start = whole(path)
    for limit in (0, 100, 1000, 3000):
        code = faults.on_a_full_disk(path, append_both, limit)
        assert code in (0, 10), (limit, code)
        assert whole(path) >= start
    for step in range(0, 30, 6):
        assert faults.refused_at(path, append_both, step) in (0, 10, 12)
        whole(path)
    assert faults.on_a_full_disk(path, append_both, 1 << 30) == 0
    healthy(path)


def _count(path: str, number: int) -> None:
    with open_store(path, durability="none") as store:
        for step in range(4):

            def add(tx: Transaction, step: int = step) -> None:
                now = tx.to_arrow("counter").column("n")[0].as_py()
                tx.replace("counter", pa.table({"n": [now + 1]}))
                tx.append("small", pa.table({"id": [number * 100 + step], "text": [str(now)]}, NUMBERS))

            store.retry("main", add)


def test_eight_processes_lose_no_update_and_see_no_torn_state(path: Path) -> None:
    with open_store(path) as store, store.begin("main") as tx:
        tx.create_table("counter", pa.schema([("n", pa.int64())]))
        tx.append("counter", pa.table({"n": [0]}))

    def check(place: Path) -> None:
        with open_store(place) as store:
            snapshot = store.snapshot("main")
            number = snapshot.to_arrow("counter").column("n").to_pylist()
            assert number == [snapshot.table("small").row_count]

    faults.race(path, [partial(_count, number=n) for n in range(8)], check=check)
    with open_store(path) as store:
        texts = store.snapshot("main").to_arrow("small").column("text").to_pylist()
    assert sorted(map(int, texts)) == list(range(32))
    healthy(path)


# -- damage and the doctor --------------------------------------------------------------------------


@pytest.fixture
def full(path: Path, tmp_path: Path) -> Path:
    faults.run(append_both, str(path))
    faults.run(append_both, str(path))
    faults.run(put_files, str(path))
    with open_store(path) as store, store.begin("main") as tx:
        tx.alter("large", SetPartitioning(("bucket(4, id)",)))
        number = store.new_units("large", 3)
        tx.put_units("large", {"u": Unit(name="u", number=number + 2, digest="d")})
    faults.copy_of(path, tmp_path / "copy")
    return path


def data_file(path: Path) -> Path:
    return sorted((path / "data").rglob("*.parquet"))[0]


def content_file(path: Path) -> Path:
    return next(p for p in (path / "files").rglob("*") if p.is_file())


def damaged_object(path: Path) -> None:
    with open_store(path) as store, store.catalog.write() as db:
        db.execute("update objects set data = x'00' where kind = 'manifest'")


def missing_object(path: Path) -> None:
    with open_store(path) as store, store.catalog.write() as db:
        db.execute("delete from objects where kind = 'text'")


def catalog_says(sql: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with open_store(path) as store, store.catalog.write() as db:
            db.execute(sql)

    return damage


def old_counter(name: str) -> Callable[[Path], None]:
    return catalog_says(f"update counters set next = 1 where name = '{name}'")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "flipped bit in a data file": (lambda path: faults.flip(data_file(path)), "file"),
    "short data file": (lambda path: faults.cut(data_file(path), 10), "file"),
    "missing data file": (lambda path: data_file(path).unlink(), "file"),
    "flipped bit in a file": (lambda path: faults.flip(content_file(path)), "content"),
    "missing file": (lambda path: content_file(path).unlink(), "content"),
    "damaged object": (damaged_object, "object"),
    "missing object": (missing_object, "object"),
    **{f"{name} counter from an old copy": (old_counter(name), "counter") for name in ("row", "sequence", "field")},
    "unit counter from an old copy": (old_counter("unit"), "counter"),
    "partition counter from an old copy": (old_counter("spec"), "counter"),
    "missing folder": (lambda path: (path / "tmp").rmdir(), "folder"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_doctor_names_damage_and_repairs_it_from_a_copy(full: Path, tmp_path: Path, name: str) -> None:
    damage, kind = DAMAGES[name]
    damage(full)
    with open_store(full) as store:
        found = store.doctor()
        assert not found.healthy
        assert kind in {d.kind for d in found.damages}
        if kind in ("file", "content", "object"):
            assert any("branch `main`" in d.lost for d in found.damages)
            assert any("copy" in d.hint for d in found.damages)
            alone = store.doctor(repair=True)
            assert not alone.healthy
        mended = store.doctor(repair=True, copies=[tmp_path / "copy"])
        assert mended.healthy, mended.damages
    healthy(full)
    assert whole(full) == 2


def mend(path: str) -> None:
    """Repair from the copy beside the store."""
    with open_store(path) as store:
        store.doctor(repair=True, copies=[Path(path).parent / "copy"])


def test_killed_at_every_step_of_a_repair(full: Path) -> None:
    data_file(full).unlink()
    content = content_file(full)
    content.chmod(0o644)
    faults.flip(content)
    for _ in faults.killed_at_every_step(full, mend, stride=2):
        with open_store(full) as store:
            assert {damage.kind for damage in store.doctor().damages} <= {"file", "content", "ref", "loose"}
    healthy(full)
    assert whole(full) == 2


MOVED = {
    "a branch is elsewhere": "update refs set target = (select target from refs where name='kept') where name='main'",
    "a branch is gone": "delete from refs where name = 'main'",
    "a tag is gone": "delete from refs where name = 'v1'",
    "a hold has another name": "update refs set name = 'jept' where name = 'kept'",
}


@pytest.mark.parametrize("name", MOVED)
def test_the_doctor_names_refs_that_are_not_where_they_were_moved_to(full: Path, name: str) -> None:
    with open_store(full) as store:
        store.create_tag("v1")
        store.create_hold("kept", "main~1", "a model")
        assert store.doctor().healthy
        head = store.resolve("main")
        with store.catalog.write() as db:
            db.execute(MOVED[name])
        found = [damage for damage in store.doctor().damages if damage.kind == "ref"]
        assert len(found) == 1
        if "branch" in name:
            assert head[:12] in found[0].hint


def test_a_damaged_digest_is_computed_again(full: Path) -> None:
    with open_store(full) as store:
        known = store.snapshot("main").digest("large")
        with store.catalog.write() as db:
            db.execute("update sidecars set value = zeroblob(24) where kind = 'digest'")
        assert store.snapshot("main").digest("large") == known
        assert store.snapshot("main").digest("large") == known


def test_the_doctor_finds_the_newest_whole_state(full: Path) -> None:
    with open_store(full) as store:
        before = store.resolve("main")
        with store.begin("main") as tx:
            tx.append("large", rows(9, 5000))
        newest = max((full / "data").rglob("*.parquet"), key=lambda p: p.stat().st_mtime)
        newest.unlink()
        found = store.doctor()
    assert any(f"restore {before[:12]}" in damage.hint for damage in found.damages if damage.kind == "ref")


def test_a_copy_of_the_same_bytes_in_the_store_is_enough(path: Path) -> None:
    with open_store(path, durability="none") as store:
        for table in ("small", "large"):
            with store.begin("main") as tx:
                tx.append(table, rows(1, 300))
        faults.flip(data_file(path))
        assert store.doctor(repair=True).healthy
        assert store.snapshot("main").to_arrow("small") == store.snapshot("main").to_arrow("large")


def test_a_damaged_catalog_is_named(full: Path) -> None:
    with open_store(full) as store:
        store.catalog.connection().execute("pragma wal_checkpoint(truncate)")
    size = (full / "catalog.db").stat().st_size
    with (full / "catalog.db").open("r+b") as file:
        file.seek(size // 3)
        file.write(os.urandom(size // 3))

    try:
        with open_store(full) as store:
            named = not store.doctor().healthy
    except Corrupt as error:
        named = error.hint == "gristmill doctor"
    assert named
