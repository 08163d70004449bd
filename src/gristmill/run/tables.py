"""Compute a derived table in full: an Ibis expression or SQL in the kernel, a step in Python."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gristmill.define import Node
from gristmill.errors import DataError, DefinitionError, EngineError, GristmillError
from gristmill.model.findings import Finding
from gristmill.model.rules import Rule
from gristmill.run.checking import Delivery, check_staged, replace_aside
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.profiling import judged, profile

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Staged, Transaction, View


@dataclass(frozen=True, slots=True)
class Computed:
    """What computing a table gave."""

    rows: int
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing forbids publishing."""
        return not any(finding.blocks for finding in self.findings)


def compute_table(ctx: Context, tx: Transaction, compiled: Compiled, rules: Sequence[Rule], run: str) -> Computed:
    """Compute a table from its inputs as they are in ``tx``, check it, and write it there.

    Raises DataError where key or schema do not hold, DefinitionError where user code fails.
    """
    node = compiled.node
    if node.kind == "step":
        from gristmill.run.steps import staged_step

        staged = staged_step(ctx, tx, node)
    else:
        staged = _staged_query(ctx, tx, compiled)
    read = max((tx.table(name).row_count for name in node.reads), default=0)
    odd = tuple(judged(ctx, tx, node, profile(ctx, staged, read=read)))
    checked = check_staged(ctx, tx, node, staged, rules=rules, run=run, delivery=Delivery(found=odd))
    tx.replace(node.name, checked.staged)
    replace_aside(tx, node.name, checked.aside)
    return Computed(checked.staged.row_count, checked.findings)


def register_inputs(ctx: Context, tx: Transaction, node: Node) -> None:
    """Make every input table known to the kernel under its own name."""
    from gristmill.store import compute

    for name in node.reads:
        compute.register(ctx.kernel.connection, name, tx.scan(name))


def _staged_query(ctx: Context, tx: Transaction, compiled: Compiled) -> Staged:
    from gristmill.algebra import arrow_schema
    from gristmill.store import SqlSource

    node = compiled.node
    register_inputs(ctx, tx, node)
    if compiled.expression is not None:
        sql = ctx.kernel.sql(compiled.expression, run_time_us=ctx.run_time_us)
        schema = arrow_schema(compiled.expression.schema())
    else:
        sql = compiled.sql or ""
        schema = ctx.kernel.schema(sql)
    prepare(tx, node, schema)
    if node.cluster_by:
        order = ", ".join(f'"{name}"' for name in node.cluster_by)
        sql = f"SELECT * FROM ({sql}) ORDER BY {order}"
    try:
        return tx.stage(node.name, SqlSource(ctx.kernel.connection, sql))
    except GristmillError as error:
        error.where = error.where or f"{node.name} ({node.place})"
        raise
    except Exception as error:
        raise EngineError(
            f"`{node.name}` could not be computed: {str(error).splitlines()[0]}",
            code="GM-E020",
            where=str(node.place),
            hint=f"`gristmill preview {node.name}` computes a few rows",
        ) from error


def prepare(tx: Transaction, node: Node, schema: pa.Schema) -> None:
    """Create the table, or bring its schema and key in line with the definition."""
    from gristmill.model.changes import SetKey

    if node.name not in tx:
        properties = {"kind": "derived"}
        tx.create_table(node.name, schema, key=node.key, cluster_by=node.cluster_by, properties=properties)
    else:
        tx.evolve(node.name, schema, replace=True)
        if tx.table(node.name).key != node.key:
            tx.alter(node.name, SetKey(node.key))


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

    table = to_table(result)
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
