"""What computing a table in full takes of memory and disk, by what its inputs hold, and in how many passes it fits.

A rough figure to plan by: rows times the width of the columns that are read, by type, for whatever has to be held
at once: one side of a join, groups, the rows of a window. It decides the number of passes; what a plan says of memory
and disk is by what a run really took, as soon as there was one (``estimates.py``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gristmill.run.compiling import Compiled
from gristmill.run.context import Context

if TYPE_CHECKING:
    import ibis
    import ibis.expr.operations as ops

    from gristmill.store import View

SMALL_ROWS = 100_000
"""A table of at most so many rows is read whole by every piece of work that joins it."""
HELD_SHARE = 0.4
"""The share of the kernel's memory that what must be held at once may take before it is done in passes."""
_TEXT_BYTES = 40
_ENTRY_BYTES = 16
_LARGE_ROWS, _SAMPLE_ROWS = 200_000, 1_000
_MOST_PASSES = 256


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """What a full computation takes.

    Args:
        input_bytes: what is read, as it lies in memory, columns that are not needed left out.
        peak_bytes: what must be held at once, or spilled.
        limit_bytes: what the kernel may hold.
        passes: in how many parts it is done in this process; 1 for at once.
        hashed: whether it can be parted by a hash.
        whole: why some of it is one piece of work, in words.
    """

    input_bytes: int = 0
    peak_bytes: int = 0
    limit_bytes: int = 0
    passes: int = 1
    hashed: bool = False
    whole: tuple[str, ...] = ()

    @property
    def spill_bytes(self) -> int:
        """What goes through files on the way: between stages where it is done in passes, else what does not fit."""
        if self.passes > 1:
            return self.peak_bytes
        return max(0, self.peak_bytes - self.limit_bytes)


def fit(ctx: Context, view: View, compiled: Compiled, rows: Mapping[str, int] | None = None) -> Fit:
    """Return what computing an Ibis definition in full takes.

    Args:
        ctx: the run, whose kernel has a limit.
        view: the inputs.
        compiled: the definition.
        rows: how many rows inputs will have, where that is known better than by ``view``.
    """
    if compiled.expression is None:
        return Fit()
    limit = memory_bytes(ctx)
    known = dict(rows or {})
    for name in compiled.node.reads:
        if name not in known and name in view:
            known[name] = view.table(name).row_count
    schemas = read_schemas(compiled.expression)
    texts = text_bytes(view, schemas, known)
    total = sum(row_bytes(schema, texts) * known.get(name, 0) for name, schema in schemas.items())
    held = held_bytes(compiled.expression, known, texts)
    if total < HELD_SHARE * limit and ctx.executor is None:
        return Fit(input_bytes=total, peak_bytes=held, limit_bytes=limit)
    from gristmill.algebra import parted

    stages = parted(compiled.expression, small=[name for name, count in known.items() if count <= SMALL_ROWS])
    passes = 1
    if stages.hashed and held > HELD_SHARE * limit:
        passes = min(_MOST_PASSES, -(-held // int(HELD_SHARE * limit / 2)))
    return Fit(
        input_bytes=total,
        peak_bytes=held,
        limit_bytes=limit,
        passes=int(passes),
        hashed=stages.hashed,
        whole=stages.whole,
    )


def memory_bytes(ctx: Context) -> int:
    """Return what the kernel may hold in memory: its limit, else what the engine takes by itself."""
    if ctx.kernel.memory_limit_bytes is not None:
        return ctx.kernel.memory_limit_bytes
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * 0.8)


def text_bytes(view: View, schemas: Mapping[str, ibis.Schema], rows: Mapping[str, int]) -> int:
    """Return how long a text is on average, by the first rows of the inputs where they are large; else a guess."""
    from gristmill.store import compute

    found = _TEXT_BYTES
    for name, schema in schemas.items():
        texts = [column for column, dtype in schema.items() if dtype.is_string() or dtype.is_binary()]
        if not texts or name not in view or rows.get(name, 0) < _LARGE_ROWS:
            continue
        sample = compute.head(view.scan(name, columns=texts), _SAMPLE_ROWS)
        found = max(found, sample.nbytes // max(1, sample.num_rows * len(texts)))
    return found


def row_bytes(schema: ibis.Schema, texts: int = _TEXT_BYTES) -> int:
    """Return what a row of some columns takes in memory, about, where a text is ``texts`` bytes long."""
    return _ENTRY_BYTES + sum(_width(dtype, texts) for dtype in schema.types)


def _width(dtype: object, texts: int) -> int:
    from ibis.expr import datatypes as dt

    if isinstance(dtype, dt.Struct):
        return sum(_width(part, texts) for part in dtype.types)
    if isinstance(dtype, dt.Array | dt.Map):
        return 4 * texts
    return 8 if isinstance(dtype, dt.Primitive | dt.Timestamp | dt.Date | dt.Time | dt.Decimal) else texts


def read_schemas(expr: ibis.Table) -> dict[str, ibis.Schema]:
    """Return for each input the columns that a definition reads."""
    import ibis

    from gristmill.algebra import reads

    schemas = {leaf.name: ibis.schema(dict(leaf.schema.items())) for leaf in _leaves(expr)}
    found = {}
    for name, columns in reads(expr).items():
        schema = schemas[name]
        names = schema.names if columns is None else columns
        found[name] = ibis.schema({column: schema[column] for column in names if column in schema})
    return found


def _leaves(expr: ibis.Table) -> list[ops.UnboundTable]:
    import ibis.expr.operations as ops

    return list(expr.op().find(ops.UnboundTable))


def held_bytes(expr: ibis.Table, rows: Mapping[str, int], texts: int = _TEXT_BYTES) -> int:
    """Return what must be held at once, or spilled: the largest of what joins, groups, windows and limits hold."""
    import ibis.expr.operations as ops

    from gristmill.algebra.moving import windows_in
    from gristmill.algebra.nodes import AsofJoin

    held = 0
    for node in expr.op().find(ops.Relation):
        match node:
            case ops.JoinChain():
                below = [table.parent for table in node.tables]
                sizes = sorted(_bytes(table, rows, texts) for table in below)
                held = max(held, sum(sizes[:-1]))
            case AsofJoin():
                held = max(held, _bytes(node.left, rows, texts) + _bytes(node.right, rows, texts))
            case ops.Aggregate() | ops.Distinct():
                if not isinstance(node, ops.Aggregate) or node.groups:
                    held = max(held, _bytes(node.parent, rows, texts))
            case ops.Set():
                held = max(
                    held, _bytes(node.left, rows, texts) + _bytes(node.right, rows, texts) if node.distinct else 0
                )
            case ops.Project() if windows_in(node.values.values()):
                held = max(held, _bytes(node.parent, rows, texts))
    return held


def _bytes(node: ops.Relation, rows: Mapping[str, int], texts: int) -> int:
    """Return the size of a relation, taking it to have as many rows as its largest input."""
    import ibis
    import ibis.expr.operations as ops

    most = max((rows.get(leaf.name, 0) for leaf in node.find(ops.UnboundTable)), default=0)
    return most * row_bytes(ibis.schema(dict(node.schema.items())), texts)
