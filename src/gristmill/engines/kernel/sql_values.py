"""Values of a SQL definition as Ibis values over the columns that they read.

A condition is taken apart as far as delta rules look into it (AND, equality, IN over a subquery); aggregates and
windows become what they are; any other part stays the text that it is, with its columns as arguments, so that the
engine computes what it would have computed. What could not follow changes exactly raises `InFull` with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge

from gristmill.algebra.nodes import SqlValue

_ARGUMENT = re.compile(r"\bgm_arg_(\d+)_\b")
_FUNCTIONS_OF_TABLES = (sge.Unnest, sge.Explode, sge.Columns, sge.Star)

Types = Callable[[str, Sequence[dt.DataType]], dt.DataType]
"""Gives the type of a text, whose arguments stand in it as ``gm_arg_0_``, ``gm_arg_1_``, ..., of those types."""


class InFull(Exception):
    """A definition cannot follow changes; the message says why."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What the names in one part of a SELECT stand for.

    Args:
        relation: whose rows the values are of; None in the condition of a join.
        columns: by (table, column).
        known: expressions that are computed already, such as group keys and aggregates.
        windows: named windows.
        special: makes a value of an aggregate, a window or a subquery; None where it is another kind of node.
        types: gives the type of a text.
        rewritten: brings an expression under our semantics, as its text would be.
    """

    relation: ops.Relation | None
    columns: Mapping[tuple[str, str], ops.Value]
    special: Callable[[Scope, sge.Expression], ops.Value | None]
    types: Types
    rewritten: Callable[[sge.Expression], sge.Expression]
    known: Mapping[sge.Expression, ops.Value] = field(default_factory=dict)
    windows: Mapping[str, sge.Window] = field(default_factory=dict)


def conditions(scope: Scope, node: sge.Expression | None) -> list[ops.Value]:
    """Return the conditions that must all hold."""
    if node is None:
        return []
    node = node.unnest()
    if isinstance(node, sge.And):
        return conditions(scope, node.this) + conditions(scope, node.expression)
    made = value(scope, node)
    if not made.dtype.is_boolean():
        made = SqlValue(parts=("CAST(", " AS BOOLEAN)"), args_=(made,), type_=dt.boolean)
    return [made]


def value(scope: Scope, node: sge.Expression) -> ops.Value:
    """Return one value."""
    node = node.unnest()
    known = _known(scope, node)
    if known is not None:
        return known
    if isinstance(node, sge.EQ):
        left, right = value(scope, node.this), value(scope, node.expression)
        if _alike(left.dtype, right.dtype):
            return ops.Equals(left, right)
    return _text(scope, node)


def _alike(one: dt.DataType, other: dt.DataType) -> bool:
    """Whether two types compare as they are, without one being cast to the other."""
    return bool(one.copy(nullable=True) == other.copy(nullable=True))


def _known(scope: Scope, node: sge.Expression) -> ops.Value | None:
    if node in scope.known:
        return scope.known[node]
    made = scope.special(scope, node)
    if made is not None:
        return made
    if not isinstance(node, sge.Column):
        return None
    found = scope.columns.get((node.table, node.name))
    if found is None:
        raise InFull(f"what `{node.sql(dialect='duckdb')}` refers to is not plain")
    return found


def _text(scope: Scope, node: sge.Expression) -> SqlValue:
    """Return a node as the text that it is, with values as its arguments."""
    copy, arguments = _with_places(scope, node)
    text = scope.rewritten(copy).sql(dialect="duckdb")
    parts = split(text, arguments)
    kind = scope.types(text, kinds := [argument.dtype for argument in arguments])
    if "(" in text:
        _refuse_several_rows(scope, node, text, kinds)
    return SqlValue(parts=parts.texts, args_=parts.arguments, type_=kind)


def _refuse_several_rows(scope: Scope, node: sge.Expression, text: str, kinds: Sequence[dt.DataType]) -> None:
    """Raise InFull where a text is an aggregate or gives several rows: the engine allows neither in a filter.

    It knows calls that the parser does not.
    """
    try:
        scope.types(f"count(*) FILTER (WHERE ({text}) IS NULL)", kinds)
    except InFull as error:
        raise InFull(f"`{node.sql(dialect='duckdb')}` is not one value of one row") from error


def _with_places(scope: Scope, node: sge.Expression) -> tuple[sge.Expression, list[ops.Value]]:
    if _ARGUMENT.search(node.sql(dialect="duckdb")):
        raise InFull(f"`{node.sql(dialect='duckdb')}` has a word in it that stands for something else here")
    holder = sge.Paren(this=node.copy())
    arguments: list[ops.Value] = []

    def put(part: sge.Expression) -> None:
        made = _known(scope, part) if part is not holder.this else None
        if made is None:
            if isinstance(part, _FUNCTIONS_OF_TABLES):
                raise InFull(f"`{part.sql(dialect='duckdb')}` gives several values")
            for child in list(part.iter_expressions()):
                put(child)
            return
        if made not in arguments:
            arguments.append(made)
        place = sge.Var(this=f"gm_arg_{arguments.index(made)}_")
        place.type = part.type
        part.replace(place)

    if isinstance(holder.this, _FUNCTIONS_OF_TABLES):
        raise InFull(f"`{node.sql(dialect='duckdb')}` gives several values")
    put(holder.this)
    return holder.this, arguments


@dataclass(frozen=True, slots=True)
class Parts:
    """A text in pieces, and what stands between them."""

    texts: tuple[str, ...]
    arguments: tuple[ops.Value, ...]


def split(text: str, arguments: Sequence[ops.Value]) -> Parts:
    """Return a text in pieces, with an argument for each place; one may stand several times."""
    pieces = _ARGUMENT.split(text)
    return Parts(tuple(pieces[::2]), tuple(arguments[int(number)] for number in pieces[1::2]))


def call(scope: Scope, node: sge.Expression) -> tuple[Parts, dt.DataType]:
    """Return a function call in pieces, and its type."""
    copy, arguments = _with_places(scope, node)
    text = copy.sql(dialect="duckdb")
    return split(text, arguments), scope.types(text, [argument.dtype for argument in arguments])
