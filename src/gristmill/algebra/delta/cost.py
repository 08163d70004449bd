"""What following changes costs beside computing all anew, in row visits: a rough figure to choose by at run time.

One visit is what it takes to read a row and to compute a column of it. Operations count as measured on our kernel, to
half a power of ten: a pass that keeps few rows costs a fifth of a visit per row, a hash table one visit per row put in,
sorting two. A made table costs ``FIXED`` visits whatever it holds. The figures are good for choosing, not for telling
seconds; a run that measured both ways should correct them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from gristmill.algebra.delta.maintained import OpRule

FIXED = 20_000.0
WHOLE = 6 * FIXED
"""What writing a table anew costs, however small: its file, and finding out which of its rows are the same."""
_PASS, _READ, _HASH, _SORT = 0.2, 1.0, 1.0, 2.0
_PUT = 1.5
"""What it takes to find and to write a row of the output for a changed row."""
_TOUCHES = 10.0
"""How many rows of an input share the key of a changed row, where nothing is known."""


class Followable(Protocol):
    """What is asked of a `Maintained`, or of its compiled form."""

    @property
    def rules(self) -> tuple[OpRule, ...]:
        """The rule of each operation."""
        ...

    @property
    def steps(self) -> Sequence[object]:
        """What is made first."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """The inputs."""
        ...

    @property
    def passes(self) -> Sequence[str]:
        """Every pass over a whole input or state."""
        ...


class Estimate(msgspec.Struct, frozen=True):
    """Row visits of both ways.

    Args:
        delta: following the changes.
        full: computing all anew.
    """

    delta: float
    full: float

    @property
    def is_delta_cheaper(self) -> bool:
        """Whether following the changes is expected to cost less."""
        return self.delta < self.full


def estimate(
    maintained: Followable, rows: Mapping[str, int], changed_rows: Mapping[str, int], *, output_rows: int | None = None
) -> Estimate:
    """Return what both ways cost.

    Args:
        maintained: how the output follows.
        rows: how many rows each input has now, by its name; state tables may be named too (``out#1``).
        changed_rows: how many rows the difference of each changed input has, both signs counted.
        output_rows: how many rows the output has, as far as that is known from the last time.

    >>> import ibis
    >>> from gristmill.algebra.delta import maintain
    >>> t = ibis.table({"k": "string", "x": "int64"}, name="raw.t")
    >>> way = maintain(t.group_by("k").agg(s=t.x.sum()), {"raw.t": "any"})
    >>> estimate(way, {"raw.t": 10_000_000}, {"raw.t": 10_000}).is_delta_cheaper
    True
    >>> estimate(way, {"raw.t": 100_000}, {"raw.t": 150_000}).is_delta_cheaper
    False
    """
    changed, total = sum(changed_rows.values()), sum(rows.get(name, 0) for name in maintained.reads)
    operations = max(len(maintained.rules), 1)
    full = WHOLE + total * _READ + total * 0.5 * sum(_whole(rule.rule) for rule in maintained.rules)
    full += output_rows if output_rows is not None else 0
    delta = FIXED * (len(maintained.steps) + 1) + changed * ((_READ + _HASH) * operations + _PUT)
    for name in maintained.passes:
        delta += _PASS * rows.get(name.split("@")[0], total)
    share = min(1.0, changed * _TOUCHES / max(total, 1))
    for rule in maintained.rules:
        if rule.rule in ("touched keys", "touched rows"):
            delta += 2 * share * total * (_READ + _whole(rule.rule))
        elif rule.rule == "full":
            delta += 2 * total * (_READ + _SORT)
    return Estimate(delta, full)


def _whole(rule: str) -> float:
    """Return what an operation costs per row when all of it is computed."""
    return {"linear": 0.2, "bilinear": _HASH, "mergeable": _HASH}.get(rule, _SORT)
