"""The operations that we add to Ibis: what the pass in ``rewrite.py`` leaves behind, and what users call.

All of them are ordinary frozen Ibis nodes, so that fingerprints, lineage and deltas walk them like any other.
"""

from __future__ import annotations

from typing import Literal

import ibis.expr.datashape as ds
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import ibis.expr.rules as rlz
from ibis.common.annotations import attribute
from ibis.common.collections import FrozenOrderedDict
from ibis.common.typing import VarTuple
from ibis.expr.schema import Schema


class Formula(ops.Value):  # type: ignore[misc]
    """A value given by one SQL template of the semantics table, filled with arguments.

    Args:
        rule: name of the template in ``gristmill.algebra.semantics.FORMULAS``.
        args_: what stands for ``{a}``, ``{b}``, ... in it.
        texts: literal words for ``{t0}``, ``{t1}``, ...: type names, scales; never user data.
        type_: the type of the value, exactly as DuckDB gives it.
    """

    rule: str
    args_: VarTuple[ops.Value]
    type_: dt.DataType
    texts: VarTuple[str] = ()

    @attribute  # type: ignore[untyped-decorator]
    def dtype(self) -> dt.DataType:
        """The declared type."""
        return self.type_

    @attribute  # type: ignore[untyped-decorator]
    def shape(self) -> ds.DataShape:
        """Columnar as soon as one argument is."""
        return rlz.highest_precedence_shape(self.args_) if self.args_ else ds.scalar


class Reduce(ops.Reduction):  # type: ignore[misc]
    """One plain DuckDB aggregate whose result does not depend on the order of rows.

    Args:
        function: DuckDB's name of the aggregate.
        arg: what is aggregated.
        type_: the type of the result, exactly as DuckDB gives it.
        where: rows to take; all where it is None.
    """

    function: str
    arg: ops.Value
    type_: dt.DataType
    where: ops.Value | None = None

    @attribute  # type: ignore[untyped-decorator]
    def dtype(self) -> dt.DataType:
        """The declared type."""
        return self.type_


class RunTime(ops.Value):  # type: ignore[misc]
    """The instant at which the run began: recorded with the commit, the same for every row and retry."""

    dtype = dt.Timestamp(timezone="UTC", scale=6)
    shape = ds.scalar


class RowRandom(ops.Value):  # type: ignore[misc]
    """A number in [0, 1) that depends on the seed and the row's identity only.

    Args:
        seed: which of the many sequences.
        keys: columns that name the row; without any, the store's row id of the one input.
    """

    seed: int
    keys: VarTuple[ops.Value] = ()

    dtype = dt.float64
    shape = ds.columnar


class AsofJoin(ops.Relation):  # type: ignore[misc]
    """Each left row with the one right row that was last known (or next, or nearest) at its moment.

    Args:
        left: rows that are all kept, once each.
        right: rows to look up.
        on: the column of the moment, left and right name.
        by: pairs of columns that must be equal.
        direction: ``backward``, ``forward`` or ``nearest``.
        within: greatest distance, in units of ``on`` (microseconds for timestamps); None for any.
        ties: right columns, in order, that settle which of several rows of one moment counts: the greatest.
        picks: right columns to add, as (name in the result, name in ``right``).
    """

    left: ops.Relation
    right: ops.Relation
    on: VarTuple[str]
    by: VarTuple[VarTuple[str]]
    direction: Literal["backward", "forward", "nearest"]
    within: int | float | None
    ties: VarTuple[str]
    picks: VarTuple[VarTuple[str]]

    values = FrozenOrderedDict()

    @attribute  # type: ignore[untyped-decorator]
    def schema(self) -> Schema:
        """The left columns as they are, then the picked right columns, nullable."""
        fields = dict(self.left.schema.items())
        for name, source in self.picks:
            fields[name] = self.right.schema[source].copy(nullable=True)
        return Schema(fields)


def _filled_shape(args: VarTuple[ops.Value]) -> ds.DataShape:
    return rlz.highest_precedence_shape(args) if args else ds.scalar


class SqlValue(ops.Value):  # type: ignore[misc]
    """A value written in the engine's SQL, which depends on its arguments only.

    Args:
        parts: the text between the arguments, one piece more than there are arguments.
        args_: what stands between the pieces.
        type_: the type of the value, exactly as DuckDB gives it.
    """

    parts: VarTuple[str]
    args_: VarTuple[ops.Value]
    type_: dt.DataType

    @attribute  # type: ignore[untyped-decorator]
    def dtype(self) -> dt.DataType:
        """The declared type."""
        return self.type_

    @attribute  # type: ignore[untyped-decorator]
    def shape(self) -> ds.DataShape:
        """Columnar as soon as one argument is."""
        return _filled_shape(self.args_)


class SqlReduction(ops.Reduction):  # type: ignore[misc]
    """An aggregate written in the engine's SQL whose result does not depend on the order of rows.

    Args:
        parts, args_, type_: as of `SqlValue`.
        where: rows to take; all where it is None.
    """

    parts: VarTuple[str]
    args_: VarTuple[ops.Value]
    type_: dt.DataType
    where: ops.Value | None = None

    @attribute  # type: ignore[untyped-decorator]
    def dtype(self) -> dt.DataType:
        """The declared type."""
        return self.type_


class SqlAnalytic(ops.Analytic):  # type: ignore[misc]
    """A function that stands in a window only, written in the engine's SQL.

    Args:
        parts, args_, type_: as of `SqlValue`.
        positional: whether rows that are equal in the window's order may give different values.
    """

    parts: VarTuple[str]
    args_: VarTuple[ops.Value]
    type_: dt.DataType
    positional: bool

    @attribute  # type: ignore[untyped-decorator]
    def dtype(self) -> dt.DataType:
        """The declared type."""
        return self.type_

    @attribute  # type: ignore[untyped-decorator]
    def shape(self) -> ds.DataShape:
        """One value per row."""
        return ds.columnar
