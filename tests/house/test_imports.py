"""Start-up is a feature: what `import gristmill` and the light verbs must not load."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "duckdb",
    "pyarrow",
    "ibis",
    "sqlglot",
    "pandas",
    "polars",
    "numpy",
    "rich",
    "sklearn",
    "apsw",
    "jsonschema",
}


def modules_after(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import gristmill",
        "import gristmill; dir(gristmill); gristmill.__version__",
        "from gristmill.cli import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass",
        "from gristmill.cli import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass",
        "from gristmill.cli import main\ntry:\n    main(['run', '--help'])\nexcept SystemExit:\n    pass",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    assert not modules_after(code) & HEAVY


def test_a_run_of_what_has_not_changed_loads_no_engine(tmp_path: Path) -> None:
    (tmp_path / "gristmill.toml").write_text("")
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "a.csv").write_text("id\n1\n")
    lines = ["import gristmill as gm", "project = gm.Project()", 'project.source("raw.a", gm.files("landing/*.csv"))']
    (tmp_path / "pipeline.py").write_text("\n".join(lines) + "\n")
    code = f"from gristmill.cli.app import run\nassert run(['run', '--project', {str(tmp_path)!r}]) == 0"
    assert modules_after(code) >= {"duckdb", "pyarrow"}
    assert not modules_after(code) & (HEAVY - {"apsw"})
