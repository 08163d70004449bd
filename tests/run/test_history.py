"""The history of a table holds every version that the commit log holds, whatever happened between runs."""

from __future__ import annotations

import random
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import Conflict, DefinitionError
from gristmill.run.derivation import load_derivation

HISTORY = "history.raw.customers"


def shop(root: Path) -> gm.Project:
    (root / "landing").mkdir(exist_ok=True)
    (root / "gristmill.toml").write_text("")
    project = gm.Project(root)
    raw = project.source("raw.customers", gm.files("landing/*.csv"), key="id")
    history = project.history(raw, key="id")

    @project.table("marts.moves", reads=[history], key="id")
    def moves(t: ibis.Table) -> ibis.Table:
        return t.group_by("id").agg(versions=t.count())

    return project


def land(root: Path, name: str, rows: dict[int, str]) -> None:
    text = "".join(f"{key},{city}\n" for key, city in rows.items())
    (root / "landing" / name).write_text("id,city\n" + text)


def by_hand(project: gm.Project, ref: str = "main") -> list[tuple[object, ...]]:
    """Walk over all commits and compare whole tables, in plain Python."""
    store = project.store
    open_rows: dict[object, tuple[object, int]] = {}
    closed: list[tuple[object, ...]] = []
    last, state = 0, None
    for commit in reversed(list(store.log(ref))):
        snapshot = store.snapshot(commit.id)
        if "raw.customers" not in snapshot:
            rows, now = {}, None
        else:
            now = snapshot.table("raw.customers").id
            rows = {row["id"]: row["city"] for row in snapshot.to_arrow("raw.customers").to_pylist()}
        if now == state:
            continue
        state = now
        told = load_derivation(snapshot, HISTORY)
        ran = told.run_time_us if told is not None and told.states["raw.customers"] == now else None
        last = max(ran if ran is not None and ran > last else commit.time_us, last + 1)
        for key in list(open_rows):
            if key not in rows or rows[key] != open_rows[key][0]:
                city, since = open_rows.pop(key)
                closed.append((key, city, since, last))
        for key, city in rows.items():
            open_rows.setdefault(key, (city, last))
    return sorted([*closed, *((key, city, since, None) for key, (city, since) in open_rows.items())], key=str)


def stored(project: gm.Project) -> list[tuple[object, ...]]:
    table = project.store.snapshot("main").to_arrow(HISTORY)
    for name in ("valid_from", "valid_to"):
        table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(pa.int64()))
    return sorted((tuple(row.values()) for row in table.to_pylist()), key=str)


def test_versions_come_change_and_go(tmp_path: Path) -> None:
    project = shop(tmp_path)
    land(tmp_path, "1.csv", {1: "Rome", 2: "Oslo"})
    assert project.run().ok
    land(tmp_path, "2.csv", {1: "Bonn"})
    assert project.run().ok
    assert {stage.mode for stage in project.run().record.stages} <= {"reuse"}
    with project.store.begin("main", message="gone") as tx:
        tx.delete("raw.customers", keys=pa.table({"id": pa.array([2], tx.to_arrow("raw.customers")["id"].type)}))
    assert project.run().ok
    found = stored(project)
    assert [(key, city, until is None) for key, city, _, until in found] == [
        (1, "Bonn", True),
        (1, "Rome", False),
        (2, "Oslo", False),
    ]
    assert found == by_hand(project)
    assert project.parity().ok
    moves = project.store.snapshot("main").to_arrow("marts.moves").to_pylist()
    assert sorted((row["id"], row["versions"]) for row in moves) == [(1, 2), (2, 1)]


def test_changes_between_runs_are_kept_one_by_one(tmp_path: Path) -> None:
    project = shop(tmp_path)
    land(tmp_path, "1.csv", {1: "Rome"})
    assert project.run().ok
    for city in ("Bonn", "Oslo", "Rome"):
        with project.store.begin("main", message=city) as tx:
            tx.upsert("raw.customers", pa.table({"id": [1], "city": [city]}))
    assert project.run().ok
    assert [row[1] for row in sorted(stored(project), key=lambda row: row[2])] == ["Rome", "Bonn", "Oslo", "Rome"]  # type: ignore[arg-type,return-value]
    assert stored(project) == by_hand(project)
    assert project.parity().complete


@pytest.mark.parametrize("seed", range(4))
def test_random_lives_agree_with_a_walk_over_all_commits(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    project = shop(tmp_path)
    land(tmp_path, "0.csv", {1: "Rome", 2: "Oslo", 3: "Bonn"})
    assert project.run().ok
    for number in range(1, 11):
        act = rng.choice(["file", "edit", "edit", "delete", "revert", "run"])
        rows = {rng.randrange(6): rng.choice(["Rome", "Oslo", "Bonn", "Graz"]) for _ in range(2)}
        if act == "file":
            land(tmp_path, f"{rng.randrange(4)}.csv", rows)
        elif act == "edit":
            with project.store.begin("main", message="edit") as tx:
                tx.upsert("raw.customers", pa.table({"id": list(rows), "city": list(rows.values())}))
        elif act == "delete":
            with project.store.begin("main", message="delete") as tx:
                tx.delete("raw.customers", keys=pa.table({"id": [rng.randrange(6)]}))
        elif act == "revert":
            first = [commit.id for commit in project.store.log("main", limit=3)][: number - 1]
            if first:
                try:
                    project.store.revert(rng.choice(first), on="main")
                except Conflict:
                    continue
        if act in ("run", "revert") or number == 10:
            assert project.run().ok
            if "raw.customers" in project.store.snapshot("main"):
                assert stored(project) == by_hand(project)
                assert project.parity().ok


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    project = shop(tmp_path)
    project.history("raw.customers", key="idd", name="history.wrong")
    land(tmp_path, "1.csv", {1: "Rome"})
    with pytest.raises(DefinitionError, match="no column idd"):
        project.run()
