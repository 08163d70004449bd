"""What is installed is what was tested: the wheel holds everything that the verbs need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Build the wheel, install it into a folder of its own, and return the environment that runs it from there."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", str(ROOT), "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), "--quiet"]
    subprocess.run(build, check=True, capture_output=True, cwd=folder)
    (wheel,) = folder.glob("*.whl")
    target = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--quiet", "--target", str(target), str(wheel)], check=True)
    return {**os.environ, "PYTHONPATH": str(target)}


def typed(environment: dict[str, str], folder: Path, *words: str, expect: int = 0) -> str:
    command = [sys.executable, "-m", "gristmill", *words]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


def test_a_project_from_a_file_runs_on_the_installed_package(installed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("id,day,amount\n1,2026-01-01,3.5\n2,2026-01-02,4\n")
    typed(installed, tmp_path, "init", "shop", "--from", "sales.csv")
    shop = tmp_path / "shop"
    assert "published main" in typed(installed, shop, "run")
    assert "nothing to do" in typed(installed, shop, "run")
    tables = typed(installed, shop, "show")
    assert "raw.sales" in tables
    assert "2" in typed(installed, shop, "sql", 'select count(*) from "raw.sales"')
    assert "run: raw.sales" in typed(installed, shop, "log")
    typed(installed, shop, "check")
    assert "sales.csv" in typed(installed, shop, "trace", "raw.sales", "--where", "id = 1")
    assert "Usage" in typed(installed, shop, "schedule", "--help")


def test_the_contract_schemas_and_templates_are_in_it(installed: dict[str, str], tmp_path: Path) -> None:
    assert typed(installed, tmp_path, "init", "a")
    assert (tmp_path / "a" / "pipeline.py").is_file()
    code = "import gristmill, sys; print(gristmill.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=installed, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "site" in done.stdout
