"""The instant of the run, as a value inside a definition."""

from __future__ import annotations

import ibis

from gristmill.algebra.nodes import RunTime


def run_time() -> ibis.Value:
    """Return the instant at which the run began, UTC; the commit records it and a replay uses the same one.

    >>> t = ibis.table({"born": "date"}, name="raw.people")
    >>> t.filter(t.born.cast("timestamp('UTC')") < run_time()).columns
    ('born',)
    """
    return RunTime().to_expr()


def uses_run_time(expr: ibis.Table) -> bool:
    """Return whether the answer depends on when the run began, so that it is part of its name."""
    return bool(expr.op().find(RunTime))
