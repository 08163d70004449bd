"""The kernel: Ibis expressions and SQL text, compiled under our semantics and run on DuckDB in this process.

Read ``kernel.py`` first (the connection and its locked settings), then ``compiler.py`` (from nodes to SQL),
``sql_text.py`` (what a SQL definition may be) and ``delta.py`` (running what the delta algebra gives). Imports
``algebra`` and ``errors``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill._lazy import lazy

if TYPE_CHECKING:
    from gristmill.engines.kernel.delta import ChangesSql as ChangesSql
    from gristmill.engines.kernel.delta import OutputChanges as OutputChanges
    from gristmill.engines.kernel.delta import StateChanges as StateChanges
    from gristmill.engines.kernel.delta import changes_of as changes_of
    from gristmill.engines.kernel.delta import changes_sql as changes_sql
    from gristmill.engines.kernel.delta import run_changes as run_changes
    from gristmill.engines.kernel.kernel import Kernel as Kernel
    from gristmill.engines.kernel.sql_text import SqlDefinition as SqlDefinition
    from gristmill.engines.kernel.sql_text import named_tables as named_tables

_HOME = {
    "Kernel": "kernel",
    "ChangesSql": "delta",
    "OutputChanges": "delta",
    "SqlDefinition": "sql_text",
    "StateChanges": "delta",
    "changes_of": "delta",
    "changes_sql": "delta",
    "named_tables": "sql_text",
    "run_changes": "delta",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
