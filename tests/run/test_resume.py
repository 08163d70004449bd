"""A run that ended early goes on from what it finished; one that was killed leaves nothing half done."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import DefinitionError

PIPELINE = """
import os, pathlib, time
import pyarrow as pa
import gristmill as gm

project = gm.Project()
raw = project.source("raw.orders", gm.files("landing/*.csv"), key="id")

@project.table("clean.orders", reads=[raw], key="id")
def clean(orders):
    return orders.filter(orders.amount > 0)

@project.step("slow.orders", reads=[clean], schema={"id": "int64"}, key="id")
def slow(orders: pa.Table) -> pa.Table:
    pathlib.Path("reached").touch()
    while os.path.exists("wait"):
        time.sleep(0.01)
    if os.path.exists("fail"):
        raise ValueError("not today")
    return orders.select(["id"])
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "a.csv").write_text("id,amount\n1,5\n2,6\n")
    (tmp_path / "gristmill.toml").write_text("")
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    return tmp_path


def load(root: Path) -> gm.Project:
    os.chdir(root)
    return gm.Project.load(root)


def test_a_failed_step_does_not_cost_what_was_finished_before(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    (root / "fail").touch()
    with pytest.raises(DefinitionError, match="not today") as caught:
        load(root).run()
    assert caught.value.where == "pipeline.py:19"
    (root / "fail").unlink()
    project = load(root)
    result = project.run()
    assert result.ok
    assert {stage.name: stage.mode for stage in result.record.stages} == {
        "raw.orders": "reuse",
        "clean.orders": "reuse",
        "slow.orders": "full",
    }
    assert project.store.snapshot("main").table("slow.orders").row_count == 2


def test_a_killed_run_leaves_main_as_it_was_and_the_next_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    before = load(root).store.resolve("main")
    (root / "wait").touch()
    source = Path(__file__).parents[2] / "src"
    worker = subprocess.Popen(
        [sys.executable, "-m", "gristmill", "run"], cwd=root, env={**os.environ, "PYTHONPATH": str(source)}
    )
    deadline = time.monotonic() + 60
    while not (root / "reached").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    (root / "wait").unlink()
    project = load(root)
    assert project.store.resolve("main") == before
    result = project.run()
    assert result.ok
    assert [stage.mode for stage in result.record.stages] == ["reuse", "reuse", "full"]
    assert project.store.snapshot("main").table("slow.orders").row_count == 2


def test_ctrl_c_stops_cleanly(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.run.records import history

    monkeypatch.chdir(root)
    (root / "wait").touch()
    source = Path(__file__).parents[2] / "src"
    worker = subprocess.Popen(
        [sys.executable, "-m", "gristmill", "run"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(source)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # it is ignored below a shell's background job
    )
    deadline = time.monotonic() + 60
    while not (root / "reached").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=30)
    assert worker.returncode == 130, errors
    project = load(root)
    assert next(iter(history(project.store))).status == "stopped"
