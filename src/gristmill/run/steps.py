"""Compute a Python step: at once, or in chunks on worker processes where it says that rows or groups are apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill.contracts.kinds import quote
from gristmill.define import Node
from gristmill.errors import DefinitionError
from gristmill.model.events import Progress
from gristmill.run.compiling import declared_schema
from gristmill.run.context import Context
from gristmill.run.frames import as_arrow, as_frame, call, read_input

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Staged, Transaction, View

CHUNK_ROWS = 65_536
_SAMPLE_ROWS = 200


def staged_step(ctx: Context, tx: Transaction, node: Node) -> Staged:
    """Compute a step and stage its rows.

    Raises DefinitionError where a step that is declared per row or per group is not, DataError where its rows do
    not fit the declared schema.
    """
    schema = declared_schema(node)
    assert schema is not None
    if node.per == "table" or len(node.reads) != 1:
        arguments = [as_frame(read_input(tx, name), node.rows) for name in node.reads]
        return tx.stage(node.name, called(ctx, node, arguments, schema))
    source = node.reads[0]
    try_grain(ctx, node, tx.reader(source), schema)
    rows = tx.table(source).row_count
    if ctx.modules and ctx.workers > 1 and rows > CHUNK_ROWS:
        return _staged_by_pool(ctx, tx, node, schema, rows)
    chunks = chunked(tx, node, source)
    import pyarrow as pa

    made = (called(ctx, node, [as_frame(chunk, node.rows)], schema) for chunk in chunks)
    batches = (batch for table in made for batch in table.to_batches())
    return tx.stage(node.name, pa.RecordBatchReader.from_batches(schema, batches))


def called(ctx: Context, node: Node, frames: Sequence[object], schema: pa.Schema) -> pa.Table:
    """Call a step's function on frames and return its rows in the declared schema."""
    assert node.function is not None
    return as_arrow(node, call(node, node.function, frames, ctx.parameters_of(node)), schema)


def chunked(tx: View, node: Node, source: str) -> Iterator[pa.Table]:
    """Yield the input in chunks; for a step per group each holds whole groups, in the order of the key."""
    import pyarrow as pa

    if node.per == "row":
        for batch in tx.reader(source):
            for start in range(0, batch.num_rows, CHUNK_ROWS):
                yield pa.Table.from_batches([batch.slice(start, CHUNK_ROWS)])
        return
    table = tx.reader(source).read_all().sort_by([(name, "ascending") for name in node.key])
    yield from whole_groups(table, node.key)


def whole_groups(table: pa.Table, key: Sequence[str]) -> Iterator[pa.Table]:
    """Yield a table in chunks; rows of equal key, which lie together, are never parted. No key parts anywhere."""
    start = 0
    while start < table.num_rows:
        end = min(start + CHUNK_ROWS, table.num_rows)
        while key and end < table.num_rows and _same_group(table, key, end):
            end += 1
        yield table.slice(start, end - start)
        start = end


def _same_group(table: pa.Table, key: Sequence[str], row: int) -> bool:
    return all(table[name][row].as_py() == table[name][row - 1].as_py() for name in key)


def _staged_by_pool(ctx: Context, tx: Transaction, node: Node, schema: pa.Schema, rows: int) -> Staged:
    """Run the step on worker processes; answers come in order, so that the result does not depend on timing."""
    import pyarrow as pa

    from gristmill.engines.local import Pool
    from gristmill.run.worker import Answer, Task, raise_answer

    with tempfile.TemporaryDirectory(prefix="gristmill-step-") as folder:

        def messages() -> Iterator[bytes]:
            for number, chunk in enumerate(chunked(tx, node, node.reads[0])):
                path = Path(folder) / f"{number}.in"
                with pa.OSFile(os.fspath(path), "wb") as out, pa.ipc.new_file(out, chunk.schema) as writer:
                    writer.write_table(chunk)
                output = os.fspath(path.with_suffix(".out"))
                task = Task(node.name, (os.fspath(path),), output, ctx.parameters_of(node))
                yield msgspec.msgpack.encode(task)

        def batches(pool: Pool) -> Iterator[pa.RecordBatch]:
            done = 0
            for number, reply in enumerate(pool.map(messages())):
                answer = msgspec.msgpack.decode(reply, type=Answer)
                raise_answer(answer)
                if ctx.taken is not None:
                    ctx.taken.worked(answer.worker, answer.peak_bytes)
                path = Path(folder) / f"{number}.out"
                with pa.OSFile(os.fspath(path), "rb") as source:
                    made = pa.ipc.open_file(source).read_all()
                path.unlink()
                path.with_suffix(".in").unlink()
                done += made.num_rows
                ctx.listener(Progress(name=node.name, rows=done, bytes=done, total_bytes=rows))
                yield from made.to_batches()

        with Pool("gristmill.run.worker", [os.fspath(ctx.root)], workers=ctx.workers) as pool:
            return tx.stage(node.name, pa.RecordBatchReader.from_batches(schema, batches(pool)))


def try_grain(ctx: Context, node: Node, rows: pa.RecordBatchReader, schema: pa.Schema) -> None:
    """Call a step on a sample at once, split, and in another order: the rows must be the same.

    Raises DefinitionError where they are not, so that the step is not per row (or per group) as it says.
    """
    import pyarrow as pa

    missing = [name for name in node.key if name not in rows.schema.names]
    if node.per == "group" and (missing or not node.key):
        raise DefinitionError(
            f"`{node.name}` is per group, but its input has no {', '.join(missing) or 'key'}",
            code="GM-P023",
            where=str(node.place),
            hint="the groups are the rows of equal key; give `key=` and read a table that has it",
        )
    sample = pa.Table.from_batches(list(_first(rows)), rows.schema)
    if sample.num_rows < 2:
        return
    whole = _multiset(ctx, called(ctx, node, [as_frame(sample, node.rows)], schema))
    for order in _cuts(node, sample):
        parts = [called(ctx, node, [as_frame(part, node.rows)], schema) for part in order if part.num_rows]
        if _multiset(ctx, pa.concat_tables(parts)) != whole:
            raise DefinitionError(
                f"`{node.name}` says that it is per {node.per}, but gives other rows when its input is split",
                code="GM-P024",
                where=str(node.place),
                hint='write per="table", or let the function look at one row (or group) at a time',
            )


def _first(rows: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    left = _SAMPLE_ROWS
    for batch in rows:
        yield batch.slice(0, left)
        left -= batch.num_rows
        if left <= 0:
            return


def _cuts(node: Node, sample: pa.Table) -> list[list[pa.Table]]:
    """Return ways to cut a sample: rows in halves and backwards, or groups one by one and backwards."""
    backwards = sample.take(list(range(sample.num_rows - 1, -1, -1)))
    if node.per == "row":
        half = sample.num_rows // 2
        return [[sample.slice(0, half), sample.slice(half)], [backwards]]
    groups: dict[tuple[object, ...], list[int]] = {}
    for position, values in enumerate(zip(*(sample[name].to_pylist() for name in node.key), strict=True)):
        groups.setdefault(values, []).append(position)
    return [[sample.take(positions) for positions in groups.values()], [backwards]]


def _multiset(ctx: Context, table: pa.Table) -> list[tuple[object, ...]]:
    """Return the rows as texts with their counts, sorted; as texts because NaN equals nothing in Python."""
    connection = ctx.kernel.connection
    connection.register("_gristmill_sample", table)
    try:
        texts = ", ".join(f"{quote(name)}::VARCHAR" for name in table.schema.names)
        sql = f"SELECT {texts}, count(*) FROM _gristmill_sample GROUP BY ALL ORDER BY ALL"
        return list(connection.execute(sql).fetchall())
    finally:
        connection.unregister("_gristmill_sample")
