"""Between tables and user code: rows as the frame a function wants, its result as Arrow, its errors at their line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.errors import DataError, DefinitionError, GristmillError

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import View


def read_input(tx: View, name: str, *, row_ids: bool = False) -> pa.Table:
    """Read a whole table for user code, in the order of its key, else of its row ids.

    Functions may depend on the order of rows, as most training does; so it must not depend on threads or files.
    """
    table = tx.reader(name, row_ids=True).read_all()
    order = tx.table(name).key or ("_row_id",)
    table = table.sort_by([(column, "ascending") for column in order])
    return table if row_ids else table.drop_columns(["_row_id"])


def as_frame(table: pa.Table, rows: str) -> object:
    """Return an Arrow table as the kind of frame that a function is annotated with."""
    if rows == "pandas":
        return table.to_pandas()
    if rows == "polars":
        import polars

        return polars.from_arrow(table)
    if rows == "batch":
        return table.combine_chunks().to_batches()[0] if table.num_rows else _empty_batch(table)
    return table


def _empty_batch(table: pa.Table) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], table.schema)


def call(
    node: Node, function: Callable[..., object], arguments: Sequence[object], keywords: dict[str, object]
) -> object:
    """Call user code; what it raises becomes a DefinitionError that points at its line."""
    from gristmill.define.load import user_place

    try:
        return function(*arguments, **keywords)
    except GristmillError:
        raise
    except Exception as error:
        raise DefinitionError(
            f"`{node.name}` failed: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}",
            code="GM-P015",
            where=user_place(error, node.place),
            hint=f"`gristmill preview {node.name}` calls it on a few rows",
        ) from error


def as_arrow(node: Node, result: object, schema: pa.Schema) -> pa.Table:
    """Return what a step gave as an Arrow table of the declared schema.

    Raises DataError where a column is missing, unknown, or does not fit its type without loss.
    """
    import pyarrow as pa

    try:
        table = to_table(result)
    except DataError as error:
        raise DefinitionError(
            f"`{node.name}` returned {type(result).__name__}, not rows",
            code="GM-P013",
            where=str(node.place),
            hint="return Arrow, Polars or pandas",
        ) from error
    missing = [name for name in schema.names if name not in table.schema.names]
    extra = [name for name in table.schema.names if name not in schema.names]
    if missing or extra:
        raise DataError(
            f"`{node.name}` gave other columns than it declares: "
            + "; ".join(
                f"{words} {', '.join(names)}" for words, names in (("missing", missing), ("unknown", extra)) if names
            ),
            code="GM-D012",
            where=str(node.place),
        )
    try:
        return pa.table({field.name: table[field.name].cast(field.type) for field in schema}, schema=schema)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(
            f"`{node.name}` gave values that do not fit its schema: {error}", code="GM-D013", where=str(node.place)
        ) from error


def to_table(result: object) -> pa.Table:
    """Return an Arrow, Polars or pandas frame as an Arrow table; DataError for anything else."""
    import pyarrow as pa

    if isinstance(result, pa.Table):
        return result
    if isinstance(result, pa.RecordBatch):
        return pa.Table.from_batches([result])
    if type(result).__module__.split(".")[0] == "pandas":
        return pa.Table.from_pandas(result, preserve_index=False)
    if hasattr(result, "__arrow_c_stream__"):
        return pa.table(result)
    raise DataError(f"a {type(result).__name__} is not a table", code="GM-D014", hint="return Arrow, Polars or pandas")
