"""Every kind of rule by how it is decided: by a row, a figure, the schema, or a second pass; and each in words."""

from __future__ import annotations

from gristmill.contracts.figure_kinds import FIGURE_KINDS
from gristmill.contracts.pass_kinds import PASS_WORDS
from gristmill.contracts.row_kinds import ROW_KINDS
from gristmill.contracts.sqltext import Types, literal, quote
from gristmill.contracts.table_kinds import TABLE_KINDS, expected
from gristmill.model.rules import Rule

__all__ = ["FIGURE_KINDS", "KINDS", "PASS_WORDS", "ROW_KINDS", "TABLE_KINDS", "Types", "describe", "literal", "quote"]

KINDS = (*ROW_KINDS, *FIGURE_KINDS, *TABLE_KINDS, *PASS_WORDS)


def describe(rule: Rule) -> str:
    """Return what a rule asks for, in words.

    >>> from gristmill.contracts import rules
    >>> describe(rules.between("age", low=0, high=150))
    '0 <= age <= 150'
    """
    if rule.kind in ROW_KINDS:
        words = ROW_KINDS[rule.kind].expected(rule)
    elif rule.kind in FIGURE_KINDS:
        words = FIGURE_KINDS[rule.kind].expected(rule)
    elif rule.kind in PASS_WORDS:
        words = PASS_WORDS[rule.kind](rule)
    elif rule.kind in TABLE_KINDS:
        words = expected(rule)
    else:
        return rule.code
    return f"{words} where {rule.where}" if rule.where else words
