"""What a person meets who brings odd files, odd names, and a process that was killed."""

import json
import os
from pathlib import Path

import pytest

from gristmill.cli.app import run
from tests.cli.conftest import Type

PIPELINE = """import ibis
import pyarrow as pa
import gristmill as gm

project = gm.Project()
orders = project.source("raw.orders", gm.files("landing/*.csv"), key="id")


@project.step("py.orders", reads=[orders], schema={"id": "int64"})
def step(rows: pa.Table) -> pa.Table:
    return 42
"""


@pytest.mark.parametrize("name", ["a 'b\" c.csv", "x[1]*.csv", "back\\slash.csv", "{brace}.csv", "naïve 日本.csv"])
def test_a_project_from_a_file_with_an_odd_name_runs(type_: Type, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text('id,"a ""q""",select,Case;x,<img>\n1,2,3,4,5\n')
    type_("init", str(tmp_path / "odd"), "--from", str(tmp_path / name))
    os.chdir(tmp_path / "odd")
    type_("run")
    (table,) = [word for word in type_("show").out.split() if word.startswith("clean.")]
    assert type_("sql", f"select * from {table} limit 1").out.split("\n")[0].endswith('a "q"  select  Case;x  <img>')


def test_nothing_to_show_says_so(type_: Type) -> None:
    said = type_("show")
    assert (said.out, "no tables yet" in said.err) == ("", True)
    assert "has a table `no.pe`" in type_("log", "no.pe", code=2).err


def test_a_cell_cannot_draw_on_the_terminal(type_: Type) -> None:
    Path("landing/orders.csv").write_text('id,made_at,amount\n1,"a\x1b[2J\nb",1\n')
    type_("run")
    assert "a\\x1b[2J\\nb" in type_("show", "raw.orders").out


def test_setting_nothing_aside_offers_no_undo(type_: Type) -> None:
    type_("run")
    said = type_("quarantine", "add", "raw.orders", "--where", "id = 99", "--because", "x")
    assert "no row of raw.orders fits" in said.err
    assert "undo" not in said.err


def test_a_step_that_returns_no_rows_is_named(type_: Type) -> None:
    Path("pipeline.py").write_text(PIPELINE)
    said = type_("run", code=2)
    assert "`py.orders` returned int, not rows" in said.err
    assert "pipeline.py:9" in said.err


def test_a_wrong_call_is_json_too(type_: Type) -> None:
    for words in (["sql", "--json"], ["frobnicate", "--json"]):
        error = json.loads(type_(*words, code=2).out)
        assert (error["event"], error["exit_code"]) == ("error", 2)


def test_a_store_that_is_no_folder_is_named(type_: Type) -> None:
    Path(".gristmill").write_text("x")
    said = type_("status", code=2)
    assert ".gristmill" in said.err
    assert "GM-X001" not in said.err


def test_a_killed_run_is_called_so(type_: Type) -> None:
    import msgspec

    from gristmill.run import records
    from gristmill.store import open_store

    type_("run")
    store = open_store(".gristmill")
    done = records.load(store, "run/1")
    host = records.this_process().rpartition(":")[0]
    records.save(store, msgspec.structs.replace(done, status="running", process=f"{host}:99999999"))
    assert type_("runs").out.split()[1] == "killed"
    assert "run/1 was killed" in type_("status", code=1).out


def test_a_project_made_where_one_stands(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    os.chdir(tmp_path)
    try:
        assert run(["init", "."]) == 0
        assert "next: gristmill plan" in capfd.readouterr().err
    finally:
        os.chdir(before)


def test_columns_of_one_name_are_all_printed(type_: Type) -> None:
    type_("run")
    twice = "select * from clean.orders a join clean.orders b on a.id = b.id order by 1"
    assert type_("sql", twice).out.split("\n")[0].split() == ["id", "made_at", "amount"] * 2
    assert len(json.loads(type_("sql", twice, "--json").out.split("\n")[0])) == 8


def test_a_source_that_nothing_reaches_is_no_success_in_silence(type_: Type) -> None:
    Path("landing/orders.csv").unlink()
    assert "nothing has arrived yet for raw.orders" in type_("run").err
    Path("pipeline.py").write_text("import gristmill as gm\n\nproject = gm.Project()\n")
    assert "defines no tables" in type_("plan").err


def test_the_plan_says_how_many_rows_a_source_has(type_: Type) -> None:
    type_("run")
    Path("landing/orders.csv").rename("landing/first.csv")
    Path("pipeline.py").write_text(Path("pipeline.py").read_text().replace("orders.csv", "*.csv"))
    Path("landing/second.csv").write_text("id,made_at,amount\n7,2026-01-08T10:00:00Z,1\n")
    type_("run")
    assert "5 rows" in next(line for line in type_("plan").out.splitlines() if "raw.orders" in line)
