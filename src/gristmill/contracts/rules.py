"""Typed ways to write a rule; ``gm.rules.between("age", low=0, high=150)``.

Every function returns a frozen ``Rule`` and takes the same options: ``on_fail`` (``block``, ``quarantine`` for row
rules, ``warn``), ``where`` (a SQL condition that limits it), ``tolerance`` (a share below 1, or a number of rows),
``name``, ``owner``, ``because``. A null never breaks a rule about values: ``not_null`` is its own rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypedDict, Unpack

from gristmill.errors import DefinitionError
from gristmill.model.rules import Action, Rule, Scalar, Scope


class Options(TypedDict, total=False):
    """What every rule takes besides its own arguments."""

    on_fail: Action
    where: str
    tolerance: float
    name: str
    owner: str
    because: str


def _rule(
    kind: str,
    columns: Sequence[str],
    parameters: dict[str, Scalar | list[Scalar] | dict[str, Scalar]],
    options: Options,
    *,
    scope: Scope = "row",
    dimension: str,
) -> Rule:
    if options.get("on_fail") == "quarantine" and scope != "row":
        raise DefinitionError(
            f"`{kind}` names no single row, so it cannot set one aside",
            code="GM-C010",
            hint='use on_fail="block" or on_fail="warn"',
        )
    return Rule(
        kind=kind,
        columns=tuple(columns),
        scope=scope,
        parameters={name: value for name, value in parameters.items() if value is not None},
        dimension=dimension,
        **options,
    )


def not_null(*columns: str, **options: Unpack[Options]) -> Rule:
    """Each of the columns has a value; NaN counts as missing."""
    return _rule("not_null", columns, {}, options, dimension="completeness")


def between(
    column: str,
    *,
    low: float | str | None = None,
    high: float | str | None = None,
    exclusive: bool = False,
    **options: Unpack[Options],
) -> Rule:
    """Values lie between ``low`` and ``high``, both included unless ``exclusive``.

    >>> between("wind_speed", low=0, high=200, on_fail="quarantine").code
    'between:wind_speed'
    """
    if low is None and high is None:
        raise DefinitionError(f"`between` on `{column}` has neither low nor high", code="GM-C011")
    parameters = {"low": low, "high": high, "exclusive": exclusive or None}
    return _rule("between", [column], {**parameters}, options, dimension="consistency")


def one_of(column: str, values: Sequence[Scalar], **options: Unpack[Options]) -> Rule:
    """Values are among the given ones; nulls in the list are ignored."""
    kept: list[Scalar] = [value for value in values if value is not None]
    return _rule("one_of", [column], {"values": kept}, options, dimension="consistency")


def matches(column: str, pattern: str, **options: Unpack[Options]) -> Rule:
    """The pattern is found in the text; anchor it with ``^`` and ``$`` to cover the whole. RE2 syntax."""
    return _rule("matches", [column], {"pattern": pattern}, options, dimension="consistency")


def length(column: str, *, low: int | None = None, high: int | None = None, **options: Unpack[Options]) -> Rule:
    """Texts have between ``low`` and ``high`` code points, both included."""
    return _rule("length", [column], {"low": low, "high": high}, options, dimension="consistency")


def compare(
    left: str, operator: Literal["<", "<=", "=", "!=", ">=", ">"], right: str, **options: Unpack[Options]
) -> Rule:
    """Two columns of a row stand in this relation, where both have a value."""
    return _rule("compare", [left, right], {"operator": operator}, options, dimension="consistency")


def condition(sql: str, **options: Unpack[Options]) -> Rule:
    """A SQL condition holds for every row; where it is null the row passes."""
    return _rule("condition", [], {"sql": sql}, options, dimension="consistency")


def unique(*columns: str, **options: Unpack[Options]) -> Rule:
    """No two rows agree in all of the columns; rows with a null in one of them are not compared."""
    return _rule("unique", columns, {}, options, dimension="uniqueness")


def references(
    columns: str | Sequence[str], table: str, to: str | Sequence[str] | None = None, **options: Unpack[Options]
) -> Rule:
    """Values stand in the other table; a null refers to nothing and passes."""
    own = [columns] if isinstance(columns, str) else list(columns)
    other = own if to is None else [to] if isinstance(to, str) else list(to)
    names: list[Scalar] = list(other)
    return _rule("references", own, {"table": table, "to": names}, options, dimension="consistency")


def row_count(*, low: int | None = None, high: int | None = None, **options: Unpack[Options]) -> Rule:
    """The table has between ``low`` and ``high`` rows, both included."""
    return _rule("row_count", [], {"low": low, "high": high}, options, scope="aggregate", dimension="completeness")


def statistic(
    column: str,
    statistic: Literal["mean", "sum", "min", "max", "stddev", "null_share", "distinct_share", "distinct"],
    *,
    low: float | None = None,
    high: float | None = None,
    **options: Unpack[Options],
) -> Rule:
    """One figure of a column lies between ``low`` and ``high``, both included."""
    parameters: dict[str, Scalar | list[Scalar] | dict[str, Scalar]] = {
        "statistic": statistic,
        "low": low,
        "high": high,
    }
    return _rule("statistic", [column], parameters, options, scope="aggregate", dimension="consistency")


def fresh(column: str, *, within: str, **options: Unpack[Options]) -> Rule:
    """The latest time in the column is at most ``within`` (``2h``, ``1d``) before the run's time."""
    return _rule("fresh", [column], {"within": within}, options, scope="aggregate", dimension="freshness")
