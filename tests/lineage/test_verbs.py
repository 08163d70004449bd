"""The verbs: what they print, their exit codes, and that only a replay runs project code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gristmill.cli.app import run


def call(shop: object, *arguments: str) -> int:
    return run([*arguments, "--project", str(shop.root)])  # type: ignore[attr-defined]


def test_a_trace_prints_a_tree_down_to_the_raw_line(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert call(made, "trace", "predictions.order", "--key", "3", "--replay") == 0
    text = capsys.readouterr().out
    assert "├─ models.mean  files " in text
    assert "landing/orders/day1.csv:4\n" in text
    assert "3,ana,USD,2026-01-05,5" in text
    assert "landing/rates.csv:4  (1 more row competed or shared a window)" in text
    assert text.endswith("replayed 1 row from 2 source rows (1 of raw.orders, 1 of raw.rates): equal, bit for bit\n")


def test_only_a_replay_runs_project_code(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    made.define("raise RuntimeError('project code ran')\n")
    for arguments in (
        ["trace", "predictions.order", "--key", "3"],
        ["trace", "raw.orders", "--unit", "landing/orders/day1.csv", "--forward"],
        ["trace", "marts.customers", "--columns"],
        ["blame", "clean.orders", "--key", "1"],
    ):
        assert call(made, *arguments) == 0
    assert call(made, "trace", "clean.orders", "--key", "1", "--replay") == 2
    assert "project code ran" in capsys.readouterr().err


def test_a_replay_that_differs_exits_1(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    text = (made.root / "pipeline.py").read_text()
    made.define(text.replace("total=orders.value.sum()", "total=orders.value.sum() + 1"))
    assert call(made, "trace", "marts.customers", "--key", "ana", "--replay") == 1
    assert "differs: customer=ana: total is stored as 11.25" in capsys.readouterr().out


def test_json_has_one_object_a_line_with_everything(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert call(made, "trace", "clean.orders", "--key", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["v"], found["event"], found["rows"]) == (1, "trace", 1)
    assert found["inputs"][0]["rows"]["places"][0]["place"] == "landing/orders/day1.csv:2"
    assert call(made, "trace", "raw.orders", "--key", "1", "--forward", "--json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "forward"
    assert {event["event"] for event in events[1:]} == {"reached"}
    assert call(made, "blame", "clean.orders", "--key", "1", "--json") == 0
    assert {json.loads(line)["column"] for line in capsys.readouterr().out.splitlines()} == {
        "id", "customer", "day", "value",
    }  # fmt: skip


def test_what_is_asked_wrongly_is_a_usage_error(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    assert call(made, "trace", "clean.orders") == 2
    assert call(made, "trace", "clean.orders", "--key", "1", "--replay", "--forward") == 2
    assert call(made, "blame", "clean.orders") == 2
    assert "GM-L007" in capsys.readouterr().err


def test_a_trace_can_look_at_another_state(made, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    made.land("orders/day2.csv", "id,customer,currency,day,amount\n5,ana,EUR,2026-01-07,100\n")
    assert call(made, "run", "--quiet") == 0
    capsys.readouterr()
    for table in ("marts.customers@main~1", "marts.customers"):
        assert call(made, "trace", table, "--key", "ana", *([] if "@" in table else ["--at", "main~1"])) == 0
        assert "day2.csv" not in capsys.readouterr().out


def test_a_folder_without_a_store_is_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gristmill.toml").write_text("")
    assert run(["trace", "clean.orders", "--key", "1", "--project", str(tmp_path)]) == 2
    assert "there is no table" in capsys.readouterr().err
