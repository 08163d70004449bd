"""Merges, reverts and restores where files were moved meanwhile; and every kind of clash, which changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import Conflict
from gristmill.model.predicates import Always, Compare
from gristmill.store import Store, Transaction

SCHEMA = pa.schema([pa.field("id", pa.int64(), False), ("v", pa.int64())])


def rows(*numbers: int, v: int = 0) -> pa.Table:
    return pa.table({"id": numbers, "v": [v] * len(numbers)}, SCHEMA)


@pytest.fixture
def many(store: Store) -> Store:
    """A table of nine files of 90 rows, and a branch."""
    with store.begin("main") as tx:
        tx.create_table("t", SCHEMA, key="id")
        for number in range(9):
            tx.append("t", rows(*range(100 * number, 100 * number + 90)))
    store.create_branch("side")
    return store


def content(store: Store, ref: str = "main") -> dict[int, int]:
    found = store.snapshot(ref).to_arrow("t").to_pydict()
    assert len(set(found["id"])) == len(found["id"]) == store.snapshot(ref).table("t").row_count
    return dict(zip(found["id"], found["v"], strict=True))


@pytest.mark.parametrize("moved", ["main", "side", "both"])
def test_deletes_and_edits_meet_files_that_the_other_side_has_moved(many: Store, moved: str) -> None:
    with many.begin("side") as tx:
        tx.delete("t", Compare("id", "<", 150))
        tx.upsert("t", rows(200, 850, v=1))
    with many.begin("main") as tx:
        tx.delete("t", Compare("id", ">=", 800 + 60))
        tx.upsert("t", rows(300, 9000, v=2))
    tidied = many.maintain(branches=["main", "side"] if moved == "both" else [moved], grace_s=0)
    assert tidied.tables
    wanted = {n: v for n, v in content(many).items() if n >= 150} | {200: 1, 850: 1}
    ids = many.snapshot("main").to_arrow("t", row_ids=True)
    known = dict(zip(ids["id"].to_pylist(), ids["_row_id"].to_pylist(), strict=True))
    many.merge("side", into="main")
    assert content(many) == wanted
    after = many.snapshot("main").to_arrow("t", row_ids=True).to_pylist()
    assert all(known[row["id"]] == row["_row_id"] for row in after)
    many.merge("main", into="side")
    assert content(many, "side") == wanted
    assert many.doctor().healthy


def test_a_commit_whose_rows_were_moved_since_is_undone_and_picked(many: Store) -> None:
    with many.begin("main") as tx:
        tx.upsert("t", rows(5, 1000, 1001, v=7))
        tx.delete("t", keys=pa.table({"id": [6]}))
    done = many.resolve("main")
    with many.begin("main") as tx:
        tx.append("t", rows(*range(2000, 2400)))
    assert many.maintain(branches=["main"], grace_s=0).tables
    many.cherry_pick(done, on="side")
    assert content(many, "side")[1000] == 7
    assert 6 not in content(many, "side")
    before = content(many, "main~2")
    many.revert(done, on="main")
    wanted = {**before, 5: 0, 6: 0, **dict.fromkeys(range(2000, 2400), 0)}
    for key in (1000, 1001):
        wanted.pop(key, None)
    assert content(many) == wanted


def test_hold_restore_and_merge(many: Store) -> None:
    many.create_hold("h", "main", "an export")
    with many.begin("main") as tx:
        tx.upsert("t", rows(1, 5000, v=1))
    with many.begin("side") as tx:
        tx.upsert("t", rows(2, 6000, v=2))
    many.restore("h", on="main")
    many.merge("side", into="main")
    found = content(many)
    assert (found[1], found[2], found[6000], 5000 in found) == (0, 2, 2, False)
    many.merge("main", into="side")
    assert content(many, "side") == found
    many.delete_branch("side")
    many.maintain(grace_s=0)
    assert content(many, "h")[1] == 0


CLASHES: dict[str, tuple[Callable[[Transaction], object], Callable[[Transaction], object]]] = {
    "one row edited twice": (lambda tx: tx.upsert("t", rows(1, v=1)), lambda tx: tx.upsert("t", rows(1, v=2))),
    "one row edited alike": (lambda tx: tx.upsert("t", rows(1, v=1)), lambda tx: tx.upsert("t", rows(1, v=1))),
    "edited and deleted": (lambda tx: tx.upsert("t", rows(1, v=1)), lambda tx: tx.delete("t", Compare("id", "=", 1))),
    "one new key": (lambda tx: tx.append("t", rows(5000, v=1)), lambda tx: tx.append("t", rows(5000, v=2))),
    "dropped and edited": (lambda tx: tx.drop_table("t"), lambda tx: tx.upsert("t", rows(1, v=1))),
    "made twice": (lambda tx: tx.create_table("u", SCHEMA), lambda tx: tx.create_table("u", SCHEMA)),
    "document": (lambda tx: tx.put_document("d", b"1"), lambda tx: tx.put_document("d", b"2")),
    "document and gone": (lambda tx: tx.put_document("e", b"2"), lambda tx: tx.drop_document("e")),
}


@pytest.mark.parametrize("name", CLASHES)
@pytest.mark.parametrize("turned", [False, True])
def test_a_clash_is_named_and_changes_nothing(many: Store, name: str, turned: bool) -> None:
    with many.begin("main") as tx:
        tx.put_document("e", b"1")
    many.merge("main", into="side")
    acts = CLASHES[name][::-1] if turned else CLASHES[name]
    for branch, act in zip(("main", "side"), acts, strict=True):
        with many.begin(branch) as tx:
            act(tx)
            tx.put_document(f"only {branch}", b"x")
    heads = many.branches()
    with pytest.raises(Conflict, match="changed the same thing") as error:
        many.merge("side", into="main")
    assert error.value.examples
    assert error.value.hint
    assert many.branches() == heads


def test_what_both_sides_deleted_is_gone(many: Store) -> None:
    for branch in ("main", "side"):
        with many.begin(branch) as tx:
            tx.delete("t", Compare("id", "<", 100))
    many.merge("side", into="main")
    assert min(content(many)) == 100
    for branch in ("main", "side"):
        with many.begin(branch) as tx:
            tx.delete("t", Always())
    many.merge("side", into="main")
    assert content(many) == {}


def test_trees_of_files_merge_as_a_whole(many: Store, tmp_path: Path) -> None:
    for name, text in (("one", b"1"), ("two", b"2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.bin").write_bytes(text)
    for branch, tree, folder in (("main", "m", "one"), ("side", "n", "two"), ("main", "same", "one")):
        with many.begin(branch) as tx:
            tx.put_files(tree, tmp_path / folder)
    with many.begin("side") as tx:
        tx.put_files("same", tmp_path / "one")
    many.merge("side", into="main")
    assert many.snapshot("main").file_trees() == ["m", "n", "same"]
    for branch, folder in (("main", "one"), ("side", "two")):
        with many.begin(branch) as tx:
            tx.put_files("k", tmp_path / folder)
    with pytest.raises(Conflict):
        many.merge("side", into="main")
