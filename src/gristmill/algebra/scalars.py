"""How single values are rewritten: arithmetic, casts, rounding, text and time."""

from __future__ import annotations

import re
from collections.abc import Callable

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.nodes import Formula
from gristmill.algebra.sums import HUGE, as_double, as_int64
from gristmill.errors import DefinitionError

_REGEX = "GM-P129"
_NOT_RE2 = re.compile(r"\(\?(?:[=!>]|<[=!]|P=)|\\[1-9]|\\k<")


def scalar(node: ops.Value) -> ops.Value:
    """Return the node with our meaning; the same node where it has it already."""
    change = _CHANGES.get(type(node))
    return node if change is None else change(node)


def _integral(dtype: dt.DataType) -> bool:
    return bool(dtype.is_integer() or dtype.is_boolean())


def _arithmetic(node: ops.NumericBinary) -> ops.Value:
    """Widen integer operands to 64 bits; give decimals the type that the engine gives them."""
    left, right = node.left, node.right
    if _integral(left.dtype) and _integral(right.dtype):
        return node.copy(left=_wide(left, right), right=_wide(right, left))
    if (left.dtype.is_decimal() or right.dtype.is_decimal()) and not (
        left.dtype.is_floating() or right.dtype.is_floating()
    ):
        return _decimal_arithmetic(node)
    return node


def _wide(value: ops.Value, other: ops.Value) -> ops.Value:
    """Return a value in 64 bits; a literal beside a 64-bit column takes its width by itself."""
    if isinstance(value, ops.Literal) and value.dtype.is_integer():
        beside = not isinstance(other, ops.Literal) and other.dtype.copy(nullable=True) == dt.int64
        return ops.Literal(value.value, dt.int64) if beside else ops.Cast(value, dt.int64)
    return as_int64(value)


def _decimal(dtype: dt.DataType) -> tuple[int, int]:
    if dtype.is_decimal():
        return dtype.precision or 38, dtype.scale or 0
    return 19, 0


def _decimal_arithmetic(node: ops.NumericBinary) -> ops.Value:
    (p, s), (q, t) = _decimal(node.left.dtype), _decimal(node.right.dtype)
    if isinstance(node, ops.Multiply):
        precision, scale = p + q, s + t
    else:
        precision, scale = max(p - s, q - t) + max(s, t) + 1, max(s, t)
    if scale > 38:
        raise DefinitionError("the product of these decimals has more than 38 places", hint="round one of them")
    sides = tuple(v if v.dtype.is_decimal() else as_int64(v) for v in (node.left, node.right))
    sign = {ops.Add: "+", ops.Subtract: "-", ops.Multiply: "*"}[type(node)]
    dtype = dt.Decimal(min(precision, 38), scale)
    return Formula(rule="decimal_arithmetic", args_=sides, texts=(sign, sql_type(dtype)), type_=dtype)


def sql_type(dtype: dt.DataType) -> str:
    """Return DuckDB's name of a type."""
    from ibis.backends.sql.datatypes import DuckDBType

    return str(DuckDBType.from_ibis(dtype).sql(dialect="duckdb"))


def _floor_divide(node: ops.FloorDivide) -> ops.Value:
    left, right = node.left, node.right
    if _integral(left.dtype) and _integral(right.dtype):
        args = (_wide(left, right), _wide(right, left))
        return Formula(rule="integer_floor_divide", args_=args, type_=dt.int64)
    if (left.dtype.is_decimal() and not right.dtype.is_floating()) or right.dtype.is_decimal():
        return _decimal_floor_divide(node)
    return Formula(rule="float_floor_divide", args_=(as_double(left), as_double(right)), type_=dt.int64)


def _decimal_floor_divide(node: ops.FloorDivide) -> ops.Value:
    """Divide decimals as integers of one scale."""
    if node.left.dtype.is_floating() or node.right.dtype.is_floating():
        args = (as_double(node.left), as_double(node.right))
        return Formula(rule="float_floor_divide", args_=args, type_=dt.int64)
    sides = [_decimal(v.dtype) for v in (node.left, node.right)]
    scale = max(s for _, s in sides)
    if max(p - s for p, s in sides) + 2 * scale > 38:
        raise DefinitionError("`//` on these decimals needs more than 38 digits", hint="cast to fewer places first")
    texts = (str(10**scale), sql_type(dt.Decimal(38, scale)))
    steps = tuple(Formula(rule="decimal_steps", args_=(v,), texts=texts, type_=HUGE) for v in (node.left, node.right))
    quotient = Formula(rule="integer_floor_divide", args_=steps, type_=HUGE)
    return Formula(rule="integer_sum", args_=(quotient,), texts=("BIGINT",), type_=dt.int64)


def _modulo(node: ops.Modulus) -> ops.Value:
    left, right = node.left, node.right
    if _integral(left.dtype) and _integral(right.dtype):
        args = (_wide(left, right), _wide(right, left))
        return Formula(rule="integer_modulo", args_=args, type_=dt.int64)
    if left.dtype.is_floating() or right.dtype.is_floating():
        return Formula(rule="float_modulo", args_=(as_double(left), as_double(right)), type_=dt.float64)
    (p, s), (q, t) = _decimal(left.dtype), _decimal(right.dtype)
    dtype = dt.Decimal(min(38, max(p - s, q - t) + max(s, t)), max(s, t))
    sides = tuple(v if v.dtype.is_decimal() else as_int64(v) for v in (left, right))
    return Formula(rule="decimal_modulo", args_=sides, texts=(sql_type(dtype),), type_=dtype)


def _negate(node: ops.Negate) -> ops.Value:
    return node.copy(arg=as_int64(node.arg)) if node.arg.dtype.is_integer() else node


def _abs(node: ops.Abs) -> ops.Value:
    return node.copy(arg=as_int64(node.arg)) if _integral(node.arg.dtype) else node


def _round(node: ops.Round) -> ops.Value:
    if node.arg.dtype.is_decimal():
        return node
    if node.dtype.is_integer() and node.arg.dtype.is_integer():
        return as_int64(node.arg)
    if node.dtype.is_integer():
        return Formula(rule="round_to_integer", args_=(as_double(node.arg),), type_=dt.int64)
    return Formula(rule="round_float", args_=(as_double(node.arg), node.digits), type_=dt.float64)


def _cast(node: ops.Cast) -> ops.Value:
    return _convert(node, node.arg, node.to, suffix="")


def _try_cast(node: ops.TryCast) -> ops.Value:
    return _convert(node, node.arg, node.to, suffix="_try")


def _convert(node: ops.Value, arg: ops.Value, to: dt.DataType, *, suffix: str) -> ops.Value:
    source = arg.dtype
    if source.copy(nullable=True) == to.copy(nullable=True):
        return arg
    word = sql_type(to)
    if to.is_integer() and (source.is_floating() or source.is_decimal()):
        return Formula(rule=f"float_to_integer{suffix}", args_=(arg,), texts=(word,), type_=to)
    if source.is_string() and to.is_integer():
        return Formula(rule=f"text_to_integer{suffix}", args_=(arg,), texts=(word,), type_=to)
    if source.is_string() and (to.is_floating() or to.is_decimal()):
        return Formula(rule=f"text_to_number{suffix}", args_=(arg,), texts=(word,), type_=to)
    if source.is_string() and to.is_timestamp() and not to.timezone:
        return Formula(rule=f"text_to_timestamp{suffix}", args_=(arg,), type_=to)
    if to.is_timestamp() and not to.timezone and source.is_integer():
        return Formula(rule="integer_to_timestamp", args_=(as_int64(arg),), type_=to)
    if to.is_timestamp() and not to.timezone and source.is_floating():
        return Formula(rule="float_to_timestamp", args_=(as_double(arg),), type_=to)
    if source.is_timestamp() and to.is_integer():
        return Formula(rule="epoch_seconds", args_=(arg,), type_=dt.int64)
    return node


def _reverse(node: ops.Reverse) -> ops.Value:
    return Formula(rule="reverse", args_=(node.arg,), type_=dt.string)


def _regex(node: ops.Value) -> ops.Value:
    """Refuse a literal pattern that RE2 would read differently or not at all."""
    pattern = node.pattern
    if isinstance(pattern, ops.Literal) and isinstance(pattern.value, str):
        found = _NOT_RE2.search(pattern.value.replace("\\\\", ""))
        if found is not None:
            raise DefinitionError(
                f"the pattern {pattern.value!r} uses `{found[0]}`, which RE2 does not have",
                code=_REGEX,
                hint="look-around and back-references are not there; use several conditions",
            )
    return node


def _epoch_seconds(node: ops.ExtractEpochSeconds) -> ops.Value:
    arg = node.arg if node.arg.dtype.is_timestamp() else ops.Cast(node.arg, dt.timestamp)
    return Formula(rule="epoch_seconds", args_=(arg,), type_=dt.int64)


def _as_date(node: ops.Value) -> ops.Value:
    return Formula(rule="date_result", args_=(node,), type_=dt.date)


def _date_difference(node: ops.DateDiff) -> ops.Value:
    return Formula(rule="date_difference", args_=(node.left, node.right), type_=node.dtype)


_CHANGES: dict[type, Callable[..., ops.Value]] = {
    ops.Add: _arithmetic,
    ops.Subtract: _arithmetic,
    ops.Multiply: _arithmetic,
    ops.FloorDivide: _floor_divide,
    ops.Modulus: _modulo,
    ops.Negate: _negate,
    ops.Abs: _abs,
    ops.Round: _round,
    ops.Cast: _cast,
    ops.TryCast: _try_cast,
    ops.Reverse: _reverse,
    ops.RegexSearch: _regex,
    ops.RegexExtract: _regex,
    ops.RegexReplace: _regex,
    ops.RegexSplit: _regex,
    ops.ExtractEpochSeconds: _epoch_seconds,
    ops.DateAdd: _as_date,
    ops.DateSub: _as_date,
    ops.DateTruncate: _as_date,
    ops.DateDiff: _date_difference,
}
