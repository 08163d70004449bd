"""What a definition may not contain, and what to write instead.

Everything here would make the same definition give two answers: on another day, in another order of rows, on
another number of threads, or on another version of the engine.
"""

from __future__ import annotations

import ibis.expr.operations as ops
from ibis.expr.operations.udf import AggUDF, ScalarUDF

from gristmill.algebra.known import KNOWN
from gristmill.algebra.nodes import (
    AsofJoin,
    Formula,
    Reduce,
    RowRandom,
    RunTime,
    SqlAnalytic,
    SqlReduction,
    SqlValue,
)
from gristmill.errors import DefinitionError

CLOCK = "GM-P120"
RANDOM = "GM-P121"
ORDER = "GM-P122"
ENGINE = "GM-P123"
JOIN = "GM-P124"
BOUND = "GM-P125"
UNKNOWN = "GM-P126"

REFUSED: dict[type[ops.Node], tuple[str, str, str]] = {
    ops.TimestampNow: (
        CLOCK,
        "`now()` changes with every run",
        "use gm.run_time(), which the commit records",
    ),
    ops.DateNow: (CLOCK, "`today()` changes with every run", "use gm.run_time().date()"),
    ops.RandomScalar: (RANDOM, "`random()` changes with every run", "use gm.row_random(seed)"),
    ops.RandomUUID: (
        RANDOM,
        "`uuid()` changes with every run",
        "use gm.hash(...) of the columns that name a row",
    ),
    ops.Sample: (
        RANDOM,
        "`sample()` depends on the layout of files",
        "use filter(gm.row_random(seed) < fraction)",
    ),
    ops.Hash: (ENGINE, "the engine's `hash()` changes with its version", "use gm.hash(...)"),
    ops.HashBytes: (ENGINE, "`hashbytes()` is not on our engine", "use gm.hash(...) or hexdigest('md5')"),
    ops.Arbitrary: (
        ORDER,
        "`arbitrary()` depends on the order of rows",
        "use min(), max() or first(order_by=...)",
    ),
    ops.ApproxMedian: (ORDER, "`approx_median()` depends on the order of rows", "use median()"),
    ops.ApproxQuantile: (ORDER, "`approx_quantile()` depends on the order of rows", "use quantile()"),
    ops.ApproxMultiQuantile: (ORDER, "`approx_quantile()` depends on the order of rows", "use quantile()"),
    ops.ApproxCountDistinct: (ENGINE, "`approx_nunique()` depends on the engine's hash", "use nunique()"),
    ops.Kurtosis: (
        ORDER,
        "`kurtosis()` depends on the order of rows",
        "compute it from exact sums of powers",
    ),
    ops.RowID: (ORDER, "`rowid()` depends on the layout of files", "use a key, or gm.row_random(seed)"),
    ops.TypeOf: (
        ENGINE,
        "`typeof()` gives the engine's own names",
        "the type is fixed by the schema; leave it out",
    ),
    ops.ScalarParameter: (
        BOUND,
        "a deferred parameter has no value here",
        "pass the value as a Python argument",
    ),
    ops.DatabaseTable: (
        BOUND,
        "a table bound to another connection",
        "name it in `reads` and take the argument",
    ),
    ops.InMemoryTable: (
        BOUND,
        "rows written into a definition",
        "land them: project.source(..., gm.frame(rows)), and read that table",
    ),
    ops.SQLQueryResult: (BOUND, "SQL text inside an expression", "write it with project.sql(...)"),
    ops.SQLStringView: (BOUND, "SQL text inside an expression", "write it with project.sql(...)"),
}

_JOINS = {
    "asof": "use gm.asof_join(left, right, on=..., by=..., within=...): one output row per left row",
    "positional": "join on a key",
    "any_inner": "use gm.asof_join, or join with right.distinct(on=...) first",
    "any_left": "use gm.asof_join, or join with right.distinct(on=...) first",
}


_OWN = (Formula, Reduce, RunTime, RowRandom, AsofJoin, SqlValue, SqlReduction, SqlAnalytic)
_NEED_ORDER = {
    ops.First: "first",
    ops.Last: "last",
    ops.ArrayCollect: "collect",
    ops.GroupConcat: "group_concat",
}


def refuse_all(root: ops.Node) -> None:
    """Raise when anything in the tree has no place in a definition.

    Raises:
        DefinitionError: with what to write instead as the hint.
    """
    nodes = root.find(ops.Node)
    ordered_by_window = {node.func for node in nodes if isinstance(node, ops.WindowFunction)}
    for node in nodes:
        _refuse_kind(node)
        if node not in ordered_by_window:
            _refuse_unordered(node)


def _refuse_kind(node: ops.Node) -> None:
    """Raise for operations that are refused wherever they stand."""
    entry = REFUSED.get(type(node))
    if entry is not None:
        raise DefinitionError(entry[1], code=entry[0], hint=entry[2])
    name = type(node).__name__
    if isinstance(node, ScalarUDF | AggUDF):
        raise DefinitionError(
            f"the function `{getattr(node, '__func_name__', name)}` runs outside our semantics",
            code=ENGINE,
            hint="write a @project.step, which takes and gives Arrow, Polars or pandas rows",
        )
    if isinstance(node, ops.JoinLink) and node.how in _JOINS:
        raise DefinitionError(
            f"an Ibis `{node.how}` join may match differently on each run", code=JOIN, hint=_JOINS[node.how]
        )
    if name not in KNOWN and not isinstance(node, _OWN):
        raise DefinitionError(
            f"the operation `{name}` has no meaning here yet",
            code=UNKNOWN,
            hint="write it with other operations, or in a @project.step",
        )


def _refuse_unordered(node: ops.Node) -> None:
    """Raise for operations that need an order and have none."""
    name = _NEED_ORDER.get(type(node))
    if name is not None and not node.order_by:
        raise DefinitionError(
            f"`{name}()` depends on the order of rows",
            code=ORDER,
            hint=f"use {name}(order_by=...); for distinct(on=...) keep row_number() == 0 of a window",
        )
    if isinstance(node, ops.Limit) and not isinstance(node.parent, ops.Sort):
        raise DefinitionError(
            "`limit()` without an order depends on the layout of files",
            code=ORDER,
            hint="put order_by(...) right before limit(...)",
        )
