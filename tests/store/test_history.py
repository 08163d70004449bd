"""Branches, tags, holds, addresses, log, diff, publish, merge, revert, restore, files, documents, records."""

from __future__ import annotations

import datetime as dt
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import Conflict, Corrupt, NotFound, Stale, StoreError, UsageError
from gristmill.model.predicates import Compare
from gristmill.model.units import Unit
from gristmill.store import Store, compute, open_store

from .conftest import content, ids

Rows = Callable[..., pa.Table]


def test_open_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_store(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    with open_store(tmp_path / "s", create=True) as store, open_store(tmp_path / "s", create=True) as again:
        assert store.id == again.id
        assert store.resolve("main") == again.resolve("main")
    with open_store(tmp_path / "s") as store, store.catalog.write() as db:
        db.execute("update meta set value = 99 where key = 'format'")
    with pytest.raises(StoreError, match="format 99"):
        open_store(tmp_path / "s")


def test_addresses(store: Store, people: Rows) -> None:
    commits = [store.resolve("main")]
    for number in range(30):
        with store.begin("main", message=f"m{number}") as tx:
            tx.put_document("d", str(number).encode())
        commits.append(store.resolve("main"))
    for steps in (0, 1, 2, 7, 29, 30):
        assert store.resolve(f"main~{steps}") == commits[-1 - steps]
    assert store.resolve(commits[3][:12]) == commits[3]
    today = dt.datetime.now(dt.UTC).date().isoformat()
    assert store.resolve(f"main@{today}~2") == commits[-3]
    when = dt.datetime.fromtimestamp(store.commit_of(commits[9]).time_us / 1e6, dt.UTC)
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=store.commit_of(commits[9]).time_us)
    assert abs((when - moment).total_seconds()) < 1
    assert store.resolve(f"main@{moment.isoformat()}") == commits[9]
    assert [commit.message for commit in store.log("main", limit=2)] == ["m29", "m28"]
    assert [commit.message for commit in store.log("main", table="people")] == ["people"]
    for missing in ("mian", "main~99", "main@1999-01-01", "ffffffff"):
        with pytest.raises(NotFound):
            store.resolve(missing)
    with pytest.raises(NotFound, match="mian") as error:
        store.resolve("mian")
    assert error.value.hint == "did you mean `main`?"


def test_time_is_monotone(store: Store, people: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000)
    with store.begin("main") as tx:
        tx.put_document("d", b"x")
    assert store.commit_of("main").time_us == store.commit_of("main~1").time_us + 1


def test_refs(store: Store, people: Rows) -> None:
    first = store.resolve("main")
    store.create_branch("run/1")
    store.create_tag("v1")
    store.create_hold("model-7", "main", "trained on it")
    with store.begin("run/1") as tx:
        tx.append("people", people(6))
    assert 6 in content(store, ref="run/1")
    assert 6 not in content(store)
    assert store.branches().keys() == {"main", "run/1"}
    store.rename_branch("run/1", "fix")
    assert store.tags() == {"v1": first}
    assert store.holds() == {"model-7": (first, "trained on it")}
    assert [entry[3] for entry in store.reflog("run/1")] == ["rename to fix", "", "create at main"]
    for clash in (lambda: store.create_branch("fix"), lambda: store.rename_branch("fix", "main")):
        with pytest.raises(Conflict):
            clash()
    store.delete_branch("fix")
    store.delete_tag("v1")
    store.release_hold("model-7")
    assert (store.branches().keys(), store.tags(), store.holds()) == ({"main"}, {}, {})
    for missing in (store.delete_branch, store.delete_tag, store.release_hold):
        with pytest.raises(NotFound):
            missing("nope")
    with pytest.raises(UsageError):
        store.delete_branch("main")
    with pytest.raises(NotFound) as error:
        store.begin("mian")
    assert pickle.loads(pickle.dumps(error.value)).hint == "did you mean `main`?"  # noqa: S301


def test_diff_reads_images_only_when_asked(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.upsert("people", people(2, 6, name="u"))
        tx.delete("people", Compare("id", "=", 3))
        tx.put_document("a/b.txt", b"one")
    diff = store.diff("main~1", "main")
    delta = diff.tables["people"]
    known = ids(store, ref="main~1")
    assert (list(delta.updated), list(delta.deleted)) == ([known[2]], [known[3]])
    assert delta.before is not None
    assert delta.after is not None
    before = compute.reader(delta.before).read_all().select(["id", "name"]).sort_by("id").to_pylist()
    after = compute.reader(delta.after).read_all().select(["id", "name"]).sort_by("id").to_pylist()
    assert before == [{"id": 2, "name": "n2"}, {"id": 3, "name": "n3"}]
    assert after == [{"id": 2, "name": "u2"}, {"id": 6, "name": "u6"}]
    assert diff.documents == {"a/b.txt": (None, b"one")}
    assert store.diff("main", "main").empty
    back = store.diff("main", "main~1").tables["people"]
    assert (back.inserted, back.deleted, back.updated) == (delta.deleted, delta.inserted, delta.updated)


def test_diff_of_new_and_dropped_tables(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.drop_table("people")
        tx.create_table("people", pa.schema([("id", pa.int64())]), key="id")
        tx.append("people", pa.table({"id": [1]}))
        tx.create_table("other", pa.schema([("id", pa.int64())]))
    diff = store.diff("main~1", "main")
    assert diff.tables["people"].rebuilt
    assert (len(diff.tables["people"].inserted), len(diff.tables["people"].deleted)) == (1, 5)
    assert diff.tables["other"].before is None


def unit(name: str, number: int = 1) -> Unit:
    return Unit(name=name, number=number, digest=name)


def test_publish_is_one_commit(store: Store, people: Rows) -> None:
    base = store.resolve("main")
    store.create_branch("run/1")
    for number in (6, 7):
        with store.begin("run/1") as tx:
            tx.append("people", people(number))
            tx.put_units("src", {**tx.units("src"), f"u{number}": unit(f"u{number}", number)})
    with store.begin("main") as tx:
        tx.put_document("elsewhere", b"x")
        tx.create_table("other", pa.schema([("a", pa.int64())]))
    commit = store.publish("run/1", into="main", base=base, message="publish")
    assert [c.message for c in store.log("main", limit=1)] == ["publish"]
    assert store.commit_of("main").id == commit
    snapshot = store.snapshot("main")
    assert snapshot.tables() == ["other", "people"]
    assert snapshot.document("elsewhere") == b"x"
    assert snapshot.units("src").keys() == {"u6", "u7"}
    assert set(content(store)) == {1, 2, 3, 4, 5, 6, 7}
    with store.begin("main") as tx:
        tx.append("people", people(9))
    with pytest.raises(Stale) as error:
        store.publish("run/1", into="main", base=base, message="again")
    assert "table people" in error.value.examples
    assert store.publish("run/1", into="fresh", base=base, message="new branch") == store.resolve("fresh")


def test_merge_of_appends_and_edits_of_other_rows(store: Store, people: Rows) -> None:
    store.create_branch("side")
    with store.begin("side") as tx:
        tx.append("people", people(6))
        tx.upsert("people", people(1, name="side"))
        tx.put_units("src", {"b": unit("b", 2)})
    with store.begin("main") as tx:
        tx.append("people", people(7))
        tx.upsert("people", people(2, name="main"))
        tx.put_units("src", {"a": unit("a")})
    before = ids(store)
    store.merge("side", into="main")
    assert content(store) == {1: "side1", 2: "main2", 3: "n3", 4: "n4", 5: "n5", 6: "n6", 7: "n7"}
    assert store.snapshot("main").units("src").keys() == {"a", "b"}
    assert {k: v for k, v in ids(store).items() if k != 6} == before
    assert store.merge("side", into="main") == store.resolve("main")
    assert len(store.commit_of("main").parents) == 2


@pytest.mark.parametrize("row", [1, 6])
def test_merge_conflicts_change_nothing(store: Store, people: Rows, row: int) -> None:
    store.create_branch("side")
    for branch in ("side", "main"):
        with store.begin(branch) as tx:
            tx.upsert("people", people(row, name="same"))
    head = store.resolve("main")
    with pytest.raises(Conflict):
        store.merge("side", into="main")
    assert store.resolve("main") == head


def test_revert_takes_the_earlier_state_whole_and_holds_units(store: Store, people: Rows) -> None:
    state = store.snapshot("main").table("people")
    with store.begin("main", message="bad") as tx:
        tx.append("people", people(6))
        tx.put_units("src", {"u": unit("u")})
        tx.put_document("d", b"bad")
    bad = store.resolve("main")
    with store.begin("main") as tx:
        tx.create_table("later", pa.schema([("a", pa.int64())]))
    store.revert(bad, on="main")
    snapshot = store.snapshot("main")
    assert snapshot.table("people") == state
    assert snapshot.units("src")["u"].state == "held"
    assert snapshot.document("d") is None
    assert "later" in snapshot
    assert snapshot.commit.meta["reverts"] == bad
    store.revert("main", on="main")
    assert 6 in content(store)


def test_revert_row_by_row_where_the_table_has_changed_since(store: Store, people: Rows) -> None:
    known = ids(store)
    with store.begin("main") as tx:
        tx.append("people", people(6))
        tx.upsert("people", people(1, name="bad"))
        tx.delete("people", Compare("id", "=", 2))
    with store.begin("main") as tx:
        tx.append("people", people(7))
    store.revert("main~1", on="main")
    assert content(store) == {1: "n1", 2: "n2", 3: "n3", 4: "n4", 5: "n5", 7: "n7"}
    assert {key: number for key, number in ids(store).items() if key != 7} == known


def test_revert_of_rows_that_changed_again_is_a_conflict(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.append("people", people(6))
    with store.begin("main") as tx:
        tx.upsert("people", people(6, name="again"))
    head = store.resolve("main")
    with pytest.raises(Conflict) as error:
        store.revert("main~1", on="main")
    assert error.value.examples == ("table people",)
    assert store.resolve("main") == head


def test_definitions_merge_field_by_field(store: Store, people: Rows) -> None:
    from gristmill.model.changes import AddColumn, DropColumn, RenameColumn

    store.create_branch("side")
    with store.begin("side") as tx:
        tx.alter("people", AddColumn("price", pa.int64()), RenameColumn("name", "called"))
        tx.upsert("people", pa.table({"id": [1], "called": ["s"], "score": [1.0], "price": [3]}))
    with store.begin("main") as tx:
        tx.alter("people", AddColumn("qty", pa.int64()), DropColumn("score"))
        tx.append("people", pa.table({"id": [6], "name": ["m"], "qty": [4]}))
    store.merge("side", into="main")
    rows = {row["id"]: row for row in store.snapshot("main").to_arrow("people").to_pylist()}
    assert rows[1] == {"id": 1, "called": "s", "qty": None, "price": 3}
    assert rows[6] == {"id": 6, "called": "m", "qty": 4, "price": None}
    store.create_branch("one")
    for branch, name in (("one", "x"), ("main", "y")):
        with store.begin(branch) as tx:
            tx.alter("people", RenameColumn("called", name))
    with pytest.raises(Conflict, match="changed the same"):
        store.merge("one", into="main")


def test_a_unit_on_both_sides_is_landed_once(store: Store) -> None:
    schema = pa.schema([("a", pa.int64()), ("_origin_unit", pa.int64())])
    with store.begin("main") as tx:
        tx.create_table("raw", schema)
    store.create_branch("side")
    for branch, extra in (("main", 3), ("side", 4)):
        with store.begin(branch) as tx:
            tx.append("raw", pa.table({"a": [1, 2], "_origin_unit": [7, 7]}, schema))
            tx.append("raw", pa.table({"a": [extra], "_origin_unit": [extra]}, schema))
            tx.set_units("raw", {"shared": unit("shared", 7), f"u{extra}": unit(f"u{extra}", extra)})
    store.merge("side", into="main")
    assert sorted(store.snapshot("main").to_arrow("raw").column("a").to_pylist()) == [1, 2, 3, 4]
    assert store.snapshot("main").units("raw").keys() == {"shared", "u3", "u4"}
    store.create_branch("other")
    for branch in ("main", "other"):
        with store.begin(branch) as tx:
            tx.set_units("raw", {branch: unit(branch, 9)})
    with pytest.raises(Conflict, match="number 9"):
        store.merge("other", into="main")


def test_criss_cross_merges(store: Store, people: Rows) -> None:
    store.create_branch("side")
    with store.begin("main") as tx:
        tx.append("people", people(6))
    with store.begin("side") as tx:
        tx.append("people", people(7))
    store.create_branch("main2", at="main")
    store.merge("side", into="main")
    store.merge("main2", into="side")
    with store.begin("main") as tx:
        tx.upsert("people", people(1, name="m"))
    with store.begin("side") as tx:
        tx.upsert("people", people(2, name="s"))
    store.merge("side", into="main")
    assert content(store) == {1: "m1", 2: "s2", 3: "n3", 4: "n4", 5: "n5", 6: "n6", 7: "n7"}


def test_restore(store: Store, people: Rows) -> None:
    first = store.snapshot("main")
    with store.begin("main") as tx:
        tx.append("people", people(6))
        tx.create_table("other", pa.schema([("a", pa.int64())]))
        tx.put_units("people", {"u": unit("u")})
    store.restore("main~1", on="main", tables=["people"])
    snapshot = store.snapshot("main")
    assert snapshot.table("people").id == first.table("people").id
    assert "other" in snapshot
    assert snapshot.units("people")["u"].state == "held"
    store.restore(first.commit.id, on="main")
    assert store.snapshot("main").tables() == ["people"]
    with pytest.raises(NotFound):
        store.restore("main", on="main", tables=["nope"])


def test_cherry_pick(store: Store, people: Rows) -> None:
    store.create_branch("side")
    for number in (6, 7):
        with store.begin("side", message=f"add {number}") as tx:
            tx.append("people", people(number))
    store.cherry_pick("side", on="main")
    assert set(content(store)) == {1, 2, 3, 4, 5, 7}
    assert store.commit_of("main").message == "add 7"
    head = store.resolve("main")
    assert store.cherry_pick("side", on="main") == head


def test_adopt(store: Store, people: Rows) -> None:
    store.create_branch("side")
    with store.begin("side") as tx:
        tx.upsert("people", people(1, 6, name="s"))
        tx.create_table("lone", pa.schema([("a", pa.int64())]), key="a")
        tx.append("lone", pa.table({"a": [1, 2]}))
    with store.begin("main") as tx:
        tx.adopt("people", store.snapshot("side"))
        tx.create_table("lone", pa.schema([("a", pa.int32())]), key="a")
        tx.append("lone", pa.table({"a": pa.array([2, 3], pa.int32())}))
        own = {row["a"]: row["_row_id"] for row in tx.to_arrow("lone", row_ids=True).to_pylist()}
        tx.adopt("lone", store.snapshot("side"))
    assert store.snapshot("main").table("people").id == store.snapshot("side").table("people").id
    rows = {row["a"]: row["_row_id"] for row in store.snapshot("main").to_arrow("lone", row_ids=True).to_pylist()}
    assert rows.keys() == {1, 2}
    assert rows[2] == own[2]


def test_files(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    for number in range(60):
        (folder / "deep" / f"f{number}").write_bytes(b"x" * number)
    (folder / "a.bin").write_bytes(os.urandom(1000))
    with store.begin("main") as tx:
        tx.put_files("models.m", folder)
    first = store.snapshot("main").files("models.m")
    with store.begin("main") as tx:
        tx.put_files("models.m", folder)
    assert store.commit_of("main").id == store.snapshot("main").commit.id
    assert store.snapshot("main").files("models.m").id == first.id
    (folder / "a.bin").unlink()
    with store.begin("main") as tx:
        tx.put_files("models.m", folder)
        assert len(tx.files("models.m").entries) == 60
    out = tmp_path / "out"
    store.checkout(first, out)
    assert {p.relative_to(out).as_posix(): p.stat().st_size for p in out.rglob("*") if p.is_file()} == {
        path: size for path, (_, size) in first.entries.items()
    }
    (folder / "leak").symlink_to("/etc/passwd")
    with pytest.raises(UsageError), store.begin("main") as tx:
        tx.put_files("models.m", folder)
    with store.begin("main") as tx:
        tx.drop_files("models.m")
    assert store.snapshot("main").file_trees() == []
    digest = first.entries["a.bin"][0]
    (store.path / "files" / digest[:2] / digest).unlink()
    with pytest.raises(Corrupt, match=r"a\.bin"):
        store.checkout(first, tmp_path / "again")


def test_documents_and_units(store: Store) -> None:
    with store.begin("main") as tx:
        for number in range(100):
            tx.put_document(f"runs/{number}.json", str(number).encode())
        tx.put_units("s", {str(n): unit(str(n), n) for n in range(70)})
    snapshot = store.snapshot("main")
    assert len(snapshot.documents("runs/")) == 100
    assert snapshot.document("runs/42.json") == b"42"
    assert snapshot.document("nope") is None
    assert list(snapshot.units("s")) == [str(n) for n in range(70)]
    assert snapshot.sources() == ["s"]
    with store.begin("main") as tx:
        tx.put_units("s", {"1": unit("1", 1)})
        tx.drop_document("runs/1.json")
    assert list(store.snapshot("main").units("s")) == ["1"]
    assert store.diff("main~1", "main").units["s"][1] == {}


def test_records(store: Store) -> None:
    for key in ("a/1", "a/2", "b/1", "a%"):
        store.records.put("memo", key, key.encode())
    assert store.records.get("memo", "a/1") == b"a/1"
    assert store.records.get("other", "a/1") is None
    assert [key for key, _ in store.records.items("memo", prefix="a/")] == ["a/2", "a/1"]
    assert [key for key, _ in store.records.items("memo", newest_first=False, limit=1)] == ["a%"]
    assert not store.records.put_if_absent("memo", "a/1", b"new")
    assert store.records.put_if_absent("memo", "c", b"new")
    assert store.records.delete("memo", "c")
    assert not store.records.delete("memo", "c")


def test_damage_is_named(store: Store, people: Rows) -> None:
    with store.catalog.write() as db:
        db.execute("update objects set data = x'00' where kind = 'table'")
    with open_store(store.path) as fresh, pytest.raises(Corrupt, match="table object"):
        fresh.snapshot("main").table("people")


def test_looking_at_a_store_loads_no_engine(store: Store, people: Rows) -> None:
    import subprocess
    import sys

    script = (
        "import sys; from gristmill.store import open_store\n"
        "store = open_store(sys.argv[1]); snapshot = store.snapshot('main'); list(store.log('main'))\n"
        "snapshot.table('people'), snapshot.units('s'), snapshot.scan('people'), store.records.get('a', 'b')\n"
        "with store.begin('main') as tx: tx.put_document('d', b'x')\n"
        "print(*{'numpy', 'pyarrow', 'duckdb', 'sqlglot', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(store.path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_set_units_touches_only_what_it_names(store: Store) -> None:
    with store.begin("main") as tx:
        tx.put_units("s", {name: unit(name, number) for number, name in enumerate("abc")})
    one, two = store.begin("main"), store.begin("main")
    one.set_units("s", {"d": unit("d", 4), "a": None})
    two.set_units("s", {"e": unit("e", 5)})
    one.commit()
    two.commit()
    assert list(store.snapshot("main").units("s")) == ["b", "c", "d", "e"]


def test_publish_leaves_no_trace_of_the_source_branch_but_its_name(store: Store, people: Rows) -> None:
    base = store.resolve("main")
    store.create_branch("run/1")
    with store.begin("run/1", message="stage") as tx:
        tx.append("people", people(6))
    staged = store.resolve("run/1")
    commit = store.publish("run/1", into="main", base=base, message="publish")
    value = store.commit_of(commit)
    assert (value.parents, value.meta["published_from"]) == ((base,), staged)
    fresh = store.publish("run/1", into="fresh", base=base, message="new branch")
    assert store.commit_of(fresh).parents == (base,)
    assert [entry[1:3] for entry in store.reflog("fresh")] == [(None, fresh)]
    tx = store.begin("fresh")
    tx.append("people", people(8))
    store.delete_branch("fresh")
    with pytest.raises(Conflict, match="deleted"):
        tx.commit()


def test_a_copied_store_takes_row_ids_of_its_own(store: Store, people: Rows, tmp_path: Path) -> None:
    import shutil

    store.close()
    shutil.copytree(store.path, tmp_path / "copy")
    with open_store(store.path) as one, open_store(tmp_path / "copy") as two:
        for opened, number in ((one, 6), (two, 7)):
            with opened.begin("main") as tx:
                tx.append("people", people(number))
        assert not {ids(one)[6]} & set(ids(two).values())
    with open_store(tmp_path / "copy") as again:
        assert max(ids(again).values()) < 1 << 63


def test_read_only_media_can_be_read(store: Store, people: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.store import catalog

    store.catalog.connection().execute("pragma wal_checkpoint(truncate)")
    store.close()
    monkeypatch.setattr(catalog, "is_read_only", lambda _: True)
    with open_store(store.path) as opened:
        assert len(content(opened)) == 5
        assert opened.snapshot("main").digest("people").startswith("5:")
        with pytest.raises(StoreError, match="read-only"), opened.begin("main") as tx:
            tx.put_document("d", b"x")


def test_network_disks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.store import places

    monkeypatch.setattr(places, "file_system", lambda _: "nfs4")
    with pytest.raises(StoreError, match="network file system"):
        open_store(tmp_path / "s", create=True)


def test_unchanged_files_are_not_read_again(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.store import files

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "a.bin").write_bytes(b"one")
    monkeypatch.setattr(files, "RACY_NS", 0)
    with store.begin("main") as tx:
        tx.put_files("m", folder)
    monkeypatch.setattr(files, "put_file", None)
    with store.begin("main") as tx:
        tx.put_files("m", folder)
    monkeypatch.undo()
    (folder / "a.bin").write_bytes(b"two")
    with store.begin("main") as tx:
        tx.put_files("m", folder)
    assert store.diff("main~1", "main").files
    out = tmp_path / "out"
    for link in (True, False):
        store.checkout(store.snapshot("main").files("m"), out, link=link)
        assert (out / "a.bin").read_bytes() == b"two"


def test_derived_tables_are_never_merged_by_rows(store: Store) -> None:
    schema = pa.schema([("k", pa.int64()), ("n", pa.int64())])
    with store.begin("main") as tx:
        tx.create_table("raw", schema)
        tx.create_table("sums", schema, key="k", properties={"kind": "derived"})
        tx.append("sums", pa.table({"k": [1], "n": [5]}))
    store.create_branch("side")
    for branch in ("main", "side"):
        with store.begin(branch) as tx:
            tx.append("raw", pa.table({"k": [1], "n": [1]}))
            tx.upsert("sums", pa.table({"k": [1], "n": [6]}))
            tx.put_document("derived/sums.json", branch.encode())
    store.merge("side", into="main")
    snapshot = store.snapshot("main")
    assert snapshot.table("raw").row_count == 2
    assert snapshot.to_arrow("sums").to_pylist() == [{"k": 1, "n": 6}]
    assert snapshot.document("derived/sums.json") == b"main"


def test_a_table_defined_otherwise_on_both_sides_is_a_conflict(store: Store, people: Rows) -> None:
    from gristmill.model.changes import Change, SetKey, SetPartitioning, SetProperties

    clashes: list[tuple[Change, Change]] = [
        (SetKey(("name",)), SetKey(())),
        (SetProperties({"owner": "ana"}), SetProperties({"owner": "bo"})),
        (SetProperties({"codec": "gzip"}), SetProperties({"codec": "snappy"})),
        (SetPartitioning(("name",)), SetPartitioning(("bucket(4, id)",))),
    ]
    for number, (ours, theirs) in enumerate(clashes):
        side = f"side{number}"
        store.create_branch(side)
        head = store.resolve("main")
        for branch, change in (("main", ours), (side, theirs)):
            with store.begin(branch) as tx:
                tx.alter("people", change)
        main = store.resolve("main")
        with pytest.raises(Conflict) as error:
            store.merge(side, into="main")
        assert any("people" in example for example in error.value.examples)
        assert store.resolve("main") == main
        store.restore(head, on="main")


def test_settings_of_one_side_and_rows_of_the_other_merge(store: Store, people: Rows) -> None:
    from gristmill.model.changes import SetPartitioning, SetProperties

    store.create_branch("side")
    with store.begin("side") as tx:
        tx.alter("people", SetPartitioning(("bucket(2, id)",)), SetProperties({"codec": "gzip", "owner": "bo"}))
    with store.begin("main") as tx:
        tx.append("people", people(*range(100, 600)))
        tx.alter("people", SetProperties({"cost": "high"}))
    store.merge("side", into="main")
    state = store.snapshot("main").table("people")
    assert (state.partition_by, state.row_count) == (("bucket(2, id)",), 505)
    assert state.properties == {"codec": "gzip", "owner": "bo", "cost": "high"}
