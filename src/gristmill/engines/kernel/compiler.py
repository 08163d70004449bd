"""From normalised Ibis nodes to DuckDB SQL: Ibis's own compiler, plus our operations.

This is the one file that leans on Ibis's compiler classes, which are not a public promise of Ibis; the
supported range is pinned and ``tests/engines`` exercises every operation of the semantics table through it.
"""

from __future__ import annotations

from functools import lru_cache

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot as sg
import sqlglot.expressions as sge
from ibis.backends.sql.compilers.duckdb import DuckDBCompiler
from ibis.common.exceptions import IbisError

from gristmill.algebra.delta.formulas import FORMULAS as OF_DELTAS
from gristmill.algebra.inputs import literals
from gristmill.algebra.nodes import AsofJoin, Formula, Reduce, RunTime, SqlAnalytic, SqlReduction, SqlValue
from gristmill.algebra.refusals import UNKNOWN
from gristmill.algebra.semantics import FORMULAS
from gristmill.engines.kernel.asof import asof_select
from gristmill.engines.kernel.fill import fill_text
from gristmill.errors import DefinitionError, UsageError

_TEMPLATES = FORMULAS | OF_DELTAS
_ATOMS = (sge.Column, sge.Literal, sge.Cast, sge.Var, sge.Null, sge.Boolean, sge.Func, sge.Paren, sge.Window)


class KernelCompiler(DuckDBCompiler):  # type: ignore[misc]
    """Ibis's DuckDB compiler with the operations of ``gristmill.algebra.nodes``."""

    __slots__ = ("run_time_us",)

    def __init__(self, run_time_us: int | None = None) -> None:
        super().__init__()
        self.run_time_us = run_time_us

    def visit_Formula(  # noqa: N802
        self,
        op: Formula,
        *,
        rule: str,
        args_: tuple[sge.Expression, ...],
        type_: dt.DataType,
        texts: tuple[str, ...],
    ) -> sge.Expression:
        """Fill a template of the semantics table."""
        return sge.Var(this=fill_text(_TEMPLATES[rule], [_text(arg) for arg in args_], texts))

    def visit_Reduce(  # noqa: N802
        self,
        op: Reduce,
        *,
        function: str,
        arg: sge.Expression,
        type_: dt.DataType,
        where: sge.Expression | None,
    ) -> sge.Expression:
        """Write a plain aggregate, filtered where it has a condition."""
        call: sge.Expression = sge.Anonymous(this=function, expressions=[arg])
        if where is None:
            return call
        return sge.Filter(this=call, expression=sge.Where(this=where))

    def visit_SqlValue(  # noqa: N802
        self, op: SqlValue, *, parts: tuple[str, ...], args_: tuple[sge.Expression, ...], type_: dt.DataType
    ) -> sge.Expression:
        """Put the arguments between the pieces of text."""
        return sge.Var(this=f"({_between(parts, args_)})")

    def visit_SqlReduction(  # noqa: N802
        self,
        op: SqlReduction,
        *,
        parts: tuple[str, ...],
        args_: tuple[sge.Expression, ...],
        type_: dt.DataType,
        where: sge.Expression | None,
    ) -> sge.Expression:
        """Put the arguments into the call, filtered where it has a condition."""
        call = sge.Var(this=_between(parts, args_))
        return call if where is None else sge.Filter(this=call, expression=sge.Where(this=where))

    def visit_SqlAnalytic(  # noqa: N802
        self, op: SqlAnalytic, *, parts: tuple[str, ...], args_: tuple[sge.Expression, ...], **_: object
    ) -> sge.Expression:
        """Put the arguments into the call."""
        return sge.Var(this=_between(parts, args_))

    def visit_RunTime(self, op: RunTime) -> sge.Expression:  # noqa: N802
        """Write the run's instant as a literal."""
        if self.run_time_us is None:
            raise UsageError("gm.run_time() has a value only inside a run", hint="pass run_time_us=")
        return sge.Var(this=f"make_timestamptz({self.run_time_us})")

    def visit_AsofJoin(self, op: AsofJoin, **parts: object) -> sge.Expression:  # noqa: N802
        """Write the as-of join: right rows made unique per moment, then one match per left row."""
        text = asof_select(op, _source(parts["left"]), _source(parts["right"]))
        return sg.parse_one(text, dialect="duckdb")

    def visit_Divide(self, op: ops.Divide, *, left: sge.Expression, right: sge.Expression) -> sge.Expression:  # noqa: N802
        """Write a division in doubles; decimals and floats of 32 bits are widened first."""
        sides = [
            value if node.dtype.is_float64() or node.dtype.is_integer() else self.cast(value, dt.float64)
            for value, node in ((left, op.left), (right, op.right))
        ]
        return self.binop(sge.Div, *sides)


def _between(parts: tuple[str, ...], args: tuple[sge.Expression, ...]) -> str:
    """Return pieces of text with arguments between them."""
    return parts[0] + "".join(_text(arg) + part for arg, part in zip(args, parts[1:], strict=True))


def _text(arg: sge.Expression) -> str:
    text = str(arg.sql(dialect="duckdb"))
    return text if isinstance(arg, _ATOMS) and not isinstance(arg, sge.Connector) else f"({text})"


def _source(relation: object) -> str:
    """Return a compiled relation as something that may stand after FROM."""
    node = relation
    assert isinstance(node, sge.Expression)
    if isinstance(node, sge.Subquery):
        return f"({node.this.sql(dialect='duckdb')})"
    if isinstance(node, sge.Alias):
        node = node.this
    if isinstance(node, sge.Table):
        bare = node.copy()
        bare.set("alias", None)
        return str(bare.sql(dialect="duckdb"))
    return f"({node.sql(dialect='duckdb')})"


def compile_sql(expr: ibis.Table, *, run_time_us: int | None = None) -> str:
    """Return one DuckDB SELECT for a normalised expression; input tables are quoted identifiers."""
    return _compiled(expr.op(), literals(expr.op()), run_time_us)


@lru_cache(maxsize=1024)
def _compiled(op: ops.Node, exactly: tuple[str, ...], run_time_us: int | None) -> str:
    try:
        tree = KernelCompiler(run_time_us).to_sqlglot(op.to_expr())
    except IbisError as error:
        raise DefinitionError(f"this has no form on our engine: {error}", code=UNKNOWN) from error
    return str(tree.sql(dialect="duckdb"))
