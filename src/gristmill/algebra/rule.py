"""One line of the semantics table, and the observations that prove it."""

from __future__ import annotations

import msgspec

NAN, INF = float("nan"), float("inf")


class Probe(msgspec.Struct, frozen=True):
    """One observation that a rule predicts.

    Args:
        expr: an Ibis expression over ``t`` (columns as in ``rows``), with ``ibis``, ``gm`` and ``_`` at hand.
        expect: the values, in the order of ``rows``; one value where ``expr`` aggregates; the name of an
        error
            class of ``gristmill.errors`` where it must fail.
        rows: columns as (name, Ibis type, values).
    """

    expr: str
    expect: tuple[object, ...] | str
    rows: tuple[tuple[str, str, tuple[object, ...]], ...] = (("i", "int64", (0,)),)


class Rule(msgspec.Struct, frozen=True):
    """One line of the table.

    Args:
        name: stable; templates are found by it.
        operation: what a user writes.
        rule: what it means here.
        rewrite: the SQL template; empty where DuckDB does it by itself.
        why: what goes wrong without it.
        probes: observations that tests repeat.
    """

    name: str
    operation: str
    rule: str
    rewrite: str
    why: str
    probes: tuple[Probe, ...] = ()


def ints(**columns: tuple[object, ...]) -> tuple[tuple[str, str, tuple[object, ...]], ...]:
    """Return integer columns for a probe."""
    return tuple((name, "int64", values) for name, values in columns.items())


def one(kind: str, *values: object) -> tuple[tuple[str, str, tuple[object, ...]], ...]:
    """Return one column ``a`` for a probe."""
    return (("a", kind, values),)
