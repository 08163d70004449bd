"""What every way to write a rule shares: common options, bounds, durations."""

from __future__ import annotations

import re
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
    parameters: Mapping[str, Value],
    options: Options,
    *,
    scope: Scope = "row",
    dimension: str,
) -> Rule:
    """Return a rule, parameters that are None left out.

    Raises DefinitionError where a rule that names no row should set rows aside, or a tolerance is negative.
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
        parameters={name: value for name, value in parameters.items() if value is not None},
        dimension=dimension,
        **options,
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
