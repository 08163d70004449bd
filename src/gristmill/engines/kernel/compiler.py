"""From normalised Ibis nodes to DuckDB SQL: Ibis's own compiler, plus our operations.

This is the one file that leans on Ibis's compiler classes, which are not a public promise of Ibis; the
supported range is pinned and ``tests/engines`` exercises every operation of the semantics table through it.
"""

from __future__ import annotations

import ibis
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.duckdb import DuckDBCompiler

from gristmill.algebra.nodes import RunTime
from gristmill.errors import UsageError


class KernelCompiler(DuckDBCompiler):  # type: ignore[misc]
    """Ibis's DuckDB compiler with the operations of ``gristmill.algebra.nodes``."""

    __slots__ = ("run_time_us",)

    def __init__(self, run_time_us: int | None = None) -> None:
        super().__init__()
        self.run_time_us = run_time_us

    def visit_RunTime(self, op: RunTime) -> sge.Expression:  # noqa: N802
        """Write the run's instant as a literal."""
        if self.run_time_us is None:
            raise UsageError("gm.run_time() has a value only inside a run", hint="pass run_time_us=")
        return sge.Var(this=f"make_timestamptz({self.run_time_us})")


def compile_sql(expr: ibis.Table, *, run_time_us: int | None = None) -> str:
    """Return one DuckDB SELECT for a normalised expression; input tables are quoted identifiers."""
    return str(KernelCompiler(run_time_us).to_sqlglot(expr).sql(dialect="duckdb"))
