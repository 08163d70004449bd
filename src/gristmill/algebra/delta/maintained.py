"""What ``maintain`` gives: how a derived table follows its inputs, as values that a kernel can run.

Names of the tables that stand in the expressions, for an input ``raw.t`` and an output called ``out``:

====================  =========================================================================
``raw.t``             an input that did not change
``raw.t@old``         an input that changed, as it was; its columns
``raw.t@new``         the same as it is now
``raw.t@delta``       what lies between: its columns and ``_w``, -1 for a row that went, +1 for a row that came;
                      an update is both; equal rows stand as often as they occur
``out#1@old``         hidden state number 1, as it was
``out#1@delta``       made by a step: rows of the state with ``_w``
``_gm_1``, ...        made by a step
====================  =========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.operations as ops

WEIGHT = "_w"
"""The column that says how often a row came (positive) or went (negative)."""

Change = Literal["none", "inserts", "any"]
"""How an input changed: not at all, by rows that came only, in any way."""

Mode = Literal["reuse", "delta", "touched", "full"]
"""How a table is brought up to date, from the cheapest to the dearest."""

RuleName = Literal["reuse", "linear", "bilinear", "mergeable", "touched rows", "touched keys", "full"]

MODES: tuple[Mode, ...] = ("reuse", "delta", "touched", "full")
MODE_OF: dict[RuleName, Mode] = {
    "reuse": "reuse",
    "linear": "delta",
    "bilinear": "delta",
    "mergeable": "delta",
    "touched rows": "touched",
    "touched keys": "touched",
    "full": "full",
}


@dataclass(frozen=True, slots=True)
class OpRule:
    """How one operation is maintained.

    Args:
        operation: what the user wrote, in words: ``inner join``, ``group by carrier``.
        rule: the name of the rule.
        why: why this rule and no cheaper one.
        cost: what its work grows with: ``delta``, ``scan`` (one pass over an input), ``whole`` (all of it anew).
    """

    operation: str
    rule: RuleName
    why: str
    cost: Literal["none", "delta", "scan", "whole"]


@dataclass(frozen=True, slots=True)
class Step:
    """One table that a kernel makes before what follows can be run, as small as the changes are.

    Args:
        name: the table's name in the expressions after it.
        expr: what it holds; to be compiled as it stands, not normalised again.
    """

    name: str
    expr: ibis.Table


@dataclass(frozen=True, slots=True)
class State:
    """A hidden table of partial results, committed with the output.

    Args:
        suffix: ``#1``, ``#2``: added to the output's name. The numbers depend on the definition only.
        schema: its columns: the groups, ``_n`` (how many rows are in the group), and partial results.
        key: the group columns; empty where the whole table is one group. Nulls are values here.
        build: the state made anew, over the inputs by their plain names; compile it as it stands.
        fingerprint: of ``build``; a stored state with another one is of no use.
        touched: the name of the step that makes its changes, columns and ``_w``; None where it does not change.
    """

    suffix: str
    schema: ibis.Schema
    key: tuple[str, ...]
    build: ibis.Table
    fingerprint: str
    touched: str | None


@dataclass(frozen=True, slots=True)
class Maintained:
    """How a derived table follows the changes of its inputs.

    Args:
        mode: the dearest of the rules used. ``full`` still has exact ``changes``, at no less than the cost of
            computing all anew.
        why: the reason for the mode, in words.
        rules: one per operation that a change reaches, inputs first.
        states: all hidden states of the definition, whether they change or not.
        steps: what to make first, in this order.
        changes: the output's columns and ``_w``, each row once, no weight zero; compile it as it stands. None
            where no comparison with the inputs' changes can tell, because the definition reads the clock.
        inputs: the tables that must be known by name before the steps run.
        reads: the inputs of the definition, by their plain names.
    """

    mode: Mode
    why: str
    rules: tuple[OpRule, ...]
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    changes: ibis.Table | None
    inputs: tuple[str, ...]
    reads: tuple[str, ...]

    @property
    def passes(self) -> tuple[str, ...]:
        """Every pass over a whole input or state, by the table's name, once per place that reads it."""
        expressions = [*(step.expr for step in self.steps), *([] if self.changes is None else [self.changes])]
        made = {step.name for step in self.steps}
        leaves = (leaf.name for expr in expressions for leaf in expr.op().find(ops.UnboundTable))
        return tuple(name for name in leaves if name not in made and not name.endswith("@delta"))


def old_name(name: str) -> str:
    """Return the name of a table as it was before the change."""
    return f"{name}@old"


def new_name(name: str) -> str:
    """Return the name of a table as it is after the change."""
    return f"{name}@new"


def delta_name(name: str) -> str:
    """Return the name of a table of changes."""
    return f"{name}@delta"
