"""What every way to write a rule shares: common options, bounds, durations."""

from __future__ import annotations

import datetime
import decimal
import re
import uuid
from collections.abc import Mapping, Sequence
from typing import TypedDict, Unpack

from gristmill.errors import DefinitionError
from gristmill.model.rules import Action, Rule, Scalar, Scope

__all__ = ["Options", "Unpack", "bounds", "made", "seconds"]

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}

Value = Scalar | list[Scalar] | dict[str, Scalar]


class Options(TypedDict, total=False):
    """What every rule takes besides its own arguments."""

    on_fail: Action
    where: str
    tolerance: float
    name: str
    owner: str
    because: str
    origin: str


def made(
    kind: str,
    columns: Sequence[str],
    parameters: Mapping[str, object],
    options: Options,
    *,
    scope: Scope = "row",
    dimension: str,
) -> Rule:
    """Return a rule, parameters that are None left out, dates and the like as text.

    Raises DefinitionError where a rule that names no row should set rows aside, a tolerance is negative, or a
    parameter is nothing that a document could hold.
    """
    if options.get("on_fail", "block") not in ("block", "quarantine", "warn"):
        raise DefinitionError(
            f"`on_fail` cannot be {options['on_fail']!r}", code="GM-C010", hint="block, quarantine or warn"
        )
    if options.get("on_fail") == "quarantine" and scope != "row":
        raise DefinitionError(
            f"`{kind}` names no single row, so it cannot set one aside",
            code="GM-C010",
            hint='use on_fail="block" or on_fail="warn"',
        )
    if (options.get("tolerance") or 0) < 0:
        raise DefinitionError("a tolerance cannot be negative", code="GM-C011")
    return Rule(
        kind=kind,
        columns=tuple(columns),
        scope=scope,
        parameters={name: _plain(kind, value) for name, value in parameters.items() if value is not None},
        dimension=dimension,
        **options,
    )


def _plain(kind: str, value: object) -> Value:
    """Return a parameter as a document would hold it."""
    if isinstance(value, list | tuple):
        return [_scalar(kind, item) for item in value]
    if isinstance(value, dict):
        return {name: _scalar(kind, item) for name, item in value.items()}
    return _scalar(kind, value)


def _scalar(kind: str, value: object) -> Scalar:
    if hasattr(value, "dtype") and hasattr(value, "item"):
        value = value.item()
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC)
    if isinstance(value, datetime.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    if value is None or isinstance(value, str | int | float):
        return value
    raise DefinitionError(
        f"`{kind}` cannot compare with a {type(value).__name__}",
        code="GM-C011",
        hint="give a number, text, a date or a time",
    )


def bounds(what: str, **limits: Scalar) -> dict[str, Scalar]:
    """Return the limits that are given.

    Raises DefinitionError where there is none.
    """
    given: dict[str, Scalar] = {name: value for name, value in limits.items() if value is not None}
    if not given:
        raise DefinitionError(f"`{what}` has no bound", code="GM-C011", hint=f"give one of {', '.join(limits)}")
    return given


def seconds(text: str) -> float:
    """Return the seconds in ``2h``, ``30min``, ``1d``.

    >>> seconds("2h")
    7200.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)\s*", text)
    if not found:
        raise DefinitionError(f"`{text}` is not a duration", code="GM-C013", hint="write 30min, 2h, 1d")
    return float(found[1]) * _UNITS_S[found[2]]
