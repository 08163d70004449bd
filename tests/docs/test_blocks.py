"""Every code block of the docs runs, page by page, in a fresh folder.

``console`` blocks run line by line in one shell (``$ command``; ``# exit 1`` at its end names another exit code).
``python`` blocks run in one namespace per page; with ``file=NAME`` they, like any other block, are written there.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = {"cli.md", "python.md"}  # their examples run where they are written
PAGES = sorted(page for page in [*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"] if page.name not in GENERATED)
BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    return [(m[1], m[2].strip(), m[3]) for m in BLOCK.finditer(page.read_text())]


def shell(lines: list[str], folder: Path, state: Path) -> None:
    """Run commands one by one; the working directory is carried over in a file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "GRISTMILL_BRANCH": ""}
    for line in lines:
        command, _, wanted = line.partition("   # exit ")
        where = state.read_text() if state.exists() else str(folder)
        script = (
            f'gristmill() {{ "{sys.executable}" -m gristmill "$@"; }}\npython() {{ "{sys.executable}" "$@"; }}\n'
            f'cd "{where}"\n{command}\ncode=$?\npwd > "{state}.new"; exit $code\n'
        )
        done = subprocess.run(["/bin/sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
        expected = int(wanted or 0)
        assert done.returncode == expected, f"$ {command}\nexit {done.returncode}\n{done.stdout}{done.stderr}"
        new = Path(f"{state}.new")
        state.write_text(new.read_text().strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_runs(page: Path, tmp_path: Path) -> None:
    folder, state = tmp_path / "page", tmp_path / "where"
    folder.mkdir()
    names: dict[str, object] = {"__name__": "docs"}
    for language, info, text in blocks(page):
        target = re.search(r"file=(\S+)", info)
        if target:
            path = folder / target[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        elif language == "console":
            shell([line[2:] for line in text.splitlines() if line.startswith("$ ")], folder, state)
        elif language in ("airflow", "dagster"):
            compile(text, str(page), "exec")
        elif language == "python":
            before = Path.cwd()
            os.chdir(state.read_text() if state.exists() else folder)
            try:
                exec(compile(text, str(page), "exec"), names)
            finally:
                os.chdir(before)
