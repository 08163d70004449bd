"""Typed ways to write a rule; ``gm.rules.between("age", low=0, high=150)``.

Every function returns a frozen ``Rule`` and takes the same options: ``on_fail`` (``block``, ``quarantine`` for row
rules, ``warn``), ``where`` (a SQL condition that limits it), ``tolerance`` (a share below 1, or a number of rows),
``name``, ``owner``, ``because``. A null never breaks a rule about values: ``not_null`` is its own rule. NaN counts
as null.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Sequence
from typing import Literal

from gristmill.contracts.patterns import FORMATS, translate
from gristmill.contracts.rule_options import Options, Unpack, bounds, made, seconds
from gristmill.errors import DefinitionError, did_you_mean
from gristmill.model.rules import Rule, Scalar

Columns = str | Sequence[str]
Bound = float | str | datetime.date | datetime.time | decimal.Decimal


def _names(columns: Columns) -> list[str]:
    return [columns] if isinstance(columns, str) else list(columns)


def not_null(*columns: str, **options: Unpack[Options]) -> Rule:
    """Each of the columns has a value; NaN counts as missing."""
    return made("not_null", columns, {}, options, dimension="completeness")


def not_missing(column: str, values: Sequence[Scalar], *, nulls: bool = True, **options: Unpack[Options]) -> Rule:
    """The value is none of the words that stand for nothing, such as ``""`` or ``"N/A"``, and is not null.

    Args:
        column: the column.
        values: what stands for nothing; a null among them is the same as ``nulls``.
        nulls: whether a null breaks the rule too.
        options: what every rule takes.
    """
    listed: list[Scalar] = [value for value in values if value is not None]
    nulls = nulls or len(listed) < len(values)
    return made("not_missing", [column], {"values": listed, "nulls": nulls}, options, dimension="completeness")


def null_together(*columns: str, **options: Unpack[Options]) -> Rule:
    """Of these columns a row has either all or none."""
    return made("null_together", columns, {}, options, dimension="completeness")


def between(
    column: str,
    *,
    low: Bound | None = None,
    high: Bound | None = None,
    exclusive: bool = False,
    above: Bound | None = None,
    below: Bound | None = None,
    **options: Unpack[Options],
) -> Rule:
    """Values lie between ``low`` and ``high``, both included unless ``exclusive``; or strictly ``above``, ``below``.

    Times without a zone are UTC. Text is compared with numbers as a number; what is no number breaks the rule.

    >>> between("wind_speed", low=0, high=200, on_fail="quarantine").code
    'between:wind_speed'
    """
    if exclusive:
        low, high, above, below = None, None, low, high
    parameters: dict[str, Bound | None] = {"low": low, "high": high, "above": above, "below": below}
    if all(value is None for value in parameters.values()):
        raise DefinitionError(f"`between` on `{column}` has neither low nor high", code="GM-C011")
    return made("between", [column], {**parameters}, options, dimension="consistency")


def one_of(column: str, values: Sequence[Scalar], **options: Unpack[Options]) -> Rule:
    """Values are among the given ones; nulls in the list are ignored."""
    kept: list[Scalar] = [value for value in values if value is not None]
    return made("one_of", [column], {"values": kept}, options, dimension="consistency")


def not_in(column: str, values: Sequence[Scalar], **options: Unpack[Options]) -> Rule:
    """Values are none of the given ones; nulls in the list are ignored."""
    kept: list[Scalar] = [value for value in values if value is not None]
    return made("not_in", [column], {"values": kept}, options, dimension="consistency")


def matches(column: str, pattern: str, **options: Unpack[Options]) -> Rule:
    r"""The pattern is found in the text; anchor it with ``^`` and ``$`` to cover the whole.

    RE2 syntax, or ECMA-262 where it means the same. Raises DefinitionError for look-around and back-references.

    >>> matches("code", r"^\d{5}$").parameters["pattern"]
    '^\\d{5}$'
    """
    return made("matches", [column], {"pattern": translate(pattern)}, options, dimension="consistency")


def not_matches(column: str, pattern: str, **options: Unpack[Options]) -> Rule:
    """The pattern is found nowhere in the text; syntax as in ``matches``."""
    return made("not_matches", [column], {"pattern": translate(pattern)}, options, dimension="consistency")


def like(column: str, patterns: Columns, **options: Unpack[Options]) -> Rule:
    """The whole text fits one of the SQL patterns: ``%`` stands for any text, ``_`` for one character."""
    listed: list[Scalar] = [*_names(patterns)]
    return made("like", [column], {"values": listed}, options, dimension="consistency")


def format(column: str, form: str, **options: Unpack[Options]) -> Rule:
    """The text is an ``email``, ``uuid``, ``ipv4``, ``ipv6``, ``uri``, ``hostname``, ``date``, ``time``,
    ``date-time``, ``byte`` (base64), ``binary``, ``json`` or ``country`` (two letters).

    >>> format("mail", "email").code
    'format:mail'
    """
    if form not in FORMATS:
        raise DefinitionError(
            f"there is no format `{form}`",
            code="GM-C014",
            hint=did_you_mean(form, list(FORMATS)) or f"known: {', '.join(FORMATS)}",
        )
    return made("format", [column], {"format": form}, options, dimension="consistency")


def length(column: str, *, low: int | None = None, high: int | None = None, **options: Unpack[Options]) -> Rule:
    """Texts have between ``low`` and ``high`` code points, both included."""
    parameters = bounds("length", low=low, high=high)
    return made("length", [column], {**parameters}, options, dimension="consistency")


def items(
    column: str,
    *,
    low: int | None = None,
    high: int | None = None,
    unique: bool = False,
    **options: Unpack[Options],
) -> Rule:
    """Lists have between ``low`` and ``high`` items, both included; ``unique`` forbids the same item twice."""
    parameters = {"low": low, "high": high, "unique": unique or None}
    return made("items", [column], {**parameters}, options, dimension="consistency")


def castable(
    column: str,
    type: Literal["integer", "number", "boolean", "date", "time", "timestamp", "uuid", "json"],
    *,
    format: str | None = None,
    **options: Unpack[Options],
) -> Rule:
    """The text reads as a value of that type; ``format`` is a strptime pattern for dates and times."""
    return made("castable", [column], {"type": type, "format": format}, options, dimension="consistency")


def multiple_of(column: str, step: float, **options: Unpack[Options]) -> Rule:
    """Values are whole multiples of ``step``; for binary floats to within a billionth of the quotient."""
    if not step > 0:
        raise DefinitionError(f"a step of {step} has no multiples", code="GM-C011", hint="give a number above 0")
    return made("multiple_of", [column], {"step": step}, options, dimension="accuracy")


def decimals(column: str, high: int, **options: Unpack[Options]) -> Rule:
    """Values have at most ``high`` digits after the decimal point."""
    return made("decimals", [column], {"high": high}, options, dimension="accuracy")


def compare(
    left: str, operator: Literal["<", "<=", "=", "!=", ">=", ">"], right: str, **options: Unpack[Options]
) -> Rule:
    """Two columns of a row stand in this relation, where both have a value."""
    return made("compare", [left, right], {"operator": operator}, options, dimension="consistency")


def sum_equal(columns: Sequence[str], total: str, *, within: float = 0.0, **options: Unpack[Options]) -> Rule:
    """The columns of a row add up to the column ``total``, to within ``within``, where all have a value."""
    parameters: dict[str, Scalar] = {"within": within}
    return made("sum_equal", [*columns, total], {**parameters}, options, dimension="consistency")


def condition(sql: str, **options: Unpack[Options]) -> Rule:
    """A SQL condition holds for every row; where it is null the row passes."""
    return made("condition", [], {"sql": sql}, options, dimension="consistency")


def unique(*columns: str, keep: Literal["none", "first", "last"] | None = None, **options: Unpack[Options]) -> Rule:
    """No two rows agree in all of the columns; rows with a null in one of them are not compared.

    Args:
        columns: the columns, or none for whole rows.
        keep: which of several equal rows is right, in the order of delivery: the ``first``, the ``last``, or ``none``
            of them. A rule that sets rows aside keeps the first unless told otherwise; the others, none.
        options: what every rule takes.

    Raises DefinitionError where rows are to be set aside and none kept: which ones would go would depend on what came
    together.
    """
    if keep not in (None, "none", "first", "last"):
        raise DefinitionError(f"`keep` cannot be {keep!r}", code="GM-C011", hint="none, first or last")
    if options.get("on_fail") == "quarantine" and keep == "none":
        raise DefinitionError(
            "of equal rows that are set aside one must be kept", code="GM-C011", hint="keep='first' or keep='last'"
        )
    return made("unique", columns, {"keep": None if keep == "none" else keep}, options, dimension="uniqueness")


def references(columns: Columns, table: str, to: Columns | None = None, **options: Unpack[Options]) -> Rule:
    """Values stand in the other table; a null refers to nothing and passes."""
    own = _names(columns)
    names: list[Scalar] = list(own if to is None else _names(to))
    if len(names) != len(own):
        raise DefinitionError(
            f"{len(own)} columns cannot refer to {len(names)} of {table}", code="GM-C011", hint="give as many in `to=`"
        )
    return made("references", own, {"table": table, "to": names}, options, dimension="consistency")


def monotone(
    column: str,
    *,
    order_by: str,
    by: Columns = (),
    direction: Literal["up", "down"] = "up",
    strict: bool = False,
    **options: Unpack[Options],
) -> Rule:
    """Within each group of ``by``, in the order of ``order_by``, values never fall (``up``) or rise (``down``)."""
    groups = _names(by)
    parameters: dict[str, Scalar] = {"direction": direction, "strict": strict}
    names = [column, order_by, *groups]
    return made("monotone", names, {**parameters}, options, scope="aggregate", dimension="consistency")


def row_count(
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    equal: float | None = None,
    **options: Unpack[Options],
) -> Rule:
    """The table has between ``low`` and ``high`` rows, both included."""
    limits = bounds("row_count", low=low, high=high, above=above, below=below, equal=equal)
    return made("row_count", [], {**limits}, options, scope="aggregate", dimension="completeness")


def statistic(
    column: str,
    statistic: Literal[
        "mean", "sum", "min", "max", "stddev", "median", "null_share", "nulls", "distinct_share", "distinct"
    ],
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    equal: float | None = None,
    **options: Unpack[Options],
) -> Rule:
    """One figure of a column lies between ``low`` and ``high``, both included."""
    limits = bounds(statistic, low=low, high=high, above=above, below=below, equal=equal)
    parameters = {"statistic": statistic, **limits}
    return made("statistic", [column], {**parameters}, options, scope="aggregate", dimension="consistency")


def quantile(
    column: str, q: float, *, low: float | None = None, high: float | None = None, **options: Unpack[Options]
) -> Rule:
    """The ``q``-quantile (0 to 1, linear between neighbours) lies between ``low`` and ``high``, both included."""
    if not 0 <= q <= 1:
        raise DefinitionError(f"{q} is no quantile", code="GM-C011", hint="give a number from 0 to 1")
    parameters = {"q": q, **bounds("quantile", low=low, high=high)}
    return made("quantile", [column], {**parameters}, options, scope="aggregate", dimension="consistency")


def distinct(
    column: str,
    values: Sequence[Scalar],
    relation: Literal["within", "contains", "equals"] = "equals",
    **options: Unpack[Options],
) -> Rule:
    """The set of values in the column lies ``within`` the given set, ``contains`` it, or ``equals`` it."""
    kept: list[Scalar] = [value for value in values if value is not None]
    parameters = {"values": kept, "relation": relation}
    return made("distinct", [column], {**parameters}, options, scope="aggregate", dimension="representativeness")


def complete(column: str, *, every: str, by: Columns = (), **options: Unpack[Options]) -> Rule:
    """Between the first and the last time no bucket of length ``every`` (``15min``, ``1h``, ``1d``) is empty.

    With ``by`` each group is looked at on its own; ``tolerance`` counts empty buckets, or is their share.
    """
    seconds(every)
    return made(
        "complete", [column, *_names(by)], {"every": every}, options, scope="aggregate", dimension="completeness"
    )


def fresh(column: str, *, within: str, **options: Unpack[Options]) -> Rule:
    """The latest time in the column is at most ``within`` (``2h``, ``1d``) before the run's time."""
    seconds(within)
    return made("fresh", [column], {"within": within}, options, scope="aggregate", dimension="freshness")


def query(
    sql: str,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    equal: Scalar = None,
    **options: Unpack[Options],
) -> Rule:
    """One SELECT gives one value that lies within the bounds; ``${table}`` stands for the table."""
    limits = bounds("query", low=low, high=high, above=above, below=below, equal=equal)
    return made("query", [], {"sql": sql, **limits}, options, scope="aggregate", dimension="consistency")


def columns(names: Sequence[str], *, exact: bool = False, ordered: bool = False, **options: Unpack[Options]) -> Rule:
    """The table has these columns; ``exact``: no others; ``ordered``: in this order."""
    listed: list[Scalar] = list(names)
    parameters = {"names": listed, "exact": exact or None, "ordered": ordered or None}
    return made("columns", [], {**parameters}, options, scope="table", dimension="consistency")


def has_type(column: str, *types: str, **options: Unpack[Options]) -> Rule:
    """The column has one of these types: ``string``, ``integer``, ``number``, ``boolean``, ``date``, ``time``,
    ``timestamp``, ``array``, ``object``, ``map``, ``binary``, or an exact DuckDB type such as ``DECIMAL(10,2)``.
    """
    listed: list[Scalar] = list(types)
    return made("has_type", [column], {"types": listed}, options, scope="table", dimension="consistency")
