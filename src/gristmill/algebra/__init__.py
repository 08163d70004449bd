"""What an Ibis expression means here: semantics, exact sums, fingerprints, inputs, columns, own operations.

Read ``semantics.py`` first: one table of every operation on which engines disagree, with our rule and the SQL
that keeps it; ``rewrite.py`` is the pass that applies it; ``delta/`` says how an output follows changes of its
inputs. Nothing here runs a query or knows the store.
Imports ``gristmill.errors`` and ``gristmill.model``; Ibis and sqlglot are loaded on first use of a function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill._lazy import lazy

if TYPE_CHECKING:
    from gristmill.algebra.arrow import arrow_schema as arrow_schema
    from gristmill.algebra.arrow import input_table as input_table
    from gristmill.algebra.asof import asof_join as asof_join
    from gristmill.algebra.columns import ColumnOrigins as ColumnOrigins
    from gristmill.algebra.columns import column_lineage as column_lineage
    from gristmill.algebra.delta.maintained import Maintained as Maintained
    from gristmill.algebra.delta.rules import maintain as maintain
    from gristmill.algebra.delta.rules import stateful as stateful
    from gristmill.algebra.hashing import hash as hash
    from gristmill.algebra.hashing import row_random as row_random
    from gristmill.algebra.hashing import split as split
    from gristmill.algebra.identity import fingerprint as fingerprint
    from gristmill.algebra.inputs import reads as reads
    from gristmill.algebra.parting.stages import Parted as Parted
    from gristmill.algebra.parting.stages import parted as parted
    from gristmill.algebra.rewrite import normalise as normalise
    from gristmill.algebra.runtime import run_time as run_time
    from gristmill.algebra.runtime import uses_run_time as uses_run_time
    from gristmill.algebra.sums import Grid as Grid
    from gristmill.algebra.time_windows import cumulate as cumulate
    from gristmill.algebra.time_windows import hop as hop
    from gristmill.algebra.time_windows import sessions as sessions
    from gristmill.algebra.time_windows import tumble as tumble
    from gristmill.algebra.witnesses import Witness as Witness
    from gristmill.algebra.witnesses import rows_name as rows_name
    from gristmill.algebra.witnesses import witness as witness

_HOME = {
    "Grid": "sums",
    "Witness": "witnesses",
    "arrow_schema": "arrow",
    "asof_join": "asof",
    **dict.fromkeys(("cumulate", "hop", "sessions", "tumble"), "time_windows"),
    "hash": "hashing",
    "row_random": "hashing",
    "run_time": "runtime",
    "split": "hashing",
    "uses_run_time": "runtime",
    "witness": "witnesses",
    "Maintained": "delta.maintained",
    "maintain": "delta.rules",
    "stateful": "delta.rules",
    "ColumnOrigins": "columns",
    "column_lineage": "columns",
    "fingerprint": "identity",
    "input_table": "arrow",
    "Parted": "parting.stages",
    "normalise": "rewrite",
    "parted": "parting.stages",
    "reads": "inputs",
    "rows_name": "witnesses",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
