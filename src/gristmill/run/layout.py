"""How the files of a project's tables lie: made as the definition says, and changed where it changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.define import Node

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Transaction


def prepare(tx: Transaction, node: Node, schema: pa.Schema) -> None:
    """Create the table, or bring its schema, key and partitions in line with the definition."""
    if node.name not in tx:
        create(tx, node, schema, kind="derived")
    else:
        evolve(tx, node, schema)


def ordered(node: Node, sql: str) -> str:
    """Return a SELECT whose rows come in the order in which the table's files are to be."""
    order = ", ".join(f'"{name}"' for name in node.cluster_by)
    return f"SELECT * FROM ({sql}) ORDER BY {order}" if order else sql


def create(tx: Transaction, node: Node, schema: pa.Schema, *, kind: str) -> None:
    """Create a node's table; ``kind`` says whether it is a ``source`` or ``derived``."""
    tx.create_table(
        node.name,
        schema,
        key=node.key,
        cluster_by=node.cluster_by,
        partition_by=node.partition_by,
        properties={"kind": kind},
    )


def evolve(tx: Transaction, node: Node, schema: pa.Schema) -> None:
    """Bring schema, key and partitions of a derived table in line with the definition; its rows come anew."""
    from gristmill.model.changes import SetKey, SetPartitioning

    moved = _terms(tx.table(node.name).partition_by) != _terms(node.partition_by)
    if moved:  # a column that files were divided by may be gone
        tx.alter(node.name, SetPartitioning(()))
    tx.evolve(node.name, schema, replace=True)
    if tx.table(node.name).key != node.key:
        tx.alter(node.name, SetKey(node.key))
    if moved:
        tx.alter(node.name, SetPartitioning(node.partition_by))


def follow_partitions(tx: Transaction, node: Node) -> None:
    """Divide the new files of a source as its definition says; those that are there stay."""
    from gristmill.model.changes import SetPartitioning

    if _terms(tx.table(node.name).partition_by) != _terms(node.partition_by):
        tx.alter(node.name, SetPartitioning(node.partition_by))


def _terms(terms: tuple[str, ...]) -> list[str]:
    return ["".join(term.split()) for term in terms]
