"""Conditions on rows that the store can both prune by and run: and, or, not, comparisons, in, is null.

Meaning is SQL's: a comparison with null is neither true nor false, and a row is kept where the whole is true.
NaN equals itself and is greater than every number.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    import pyarrow.compute as pc

Value: TypeAlias = "bool | int | float | str | bytes | Decimal | date | datetime | time"
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Quote: TypeAlias = Callable[[str], str]

_OPPOSITE: dict[Operator, Operator] = {"=": "!=", "!=": "=", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


class Range(msgspec.Struct, frozen=True):
    """What is known of one column's values in some rows.

    Args:
        lower: no value is below it; None if unknown.
        upper: no value is above it; None if unknown.
        nulls: how many are null; None if unknown.
        rows: how many rows.
    """

    lower: Value | None
    upper: Value | None
    nulls: int | None
    rows: int

    @property
    def all_null(self) -> bool:
        """Whether there is nothing but nulls."""
        return self.nulls is not None and self.nulls >= self.rows


class Always(msgspec.Struct, frozen=True, tag="always"):
    """True or false for every row."""

    value: bool = True


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """A column compared with a value."""

    column: str
    op: Operator
    value: Value


class In(msgspec.Struct, frozen=True, tag="in"):
    """A column equal to one of some values, none of them null; ``negated`` for *not in*.

    With no values it is false for every row, and negated true for every row, nulls too.
    """

    column: str
    values: tuple[Value, ...]
    negated: bool = False


class IsNull(msgspec.Struct, frozen=True, tag="is_null"):
    """A column that is null, or with ``negated`` one that is not."""

    column: str
    negated: bool = False


class And(msgspec.Struct, frozen=True, tag="and"):
    """All of them."""

    parts: tuple[Predicate, ...]


class Or(msgspec.Struct, frozen=True, tag="or"):
    """Any of them."""

    parts: tuple[Predicate, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """The opposite; unknown stays unknown."""

    part: Predicate


Predicate: TypeAlias = "Always | Compare | In | IsNull | And | Or | Not"


def columns(predicate: Predicate) -> frozenset[str]:
    """Return the names of the columns that it looks at.

    >>> sorted(columns(And((Compare("a", ">", 1), IsNull("b")))))
    ['a', 'b']
    """
    if isinstance(predicate, (Compare, In, IsNull)):
        return frozenset({predicate.column})
    if isinstance(predicate, (And, Or)):
        return frozenset().union(*(columns(part) for part in predicate.parts))
    if isinstance(predicate, Not):
        return columns(predicate.part)
    return frozenset()


def positive(predicate: Predicate, *, negate: bool = False) -> Predicate:
    """Return an equal predicate without `Not`, true on the same rows.

    >>> positive(Not(Or((Compare("a", ">", 1), IsNull("b")))))
    And(parts=(Compare(column='a', op='<=', value=1), IsNull(column='b', negated=True)))
    """
    if isinstance(predicate, Not):
        return positive(predicate.part, negate=not negate)
    if isinstance(predicate, (And, Or)):
        parts = tuple(positive(part, negate=negate) for part in predicate.parts)
        return And(parts) if isinstance(predicate, And) != negate else Or(parts)
    if not negate:
        return predicate
    if isinstance(predicate, Compare):
        return Compare(predicate.column, _OPPOSITE[predicate.op], predicate.value)
    if isinstance(predicate, In):
        return In(predicate.column, predicate.values, negated=not predicate.negated)
    if isinstance(predicate, IsNull):
        return IsNull(predicate.column, negated=not predicate.negated)
    return Always(not predicate.value)


def may_match(predicate: Predicate, stats: Mapping[str, Range]) -> bool:
    """Whether a row within these ranges could satisfy it; True wherever that is not known.

    >>> may_match(Compare("a", ">", 9), {"a": Range(1, 5, 0, 10)})
    False
    """
    return _may(positive(predicate), stats)


def _may(predicate: Predicate, stats: Mapping[str, Range]) -> bool:
    if isinstance(predicate, And):
        return all(_may(part, stats) for part in predicate.parts)
    if isinstance(predicate, Or):
        return any(_may(part, stats) for part in predicate.parts)
    if isinstance(predicate, Always):
        return predicate.value
    assert not isinstance(predicate, Not)
    if isinstance(predicate, In) and not predicate.values:
        return predicate.negated
    known = stats.get(predicate.column)
    if known is None:
        return True
    if isinstance(predicate, IsNull):
        return not known.all_null if predicate.negated else known.nulls != 0
    if known.all_null:
        return False
    if isinstance(predicate, In):
        return predicate.negated or any(_may_compare("=", value, known) for value in predicate.values)
    return _may_compare(predicate.op, predicate.value, known)


def _may_compare(op: Operator, value: Value, known: Range) -> bool:
    if isinstance(value, float) and value != value:
        return True
    below = _less(known.upper, value) if known.upper is not None else None
    above = _less(value, known.lower) if known.lower is not None else None
    if op == "=":
        return not (below or above)
    if op in (">", ">="):
        strict = known.upper is not None and op == ">" and _less(value, known.upper) is False
        return not (below or strict)
    if op in ("<", "<="):
        strict = known.lower is not None and op == "<" and _less(known.lower, value) is False
        return not (above or strict)
    constant = known.lower is not None and known.lower == known.upper == value
    return not (constant and not isinstance(value, str | bytes))


def _less(left: Value, right: Value) -> bool | None:
    """Whether left < right, or None where the two do not compare."""
    if isinstance(left, datetime) and type(right) is date:
        right = datetime.combine(right, time(), left.tzinfo)
    if type(left) is date and isinstance(right, datetime):
        left = datetime.combine(left, time(), right.tzinfo)
    if isinstance(left, datetime) and isinstance(right, datetime) and (left.tzinfo is None) != (right.tzinfo is None):
        return None
    try:
        return bool(left < right)  # type: ignore[operator]
    except TypeError:
        return None


def to_sql(predicate: Predicate, quote: Quote) -> str:
    """Return it as DuckDB SQL; ``quote`` writes a column's name.

    >>> to_sql(And((Compare("a", ">", 1), In("b", ("x", "it's")))), lambda name: f'"{name}"')
    '(("a" > 1) AND ("b" IN (\\'x\\', \\'it\\'\\'s\\')))'
    """
    if isinstance(predicate, Always):
        return "true" if predicate.value else "false"
    if isinstance(predicate, Compare):
        return f"({quote(predicate.column)} {predicate.op} {literal(predicate.value)})"
    if isinstance(predicate, In):
        if not predicate.values:
            return "true" if predicate.negated else "false"
        values = ", ".join(literal(value) for value in predicate.values)
        return f"({quote(predicate.column)} {'NOT ' if predicate.negated else ''}IN ({values}))"
    if isinstance(predicate, IsNull):
        return f"({quote(predicate.column)} IS {'NOT ' if predicate.negated else ''}NULL)"
    if isinstance(predicate, Not):
        return f"(NOT {to_sql(predicate.part, quote)})"
    if not predicate.parts:
        return "true" if isinstance(predicate, And) else "false"
    word = " AND " if isinstance(predicate, And) else " OR "
    return f"({word.join(to_sql(part, quote) for part in predicate.parts)})"


def literal(value: Value) -> str:
    """Return a value as a DuckDB SQL literal.

    >>> literal(date(2026, 1, 2)), literal(float("inf")), literal(b"\\x00a")
    ("DATE '2026-01-02'", "'inf'::DOUBLE", "'\\\\x00\\\\x61'::BLOB")
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"'{value!r}'::DOUBLE"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bytes):
        return "'" + "".join(f"\\x{byte:02x}" for byte in value) + "'::BLOB"
    if isinstance(value, datetime):
        kind = "TIMESTAMPTZ" if value.tzinfo else "TIMESTAMP"
        return f"{kind} '{value.isoformat(sep=' ')}'"
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return f"TIME '{value.isoformat()}'"


def _text(value: str) -> str:
    pieces = ["'" + piece.replace("'", "''") + "'" for piece in value.split("\0")]
    return pieces[0] if len(pieces) == 1 else "(" + " || chr(0) || ".join(pieces) + ")"


def parse_where(text: str, columns: Collection[str]) -> Predicate:
    """Return the predicate that a condition in SQL means; see `gristmill.model.where.parse_where`."""
    from gristmill.model import where

    return where.parse_where(text, columns)


def from_pyarrow(expression: pc.Expression, *, binary: Collection[str] = ()) -> Predicate:
    """Return the predicate that a pyarrow expression means; see `gristmill.model.where.from_pyarrow`."""
    from gristmill.model import where

    return where.from_pyarrow(expression, binary=binary)
