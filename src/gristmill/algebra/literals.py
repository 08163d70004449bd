"""Rows written into a definition (``ibis.memtable``): named by what they hold."""

from __future__ import annotations

import ibis.expr.operations as ops
import msgspec
from blake3 import blake3


def content_digest(node: ops.InMemoryTable) -> str:
    """Return the digest of the rows of an in-memory table, in their order."""
    table = node.data.to_pyarrow(node.schema)
    named = zip(table.schema.names, table.columns, strict=True)
    columns = [[name, str(column.type), column.to_pylist()] for name, column in named]
    return blake3(msgspec.msgpack.encode(columns)).hexdigest()
