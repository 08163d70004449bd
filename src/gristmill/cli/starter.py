"""Write a small project to start from: a few rows that gristmill makes up, or a file of the user's."""

from __future__ import annotations

import keyword
import re
import shutil
from pathlib import Path

_ROWS = """id,made_at,amount
1,2026-01-05T09:00:00Z,12.50
2,2026-01-05T09:20:00Z,8.00
3,2026-01-06T14:10:00Z,31.75
4,2026-01-07T08:45:00Z,5.25
"""

_SETTINGS = """[project]
name = "{name}"
modules = ["pipeline"]
"""

_PIPELINE = '''"""What this project makes: one source, one table. `gristmill plan` says what a run would do."""

import ibis

import gristmill as gm

project = gm.Project()

raw_{table} = project.source("raw.{table}", gm.files({pattern}))


@project.table("clean.{table}", reads=[raw_{table}])
def clean_{table}({table}: ibis.Table) -> ibis.Table:
    """Every row once, with nothing changed yet: filter, select and join here."""
    return {table}.distinct()
'''


def write_starter(folder: Path, source: Path | None) -> None:
    """Write settings, definitions and the first file into ``folder``."""
    landing = folder / "landing"
    landing.mkdir(parents=True, exist_ok=True)
    if source is None:
        name, pattern = "orders", "orders.csv"
        (landing / pattern).write_text(_ROWS, encoding="utf-8")
    else:
        name, pattern = identifier(source.name.split(".")[0]), source.name
        shutil.copyfile(source, landing / source.name)
    (folder / "gristmill.toml").write_text(_SETTINGS.format(name=identifier(folder.name)), encoding="utf-8")
    (folder / "pipeline.py").write_text(
        _PIPELINE.format(table=name, pattern=_literal(f"landing/{pattern}")), encoding="utf-8"
    )
    (folder / ".gitignore").write_text(".gristmill/\n__pycache__/\n", encoding="utf-8")


def _literal(text: str) -> str:
    """Write a text as Python source, as ruff would have it.

    >>> print(_literal('landing/a "b".csv'), _literal("a.csv"))
    'landing/a "b".csv' "a.csv"
    """
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain[0] == "'" and '"' not in text else plain


def identifier(text: str) -> str:
    """Make a Python and table name of a file's name.

    >>> identifier("My Orders-2026"), identifier("class")
    ('my_orders_2026', 't_class')
    """
    name = re.sub(r"\W+", "_", text.strip().lower(), flags=re.ASCII).strip("_")
    return name if name.isidentifier() and not keyword.iskeyword(name) else f"t_{name}"
