"""What a check found: one outcome per rule, never silent about what it did not look at."""

from __future__ import annotations

from typing import Literal

import msgspec

from gristmill.model.rules import Rule, Scalar

Outcome = Literal["pass", "warn", "fail", "error", "not_checked"]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One failing row: its key or first cells, and where it came from."""

    values: dict[str, Scalar]
    row_id: int | None = None
    origin: str | None = None

    def __str__(self) -> str:
        cells = " ".join(f"{name}={value}" for name, value in self.values.items())
        return f"{cells}  ({self.origin})" if self.origin else cells


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of one rule on one table.

    Args:
        table: the table that was looked at.
        rule: the rule.
        outcome: ``pass``, ``warn``, ``fail``, ``error`` (the rule could not be run) or ``not_checked``.
        failed_rows: rows that break a row rule.
        checked_rows: rows that were looked at.
        observed: what was found, in words or as a number.
        expected: what the rule asks for, in words.
        examples: up to three failing rows.
        quarantined: rows that were set aside because of this rule.
        note: why it was not checked, or ``learning (3 of 10)``.
        since: since when there have been such rows: this run, or a commit.
        accepted: reason under which a person let this failure pass, until its end date.
    """

    table: str
    rule: Rule
    outcome: Outcome
    failed_rows: int = 0
    checked_rows: int = 0
    observed: str = ""
    expected: str = ""
    examples: tuple[Example, ...] = ()
    quarantined: int = 0
    note: str | None = None
    since: str = ""
    accepted: str | None = None

    @property
    def words(self) -> str:
        """What the rule asks for, in words, or its code."""
        return self.expected or self.rule.code

    @property
    def seen(self) -> str:
        """What was found, for people: failing rows, the observed figure, or why nothing was looked at."""
        if self.failed_rows:
            return f"{self.failed_rows:,} of {self.checked_rows:,} rows"
        return self.observed or self.note or ""

    @property
    def blocks(self) -> bool:
        """Whether this finding forbids publishing: it failed, or a rule that must hold could not be looked at."""
        unseen = self.outcome in ("error", "not_checked") and self.rule.on_fail != "warn"
        return (self.outcome == "fail" or unseen) and self.accepted is None
