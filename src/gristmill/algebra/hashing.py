"""``gm.hash``: our own definition, the same on every engine and version; and what is built on it.

The hash of some values is the first eight bytes of the MD5 of their encodings, one after the other, read as a
little-endian number and shifted right by one bit: an integer from 0 to 2^63 - 1. The encoding of a value is
UTF-8 text; its first letter tells what it is, so that ``1``, ``"1"`` and ``true`` differ:

==========================  =====================================================================
null                        ``_;``
integers, decimals          ``n`` the number without trailing zeros ``;`` (``n1;`` for 1, 1.0 and int8 1
alike) floats                      ``f`` C's ``%.16e`` of the double ``;`` (``-0.0`` as ``0.0``; ``nan``,
``inf``, ``-inf``) booleans                    ``b0;`` or ``b1;``
text                        ``s`` length in bytes ``:`` the text ``;``
binary                      ``x`` upper-case hexadecimal ``;``
date                        ``d`` days since 1970-01-01 ``;``
timestamps, zone or not     ``t`` microseconds since 1970 UTC ``;``
time of day                 ``c`` microseconds since midnight ``;``
uuid                        ``u`` lower-case text with dashes ``;``
==========================  =====================================================================

Equal numbers hash equal whatever their width; an integer and a float never do. MD5 serves as a mixer here,
not as protection. Lists, structs, maps, JSON and intervals have no hash: name their parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.nodes import Formula, RowRandom
from gristmill.errors import DefinitionError

_CODE = "GM-P128"
_RANGE = 2**63


def hash(*columns: ibis.Value) -> ibis.Value:
    """Return a stable integer from 0 to 2^63 - 1 for the values, as this module's first lines define it.

    Raises:
        DefinitionError: no column is given, or one has a type without a hash.

    >>> t = ibis.table({"id": "int64", "name": "string"}, name="raw.t")
    >>> t.mutate(h=hash(t.id, t.name)).schema()["h"]
    Int64(nullable=True)
    """
    return _hash(columns).to_expr()


def split(
    table: ibis.Table,
    by: str | Sequence[str],
    parts: Mapping[str, float],
    *,
    seed: int = 0,
    name: str = "split",
) -> ibis.Table:
    """Return the table with a text column that assigns each row to a part, by the hash of its key.

    Rows with the same key always fall into the same part, whatever else is in the table, and adding rows
    moves none. The shares hold on average.

    Args:
        by: the columns that name what must not be torn apart, such as a customer.
        parts: the share of each part; they add up to 1.
        seed: another seed gives another, independent split.
        name: the new column.

    Raises:
        DefinitionError: a column is missing or the shares do not add up to 1.

    >>> t = ibis.table({"user": "string", "x": "float64"}, name="raw.t")
    >>> split(t, "user", {"train": 0.8, "test": 0.2}).columns
    ('user', 'x', 'split')
    """
    shares: list[Fraction] = [Fraction(str(share)) for share in parts.values()]
    if not shares or min(shares) < 0 or abs(sum(shares, Fraction(0)) - 1) > Fraction(1, 10**9):
        raise DefinitionError("split: the shares must add up to 1", code=_CODE, hint='{"train": 0.8, "test": 0.2}')
    if name in table.columns:
        raise DefinitionError(f"split: there is a column `{name}` already", code=_CODE, hint="pass name=")
    keys = [table[column] for column in ([by] if isinstance(by, str) else by)]
    mixed = hash(ibis.literal(seed, "int64"), *keys)
    labels, bound = list(parts), Fraction(0)
    branches = []
    for label, share in zip(labels[:-1], shares[:-1], strict=True):
        bound += share
        branches.append((mixed < ibis.literal(min(int(bound * _RANGE), _RANGE - 1), "int64"), ibis.literal(label)))
    last = ibis.literal(labels[-1])
    return table.mutate(**{name: ibis.cases(*branches, else_=last) if branches else last})


def row_random(seed: int = 0, *keys: ibis.Value) -> ibis.Value:
    """Return a number in [0, 1) that depends on the seed and the row only: the same on every run.

    Without keys the row is named by the store's row id, which an input has and a join or an aggregate has
    not; pass the key columns there.
    """
    return RowRandom(seed=seed, keys=tuple(key.op() for key in keys)).to_expr()


def hash_node(values: Sequence[ops.Value]) -> Formula:
    """Return the operation that hashes some values."""
    if not values:
        raise DefinitionError("hash: no column is given", code=_CODE, hint="gm.hash(t.a, t.b)")
    return Formula(rule="hash", args_=(_joined([_encode(v) for v in values]),), type_=dt.int64)


def _hash(columns: Sequence[ibis.Value]) -> Formula:
    return hash_node([column.op() for column in columns])


def _joined(texts: Sequence[ops.Value]) -> ops.Value:
    return texts[0] if len(texts) == 1 else ops.StringConcat(tuple(texts))


def _encode(value: ops.Value) -> Formula:
    rule = _encoding(value.dtype)
    if rule is None:
        raise DefinitionError(f"hash: {value.dtype} has no hash", code=_CODE, hint="hash its parts")
    return Formula(rule=f"hash_{rule}", args_=(value,), type_=dt.string)


def _encoding(dtype: dt.DataType) -> str | None:
    kinds: list[tuple[type[dt.DataType], str]] = [
        (dt.Boolean, "boolean"),
        (dt.Integer, "integer"),
        (dt.Decimal, "decimal"),
        (dt.Floating, "float"),
        (dt.String, "text"),
        (dt.Binary, "binary"),
        (dt.Timestamp, "timestamp"),
        (dt.Date, "date"),
        (dt.Time, "time"),
        (dt.UUID, "uuid"),
        (dt.Null, "null"),
    ]
    return next((rule for kind, rule in kinds if isinstance(dtype, kind)), None)
