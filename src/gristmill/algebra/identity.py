"""The name of a computation: equal for equal operation trees, in any process, at any time."""

from __future__ import annotations

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import msgspec
from blake3 import blake3
from ibis.common.graph import Graph
from ibis.common.grounds import Concrete

from gristmill.algebra.inputs import needed_columns
from gristmill.algebra.rewrite import normalise
from gristmill.algebra.semantics import VERSION


def fingerprint(expr: ibis.Table) -> str:
    """Return 64 hex digits that name what the expression computes, under the version of our semantics.

    It depends on the operations, their literals, the names and types of the columns that are read, and the
    names of the input tables; not on Python names, on the process, or on columns that are not read.

    Raises:
        DefinitionError: the expression holds something that is refused, such as ``now()``.

    >>> t = ibis.table({"a": "int64", "b": "int64"}, name="raw.t")
    >>> u = ibis.table({"a": "int64", "b": "int64", "new": "string"}, name="raw.t")
    >>> fingerprint(t.filter(t.a > 1)[["a"]]) == fingerprint(u.filter(u.a > 1)[["a"]])
    True
    """
    return digest(normalise(expr).op())


def digest(root: ops.Node) -> str:
    """Return the digest of an operation tree as it stands, without normalising it."""
    needed = needed_columns(root)
    order, _ = Graph.from_bfs(root).toposort()
    references: dict[tuple[type, int], int] = {}
    for node in root.find(ops.Reference):
        references.setdefault((type(node), node.identifier), len(references))
    done: dict[object, bytes] = {}
    for node in order:
        done[node] = _digest_node(node, done, references, needed)
    names = list(root.schema.names) if isinstance(root, ops.Relation) else []
    return blake3(_pack([VERSION, names, done[root]])).hexdigest()


def _digest_node(
    node: ops.Node,
    done: dict[object, bytes],
    references: dict[tuple[type, int], int],
    needed: dict[ops.Relation, set[str]],
) -> bytes:
    if isinstance(node, ops.Alias):
        return done[node.arg]
    parts: list[object] = [type(node).__name__]
    if isinstance(node, ops.UnboundTable):
        columns = sorted(needed.get(node, ()))
        parts += [node.name, [[c, _type_text(node.schema[c])] for c in columns]]
    elif isinstance(node, ops.Reference):
        parts += [done[node.parent], references[type(node), node.identifier]]
    else:
        parts += [[name, _plain(value, done)] for name, value in zip(node.argnames, node.args, strict=True)]
    return blake3(_pack(parts)).digest()


def _plain(value: object, done: dict[object, bytes]) -> object:
    """Turn an argument of a node into plain, ordered data; nodes become their digests."""
    if isinstance(value, ops.Node):
        return done[value]
    if isinstance(value, dt.DataType):
        return _type_text(value)
    if isinstance(value, dict):
        return ["map", [[_plain(k, done), _plain(v, done)] for k, v in value.items()]]
    if isinstance(value, frozenset | set):
        return ["set", sorted(repr(v) for v in value)]
    if isinstance(value, tuple | list):
        return [_plain(v, done) for v in value]
    if value is None or isinstance(value, bool | int | str | bytes):
        return [type(value).__name__, str(value) if isinstance(value, int) else value]
    if isinstance(value, float):
        return ["float", value.hex()]
    if isinstance(value, Concrete):
        return [type(value).__name__, [_plain(v, done) for v in value.args]]
    return [type(value).__name__, str(value)]


def _type_text(dtype: dt.DataType) -> str:
    return f"{'' if dtype.nullable else '!'}{dtype.copy(nullable=True)}"


def _pack(value: object) -> bytes:
    return msgspec.msgpack.encode(value)
