"""Parity finds what is not as its definition gives it, names rows, commit and operation, and blocks where asked."""

from __future__ import annotations

import random
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import UsageError
from gristmill.store import Transaction
from tests.run.test_incremental import csv_project, define, land, modes, rows


def two_runs(root: Path) -> tuple[gm.Project, list[str]]:
    land(root, "1.csv", rows(300))
    project = csv_project(root)
    names = define(project)
    modes(project)
    land(root, "2.csv", rows(20, seed=2, first=300))
    modes(project)
    return project, names


def change(tx: Transaction, name: str, column: str, value: object, *, row: int = 0) -> dict[str, object]:
    """Write one cell of a derived table behind the system's back; return the row as it was."""
    table = tx.to_arrow(name).slice(row, 1)
    at = table.schema.get_field_index(column)
    tx.upsert(name, table.set_column(at, column, pa.array([value], table.schema.field(at).type)))
    return dict(table.to_pylist()[0])


def test_tables_that_followed_are_equal(tmp_path: Path) -> None:
    project, names = two_runs(tmp_path)
    found = project.parity()
    assert found.ok
    assert found.complete
    assert [table.table for table in found.tables] == [n.name for n in project.graph.order() if n.name in names]
    for table in found.tables:
        assert table.outcome == "equal"
        assert table.difference is not None
        assert table.difference.stored_digest == project.store.snapshot("main").digest(table.table)
    assert "made.sums  equal  26 rows" in repr(found)
    found.raise_if_failed()


def test_a_wrong_cell_is_named_and_the_next_run_mends_it(tmp_path: Path) -> None:
    project, _ = two_runs(tmp_path)
    right = project.store.snapshot("main").digest("made.sums")
    with project.store.begin("main", message="damage") as tx:
        was = change(tx, "made.sums", "n", 4711)
    found = project.parity()
    assert not found.ok
    assert {table.table for table in found.tables if table.outcome == "different"} == {"made.sums"}
    [row] = found["made.sums"].examples
    assert (row.kind, row.key) == ("different", {"kind": was["kind"]})
    assert (row.stored, row.computed) == ({"n": "4711"}, {"n": str(was["n"])})
    parted = found["made.sums"].parted
    assert parted is not None
    assert parted.commit == project.store.resolve("main")
    assert parted.words.endswith("which wrote to it after it was computed")
    assert modes(project)["made.sums"] == "full"
    assert project.store.snapshot("main").digest("made.sums") == right
    assert project.parity().ok
    assert set(modes(project).values()) <= {"reuse"}


def test_rows_missing_and_too_many_are_told_apart(tmp_path: Path) -> None:
    project, _ = two_runs(tmp_path)
    with project.store.begin("main", message="damage") as tx:
        table = tx.to_arrow("made.filtered")
        gone = table.slice(3, 2)
        tx.delete("made.filtered", keys=gone.select(["id"]))
        tx.append("made.filtered", table.slice(0, 1).set_column(0, "id", pa.array([99_999], pa.int64())))
        bag = tx.to_arrow("made.bag").slice(0, 1)
        tx.append("made.bag", bag)
    found = project.parity()
    apart = found["made.filtered"].difference
    assert apart is not None
    assert (apart.missing, apart.extra, apart.different) == (2, 1, 0)
    assert [row.key for row in apart.examples] == [
        *({"id": str(value)} for value in sorted(gone["id"].to_pylist())),
        {"id": "99999"},
    ]
    bags = found["made.bag"].difference
    assert bags is not None
    assert (bags.missing, bags.extra) == (0, 1)


def test_a_wrong_rule_is_found_at_its_operation_and_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gristmill.run.incremental as incremental

    land(tmp_path, "1.csv", rows(300))
    project = csv_project(tmp_path)
    define(project)
    modes(project)
    real = incremental._maintained

    def wrong(*arguments: object, **more: object) -> object:
        """Give changes of a group-by that lose a row."""
        import msgspec

        made = real(*arguments, **more)  # type: ignore[arg-type]
        if arguments[1].node.name == "made.ranked" and made.changes is not None:  # type: ignore[attr-defined]
            return msgspec.structs.replace(made, changes=f"SELECT * FROM ({made.changes}) WHERE id <> 305")
        return made

    monkeypatch.setattr(incremental, "_maintained", wrong)
    land(tmp_path, "2.csv", [{"id": i, "kind": "a", "day": 200 + i, "x": 1.0} for i in range(300, 310)])
    assert modes(project)["made.ranked"] in ("touched", "delta")
    culprit = project.store.resolve("main")
    monkeypatch.undo()
    land(tmp_path, "3.csv", rows(5, seed=3, first=310))
    modes(project)
    found = project.parity("made.ranked")["made.ranked"]
    assert found.outcome == "different"
    assert found.difference is not None
    assert (found.difference.missing, found.difference.extra) == (1, 0)
    assert found.parted is not None
    assert found.parted.commit == culprit
    assert found.parted.mode in ("touched", "delta")
    assert "each operation follows its inputs rightly" in found.parted.words


def test_the_operation_whose_rule_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gristmill.algebra
    from gristmill.algebra.delta import rules as delta_rules

    real = delta_rules.maintain

    def wrong(expr: ibis.Table, changed: object, **more: object) -> object:
        """Lose the rows that come, wherever a filter stands."""
        from dataclasses import replace

        made = real(expr, changed, **more)  # type: ignore[arg-type]
        has_filter = any("filter" in rule.operation for rule in made.rules)
        return replace(made, changes=made.changes.limit(0)) if has_filter and made.changes is not None else made

    land(tmp_path, "1.csv", rows(300))
    project = csv_project(tmp_path)

    @project.table("made.chain", reads=["raw.t"], key="id")
    def chain(t: ibis.Table) -> ibis.Table:
        return t.mutate(a=t.day + 1).filter(lambda u: u.a > 5).mutate(b=ibis._.a * 2).select("id", "b")

    modes(project)
    monkeypatch.setattr(gristmill.algebra, "maintain", wrong)
    land(tmp_path, "2.csv", [{"id": i, "kind": "a", "day": 200, "x": 1.0} for i in range(300, 303)])
    assert modes(project)["made.chain"] == "delta"
    found = project.parity("made.chain")["made.chain"]
    assert found.outcome == "different"
    assert found.parted is not None
    assert found.parted.operation == "filter"


def test_what_cannot_be_compared_is_not_called_equal(tmp_path: Path) -> None:
    project, _ = two_runs(tmp_path)

    @project.step("made.dice", reads=["raw.t"], key="id", schema={"id": "int64", "x": "float64"})
    def dice(t: pa.Table) -> pa.Table:
        return pa.table({"id": t["id"], "x": [random.random() for _ in range(t.num_rows)]})

    @project.step("made.step", reads=["raw.t"], key="id", schema={"id": "int64"})
    def step(t: pa.Table) -> pa.Table:
        return t.select(["id"])

    @project.model("models.m", reads=["raw.t"])
    def model(t: pa.Table, out: Path) -> dict[str, float]:
        (out / "m").write_text("m")
        return {}

    modes(project)
    found = project.parity()
    assert found.ok
    assert not found.complete
    assert found["made.step"].outcome == "equal"
    assert {t.table: t.why for t in found.tables if t.outcome == "not_compared"} == {
        "made.dice": "it is not deterministic: two calls on the same rows gave different rows",
        "models.m": "a model is files that training wrote; training again may give others",
    }


def test_a_changed_definition_and_changed_inputs_are_said(tmp_path: Path) -> None:
    project, _ = two_runs(tmp_path)
    land(tmp_path, "3.csv", rows(5, seed=3, first=320))
    assert project.run(["raw.t"]).ok
    found = project.parity("made.filtered")["made.filtered"]
    assert found.outcome == "equal"
    assert found.why == "as of when it was computed: raw.t changed since"
    other = csv_project(tmp_path)

    @other.table("made.filtered", reads=["raw.t"], key="id")
    def filtered(t: ibis.Table) -> ibis.Table:
        return t.filter(t.day > 101)

    found = other.parity()["made.filtered"]
    assert (found.outcome, found.why) == ("not_compared", "definition changed since it was computed")


def test_at_an_earlier_commit_and_with_rows_set_aside(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", rows(300))
    project = csv_project(tmp_path)
    rule = gm.rules.between("day", low=0, high=395, on_fail="quarantine")

    @project.table("made.plain", reads=["raw.t"], key="id", rules=[rule])
    def plain(t: ibis.Table) -> ibis.Table:
        return t.mutate(z=t.day + 1)

    assert modes(project)["made.plain"] == "full"
    assert project.store.snapshot("main").table("made.plain").row_count < 300
    assert project.parity()["made.plain"].outcome == "equal"
    with project.store.begin("main", message="damage") as tx:
        change(tx, "made.plain", "z", -1)
    assert not project.parity().ok
    assert project.parity(at="main~1").ok


def test_a_sample_looks_at_other_keys_each_commit_and_finds_much_damage(tmp_path: Path) -> None:
    project, _ = two_runs(tmp_path)
    found = project.parity("made.filtered", sample=0.2)["made.filtered"]
    assert found.outcome == "equal"
    assert found.difference is not None
    assert 5 < found.difference.computed_rows < 100
    with project.store.begin("main", message="damage") as tx:
        tx.delete("made.filtered", keys=tx.to_arrow("made.filtered").select(["id"]).slice(0, 100))
    assert project.parity("made.filtered", sample=0.2)["made.filtered"].outcome == "different"
    none = project.parity(within_s=0)
    assert {table.why for table in none.tables} == {"the time was up"}
    assert none.ok
    assert not none.complete


@pytest.mark.parametrize("share", [0, -1, 2])
def test_a_share_that_is_none_is_refused(tmp_path: Path, share: float) -> None:
    project, _ = two_runs(tmp_path)
    with pytest.raises(UsageError, match="a share of"):
        project.parity(sample=share)
    with pytest.raises(UsageError, match="is a source"):
        project.parity("raw.t")


def test_a_run_checks_a_share_and_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gristmill.run.incremental as incremental

    def settled(root: Path) -> gm.Project:
        project = csv_project(root)
        (root / "gristmill.toml").write_text("[run]\nparity = 1.0\n")
        project = gm.Project(root)
        project.source("raw.t", gm.files("landing/*.csv"), key="id")
        define(project)
        return project

    land(tmp_path, "1.csv", rows(300))
    project = settled(tmp_path)
    modes(project)
    land(tmp_path, "2.csv", rows(20, seed=2, first=300))
    result = project.run()
    assert result.ok
    assert {f.table for f in result.findings if f.rule.kind == "parity" and f.outcome == "pass"} >= {"made.filtered"}
    real = incremental._maintained

    def wrong(*arguments: object, **more: object) -> object:
        import msgspec

        made = real(*arguments, **more)  # type: ignore[arg-type]
        if arguments[1].node.name == "made.filtered":  # type: ignore[attr-defined]
            return msgspec.structs.replace(made, changes=f"SELECT * FROM ({made.changes}) LIMIT 0")
        return made

    monkeypatch.setattr(incremental, "_maintained", wrong)
    before = project.store.resolve("main")
    land(tmp_path, "3.csv", rows(20, seed=3, first=320))
    refused = project.run()
    assert not refused.ok
    assert [(f.table, f.rule.code) for f in refused.failures] == [("made.filtered", "parity")]
    assert project.store.resolve("main") == before
    result = project.run()
    assert result.ok
    assert {s.name: s.mode for s in result.record.stages}["made.filtered"] == "full"
    monkeypatch.undo()
    assert project.parity().ok
