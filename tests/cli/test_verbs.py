"""Each verb as a person types it: what it prints, where, and how it ends."""

import json
from pathlib import Path

import pytest

from gristmill.cli.app import VERBS, cli, run
from tests.cli.conftest import Type


def test_every_verb_of_the_help_is_there() -> None:
    for name in VERBS:
        assert cli.get_command(None, name) is not None  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(VERBS))
def test_help_fits_a_screen_and_says_something(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([name, "--help"]) == 0
    text = capfd.readouterr().out
    assert len(text.splitlines()) <= 45
    assert max(map(len, text.splitlines())) <= 110


def test_an_unknown_verb_suggests_the_nearest(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["rnu"]) == 2
    assert "did you mean `run`" in capfd.readouterr().err


def test_plan_run_and_again(type_: Type) -> None:
    assert "1 new unit" in type_("plan").out
    said = type_("run")
    assert said.out == ""
    assert "undo: gristmill revert" in said.err
    assert "nothing to do" in type_("run").err
    assert "nothing to do" in type_("plan").err


def test_json_is_one_object_a_line_with_a_version_first(type_: Type) -> None:
    lines = type_("run", "--json").out.splitlines()
    events = [json.loads(line) for line in lines]
    assert all(line.startswith('{"v": 1,') for line in lines)
    assert events[0]["event"] == "runstarted"
    assert events[-1]["event"] == "published"
    rows = [
        json.loads(line) for line in type_("sql", "select count(*) as n from raw.orders", "--json").out.splitlines()
    ]
    assert rows == [{"v": 1, "event": "row", "n": 4}]


def test_looking(type_: Type) -> None:
    type_("run")
    assert "raw.orders" in type_("show").out
    assert "2026-01-05 09:00:00Z" in type_("show", "clean.orders").out
    assert "run/1" in type_("log").out
    assert "published" in type_("runs").out
    assert "raw.orders" in type_("show", "run/1").out
    assert type_("sql", "select sum(amount) as s from clean.orders").out.split() == ["s", "57.5"]
    assert "31.75" in type_("preview", "clean.orders", "--where", "amount > 30").out
    assert "landing/orders.csv" in type_("source", "list").out
    assert "nothing needs a person" in type_("status").out
    assert "did you mean `raw.orders`" in type_("show", "raw.order", code=2).err


def test_branches_and_tags_print_their_undo(type_: Type) -> None:
    type_("run")
    assert "undo: gristmill branch fix --delete" in type_("branch", "fix").err
    assert "undo: gristmill tag v1 --delete" in type_("tag", "v1").err
    assert "fix" in type_("branch").out
    assert "v1" in type_("tag").out
    type_("branch", "fix", "--delete")
    assert "fix" not in type_("branch").out


def test_a_revert_holds_what_it_took_back(type_: Type) -> None:
    type_("run")
    said = type_("revert", "main")
    assert "held: raw.orders: landing/orders.csv" in said.err
    assert "1 held" in type_("plan").out
    type_("status", code=1)
    type_("source", "release", "raw.orders")
    type_("run")
    assert type_("sql", "select count(*) as n from raw.orders").out.split() == ["n", "4"]


def test_diff_by_identity(type_: Type) -> None:
    type_("run")
    Path("pipeline.py").write_text(Path("pipeline.py").read_text().replace("orders.csv", "*.csv"))
    Path("landing/more.csv").write_text("id,made_at,amount\n9,2026-02-01T00:00:00Z,1.5\n")
    type_("run")
    assert type_("diff", "main~1", "main").out.splitlines()[-2].split()[:2] == ["raw.orders", "+1"]
    type_("diff", "main~1", "main", "--exit-code", code=1)


def test_export_and_test(type_: Type) -> None:
    type_("run")
    assert "4 rows" in type_("export", "clean.orders", "out.csv").err
    assert Path("out.csv").read_text().startswith('"id"')
    Path("tests").mkdir()
    case = {"given": {"raw.orders": [{"id": 1}, {"id": 1}]}, "expect": {"clean.orders": [{"id": 1}]}}
    Path("tests/once.json").write_text(json.dumps(case))
    assert "pass  once.json" in type_("test").out
    case["expect"] = {"clean.orders": [{"id": 2}]}
    Path("tests/once.json").write_text(json.dumps(case))
    assert "clean.orders lacks" in type_("test", code=1).out


def test_a_refused_run_says_what_where_and_what_to_type(type_: Type) -> None:
    text = Path("pipeline.py").read_text()
    Path("pipeline.py").write_text(
        text.replace('orders.csv")', 'orders.csv"), rules=[gm.rules.between("amount", high=20)]')
    )
    said = type_("run", code=1)
    assert "blocked  raw.orders   rule amount <= 20" in said.err
    assert "1 of 4 rows" in said.err
    assert "landing/orders.csv:4" in said.err
    assert "first seen in this run; from landing/orders.csv:4" in said.err
    assert "main is unchanged at" in said.err
    assert "gristmill publish run/1 --set-aside between:amount@raw.orders" in said.err
    assert "gristmill show run/1 --failed" in said.err
    assert "amount <= 20" in type_("show", "run/1", "--failed").out
    type_("status", code=1)
    accept = ["--accept", "between:amount@raw.orders", "--because", "a big one", "--until", "2099-01-01"]
    said = type_("publish", "run/1", *accept)
    assert "accepted raw.orders between:amount: a big one (until 2099-01-01)" in said.err
    assert "accepted until 2099-01-01" in type_("status", code=1).out


def test_errors_name_their_code_and_json_too(type_: Type) -> None:
    assert "[GM-S002]" in type_("sql", "select * from nowhere", code=2).err
    event = json.loads(type_("show", "nowhere", "--json", code=2).out)
    assert event["event"] == "error"
    assert event["exit_code"] == 2
    assert "no `gristmill.toml`" not in type_("explain", "GM-C001").out


def test_outside_a_project_the_way_in_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    assert run(["plan"]) == 2
    assert "gristmill init NAME" in capfd.readouterr().err


LOOKING = [
    ["show"],
    ["show", "raw.orders"],
    ["sql", "select 1 as x from raw.orders"],
    ["log"],
    ["diff", "main~1", "main"],
    ["branch"],
    ["tag"],
    ["runs"],
    ["status"],
    ["source", "list"],
    ["quarantine", "list"],
    ["export", "raw.orders", "out.parquet"],
    ["revert", "main"],
    ["explain"],
]


def test_looking_never_runs_project_code(type_: Type) -> None:
    type_("run")
    Path("pipeline.py").write_text("from pathlib import Path\nPath('it-ran').touch()\n")
    for words in LOOKING:
        type_(*words)
        assert not Path("it-ran").exists(), f"gristmill {' '.join(words)} ran project code"
    run(["run"])
    assert Path("it-ran").exists()


def test_sql_over_the_records_of_runs(type_: Type) -> None:
    type_("run")
    (row,) = type_("sql", "select status, branch from _runs", "--json").out.splitlines()
    assert json.loads(row) == {"v": 1, "event": "row", "status": "published", "branch": "main"}


def test_a_selected_table_that_waits_says_for_what(type_: Type) -> None:
    for file in Path("landing").iterdir():
        file.unlink()
    assert "nothing has arrived yet for clean.orders (waits for raw.orders)" in type_("run", "clean.orders").err


def test_init_from_a_file_names_the_folder_by_it_and_runs_whatever_it_is_called(type_: Type, tmp_path: Path) -> None:
    for number, (name, folder) in enumerate({"Class.csv": "t_class", "My Orders.csv": "my_orders"}.items()):
        Path(name).write_text(f"Order ID,Total €\n{number},5\n")
        assert f"cd {folder} && gristmill plan" in type_("init", "--from", name).err
        type_("run", "--project", folder)
        said = type_("sql", f"select count(*) as n from clean.{folder}", "--project", folder)
        assert said.out.split()[-1] == "1"
    assert "gristmill init --from FILE" in type_("init", code=2).err
