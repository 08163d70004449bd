"""One check on a table, as data: what every contract and every Python rule compiles to."""

from __future__ import annotations

from typing import Literal

import msgspec

Action = Literal["block", "quarantine", "warn"]
Scope = Literal["row", "aggregate", "table"]

Scalar = str | int | float | bool | None


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of one table.

    Args:
        kind: what is checked: ``between``, ``not_null``, ``unique``, ``references``, ... (``contracts`` lists them).
        columns: the columns that are looked at, in order; empty for rules on the whole table.
        scope: ``row`` gives failing rows, ``aggregate`` one value, ``table`` looks at the schema or the history.
        parameters: what the kind needs: ``low``, ``high``, ``values``, ``pattern``, ``table`` ...
        on_fail: ``block`` the commit, set the row aside (``quarantine``, row rules only), or ``warn``.
        where: SQL condition that limits the rule to some rows.
        tolerance: how much may fail: a share of rows below 1, or a count of rows from 1; None means none.
        name: stable name of the rule within its table; made from kind and columns where not given.
        dimension: completeness, consistency, accuracy, freshness, representativeness or uniqueness.
        owner: who answers for it.
        origin: file and line that states it.
        because: why it exists, in the author's words.
    """

    kind: str
    columns: tuple[str, ...] = ()
    scope: Scope = "row"
    parameters: dict[str, Scalar | list[Scalar] | dict[str, Scalar]] = {}
    on_fail: Action = "block"
    where: str | None = None
    tolerance: float | None = None
    name: str = ""
    dimension: str | None = None
    owner: str | None = None
    origin: str | None = None
    because: str | None = None

    @property
    def code(self) -> str:
        """The rule's stable name: ``name``, or kind and columns joined.

        >>> Rule(kind="between", columns=("wind_speed",)).code
        'between:wind_speed'
        """
        return self.name or ":".join((self.kind, *self.columns))
