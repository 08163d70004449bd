"""Tables of a project are divided as their definitions say, and follow when these change."""

from pathlib import Path

import ibis
import pytest

import gristmill as gm
from gristmill.errors import GristmillError
from gristmill.model.where import parse_where


def project_of(root: Path, *, raw: tuple[str, ...] = (), made: tuple[str, ...] = (), keep: bool = True) -> gm.Project:
    (root / "landing").mkdir(exist_ok=True)
    (root / "gristmill.toml").write_text("")
    project = gm.Project(root)
    source = project.source("raw.sold", gm.files("landing/*.csv"), key="id", partition_by=raw)

    @project.table("made.sold", reads=[source], key="id", partition_by=made)
    def sold(t: ibis.Table) -> ibis.Table:
        return t if keep else t.drop("shop")

    return project


def land(root: Path, name: str, first: int) -> None:
    rows = [f"{first + i},{'ab'[i % 2]},{i}" for i in range(2000)]
    (root / "landing").mkdir(exist_ok=True)
    (root / "landing" / name).write_text("\n".join(["id,shop,x", *rows]) + "\n")


def files(project: gm.Project, name: str, where: str = "") -> int:
    snapshot = project.store.snapshot("main")
    columns = [field.name for field in snapshot.table(name).schema.fields]
    return len(snapshot.scan(name, where=parse_where(where, columns) if where else None).files)


def test_files_are_divided_and_a_condition_opens_fewer(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", 0)
    project = project_of(tmp_path, raw=("shop",), made=("bucket(4, id)",))
    project.run()
    snapshot = project.store.snapshot("main")
    assert snapshot.table("raw.sold").partition_by == ("shop",)
    assert snapshot.table("made.sold").partition_by == ("bucket(4, id)",)
    assert (files(project, "raw.sold"), files(project, "raw.sold", "shop = 'a'")) == (2, 1)
    assert (files(project, "made.sold"), files(project, "made.sold", "id = 7")) == (4, 1)
    land(tmp_path, "2.csv", 5000)
    record = project.run().record
    assert {stage.name: stage.mode for stage in record.stages}["made.sold"] == "delta"
    assert project.parity().ok


def test_a_changed_division_holds_for_new_files_and_for_all_once_maintained(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", 0)
    project_of(tmp_path).run()
    project = project_of(tmp_path, raw=("shop",), made=("shop",))
    assert {s.name: s.reason for s in project.run().record.stages}["made.sold"] == "definition changed"
    for name in ("raw.sold", "made.sold"):
        assert files(project, name, "shop = 'a'") == files(project, name) == 1
    rows = project.store.snapshot("main").digest("made.sold")
    project.store.maintain(tables=["made.sold"])
    assert files(project, "made.sold", "shop = 'a'") == 1 < files(project, "made.sold")
    assert project.store.snapshot("main").digest("made.sold") == rows
    land(tmp_path, "2.csv", 5000)
    project.run()
    assert files(project, "raw.sold", "shop = 'a'") == 2 < files(project, "raw.sold")
    project = project_of(tmp_path, raw=("shop",), keep=False)
    project.run()
    assert project.store.snapshot("main").table("made.sold").partition_by == ()
    assert project.parity().ok


def test_a_term_that_means_nothing_says_what_would(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", 0)
    with pytest.raises(GristmillError, match="week") as caught:
        project_of(tmp_path, made=("week(id)",)).run()
    assert caught.value.code == "GM-U123"
