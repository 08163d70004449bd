"""The pass that gives every operation of an expression our meaning, before any SQL is written."""

from __future__ import annotations

from collections.abc import Mapping

import ibis
import ibis.expr.operations as ops

from gristmill.algebra.literals import content_digest
from gristmill.algebra.refusals import refuse


def normalise(expr: ibis.Table, *, grids: Mapping[tuple[str, str], object] | None = None) -> ibis.Table:
    """Return the same table, computed under our semantics.

    Raises:
        DefinitionError: an operation could give another answer on another run; the hint names what to use.
    """
    op = expr.op()
    for node in op.find(ops.Node):
        refuse(node)
    return op.replace(_rewrite).to_expr()


def _rewrite(node: ops.Node, changed: dict[str, object] | None) -> ops.Node:
    """Give one node, whose children are done, its normal form."""
    node = node.__recreate__(changed) if changed else node
    if isinstance(node, ops.InMemoryTable):
        return node.copy(name=f"_literal_{content_digest(node)[:16]}")
    return node
