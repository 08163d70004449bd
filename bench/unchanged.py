"""A project of 500 tables in which nothing has changed: the whole process of `gristmill run`, against bare Python."""

from __future__ import annotations

import tempfile
from pathlib import Path

from harness import alternate, process, report_ratio, scale

TABLES = max(2, int(500 * scale()))

HEAD = """import gristmill as gm

project = gm.Project()
raw = project.source("raw.orders", gm.files("landing/*.csv"), key="id")
"""


def make_project(root: Path) -> None:
    (root / "landing").mkdir()
    (root / "landing" / "a.csv").write_text("id,amount\n" + "".join(f"{i},{i * 3}\n" for i in range(100)))
    (root / "gristmill.toml").write_text("")
    lines = [HEAD]
    for number in range(TABLES - 1):
        source = "raw.orders" if number % 10 == 0 else f"t.n{number - 1}"
        query = f"select id, amount + {number} as amount from {source}"
        lines.append(f'project.sql("t.n{number}", "{query}", reads=["{source}"], key="id")')
    (root / "pipeline.py").write_text("\n".join(lines) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as folder:
        root = Path(folder)
        make_project(root)
        process(["-m", "gristmill", "run", "-q"], cwd=folder)()
        unchanged = process(["-m", "gristmill", "run", "-q"], cwd=folder)
        report_ratio(f"run of {TABLES} unchanged tables", alternate(unchanged, process(["-c", "pass"]), rounds=7), 25)


if __name__ == "__main__":
    main()
