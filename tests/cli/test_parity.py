"""The verb `parity`: words, JSON, exit codes."""

import json

import pytest

from gristmill.cli.app import run
from tests.run.test_incremental import csv_project, land, rows

PIPELINE = """
import gristmill as gm

project = gm.Project()
raw = project.source("raw.t", gm.files("landing/*.csv"), key="id")

@project.table("made.plain", reads=[raw], key="id")
def plain(t):
    return t.mutate(z=t.day + 1)

@project.model("models.m", reads=[raw])
def model(t, out):
    return {}
"""


@pytest.fixture
def shop(tmp_path, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    (tmp_path / "pipeline.py").write_text(PIPELINE.replace("def model(t,", "def model(t: 'pa.Table',"))
    (tmp_path / "pipeline.py").write_text("import pyarrow as pa\n" + (tmp_path / "pipeline.py").read_text())
    csv_project(tmp_path)
    land(tmp_path, "1.csv", rows(50))
    monkeypatch.chdir(tmp_path)
    assert run(["run", "--quiet"]) == 0
    return tmp_path


def test_words_json_and_exit_codes(shop, capsys: pytest.CaptureFixture[str]) -> None:  # type: ignore[no-untyped-def]
    capsys.readouterr()
    assert run(["parity"]) == 0
    out = capsys.readouterr().out
    assert "made.plain  equal  50 rows" in out
    assert "models.m  not compared  a model is files" in out
    assert run(["parity", "models.m"]) == 1
    assert run(["parity", "made.plan"]) == 2
    assert "made.plain" in capsys.readouterr().err
    project = csv_project(shop)
    with project.store.begin("main", message="damage") as tx:
        tx.delete("made.plain", keys=tx.to_arrow("made.plain").select(["id"]).slice(0, 1))
    assert run(["parity", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {line["table"]: line for line in lines}
    assert found["made.plain"]["outcome"] == "different"
    assert found["made.plain"]["difference"]["missing"] == 1
    assert found["made.plain"]["difference"]["examples"][0]["kind"] == "missing"
    assert run(["parity", "made.plain", "--at", "main~1", "--sample", "0.5"]) == 0
    assert run(["run", "--quiet"]) == 0
    assert run(["parity"]) == 0
