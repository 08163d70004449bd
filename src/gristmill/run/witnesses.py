"""What a trace needs to know of a derived table, kept with it so that no project code has to be loaded.

For each input: SQL that names the input's rows behind each row of the table, by kind of influence. For each column:
the columns that it comes from. The document stands beside the derivation and belongs to the same state of the table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.contracts.kinds import quote
from gristmill.define import Node
from gristmill.run.compiling import Compiled
from gristmill.run.context import Context

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.algebra import Witness
    from gristmill.store import View

_SAMPLE_ROWS = 64
Kind = Literal["direct", "frame", "global", "whole"]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One way in which rows of an input reach the table.

    Args:
        kind: the kind of influence, as in `gristmill.algebra.Witness`.
        sql: yields the identifying columns of the table's rows and ``_row_id`` of the input's; reads the input as
            ``NAME#rows``. None where the influence is no list.
        needed: whether the rows must be there to compute the table's row again.
        why: in words, what makes the rows count.
    """

    kind: Kind
    sql: str | None = None
    needed: bool = True
    why: str = ""


class ColumnSources(msgspec.Struct, frozen=True):
    """The (table, column) pairs that a column's values come from, and those that only decide about it."""

    value: tuple[tuple[str, str], ...] = ()
    influence: tuple[tuple[str, str], ...] = ()


class Witnesses(msgspec.Struct, frozen=True, kw_only=True):
    """How a derived table or model hangs on its inputs.

    Args:
        kind: the kind of definition.
        identity: columns that identify a row of the table: its key, or all.
        inputs: the ways by input table, in the order in which the definition reads them.
        columns: column lineage; empty where it is not known.
        model: the model that predictions use.
    """

    kind: str
    identity: tuple[str, ...]
    inputs: dict[str, tuple[Way, ...]]
    columns: dict[str, ColumnSources] = {}
    model: str | None = None


def witnesses_path(name: str) -> str:
    """Return where a node's witnesses stand in a commit."""
    return f"lineage/{name}.json"


def load_witnesses(snapshot: View, name: str) -> Witnesses | None:
    """Return how a table hangs on its inputs at a commit, or None where it is not derived."""
    data = snapshot.document(witnesses_path(name))
    return msgspec.json.decode(data, type=Witnesses) if data else None


def dump_witnesses(ctx: Context, view: View, compiled: Compiled, schemas: Mapping[str, pa.Schema]) -> bytes:
    """Return the bytes to keep for a compiled node.

    Args:
        ctx: the run.
        view: where its inputs stand.
        compiled: the node.
        schemas: its inputs' schemas.
    """
    return msgspec.json.encode(_witnesses(ctx, view, compiled, schemas), order="deterministic")


def _witnesses(ctx: Context, view: View, compiled: Compiled, schemas: Mapping[str, pa.Schema]) -> Witnesses:
    node = compiled.node
    if compiled.sql is not None:
        translated = _of_expression(ctx, compiled) if compiled.expression is not None else None
        if translated is not None and _names_rows(translated):
            return translated
        found = _of_sql(ctx, compiled, schemas)
        return found if translated is None or _names_rows(found) else translated
    if compiled.expression is not None:
        return _of_expression(ctx, compiled)
    if node.kind == "history":
        why = "a row of a history is a row of the table as it stood then"
        return Witnesses(kind=node.kind, identity=node.key, inputs={node.reads[0]: (Way(kind="whole", why=why),)})
    if node.kind == "predictions":
        row = Way(kind="direct", why="the prediction is for this row")
        return Witnesses(kind=node.kind, identity=node.key, inputs={node.reads[0]: (row,)}, model=node.model)
    if node.kind == "model":
        held = {node.held: (Way(kind="global", why="it is judged on all rows"),)} if node.held else {}
        return Witnesses(
            kind=node.kind,
            identity=(),
            inputs={**{name: (Way(kind="global", why="it is trained on all rows"),) for name in node.reads}, **held},
        )
    return _of_step(ctx, view, node)


def _names_rows(found: Witnesses) -> bool:
    """Whether rows of every input can be named, and none is read whole."""
    return all(way.kind != "whole" for ways in found.inputs.values() for way in ways)


def _of_expression(ctx: Context, compiled: Compiled) -> Witnesses:
    from gristmill import algebra

    node, made = compiled.node, compiled.expression
    assert made is not None
    try:
        found = algebra.witness(made, key=node.key)
        inputs = {name: tuple(_way(ctx, way) for way in ways) for name, ways in found.items()}
    except Exception as error:  # a trace is less than a run: what has no witness is said, and nothing fails
        why = f"no rows can be named: {type(error).__name__}"
        inputs = {name: (Way(kind="whole", why=why),) for name in node.reads}
    columns = {
        name: ColumnSources(tuple(sorted(origins.value)), tuple(sorted(origins.influence)))
        for name, origins in algebra.column_lineage(made).items()
    }
    ordered = {name: inputs[name] for name in node.reads if name in inputs}
    return Witnesses(kind=node.kind, identity=node.key or tuple(made.columns), inputs=ordered, columns=columns)


def _way(ctx: Context, way: Witness) -> Way:
    from gristmill.engines.kernel.compiler import compile_sql

    sql = None if way.expr is None else compile_sql(way.expr, run_time_us=ctx.run_time_us)
    return Way(kind=way.kind, sql=sql, needed=way.needed, why=way.why)


def _of_sql(ctx: Context, compiled: Compiled, schemas: Mapping[str, pa.Schema]) -> Witnesses:
    from gristmill.engines.kernel.sql_witness import sql_columns, sql_witness

    node, sql = compiled.node, compiled.sql
    assert sql is not None
    plain = {name: schemas[name].names for name in node.reads}
    identity, found = sql_witness(sql, plain, key=node.key)
    inputs: dict[str, tuple[Way, ...]] = {}
    for name, (text, why) in found.items():
        if text is not None and not _binds(ctx, text, schemas):
            text, why = None, "no rows can be named: the inverted SQL does not fit the tables"
        inputs[name] = (Way(kind="whole" if text is None else "direct", sql=text, why=why),)
    columns = {name: ColumnSources(value) for name, value in sql_columns(sql, plain).items()}
    return Witnesses(kind=node.kind, identity=identity, inputs=inputs, columns=columns)


def _binds(ctx: Context, text: str, schemas: Mapping[str, pa.Schema]) -> bool:
    """Whether SQL fits the tables that it reads."""
    import duckdb
    import pyarrow as pa

    cursor = ctx.kernel.connection.cursor()
    try:
        for name, schema in schemas.items():
            cursor.register(name, schema.empty_table())
            cursor.register(rows_name(name), schema.append(pa.field("_row_id", pa.int64())).empty_table())
        cursor.execute(f"SELECT * FROM ({text}) LIMIT 0")
    except duckdb.Error:
        return False
    finally:
        cursor.close()
    return True


def rows_name(table: str) -> str:
    """Return the name under which witnesses read a table with its row ids."""
    return f"{table}#rows"


def _of_step(ctx: Context, view: View, node: Node) -> Witnesses:
    way = _step_way(ctx, view, node)
    identity = node.key or tuple(node.schema or ())
    return Witnesses(kind=node.kind, identity=identity, inputs=dict.fromkeys(node.reads, (way,)))


def _step_way(ctx: Context, view: View, node: Node) -> Way:
    """Return how a Python step's rows hang on its input: by a key that both have, if it says that rows are apart."""
    if node.per == "table":
        return Way(kind="whole", why="a Python step sees the whole table")
    if len(node.reads) != 1 or not node.key or not set(node.key) <= set(view.schema_of(node.reads[0]).to_arrow().names):
        return Way(kind="whole", why=f'the step says per="{node.per}", but its rows and those it reads share no key')
    if not _keeps_keys(ctx, view, node):
        return Way(kind="whole", why=f'the step says per="{node.per}", but gives rows keys that it did not read')
    keys, rows = ", ".join(quote(name) for name in node.key), quote(rows_name(node.reads[0]))
    why = f'the same key: assumed, as the step says per="{node.per}"'
    return Way(kind="direct", sql=f"SELECT {keys}, _row_id FROM {rows}", why=why)


def _keeps_keys(ctx: Context, view: View, node: Node) -> bool:
    """Whether a step that is given half of the keys of a sample gives no others; this can refute, not prove."""
    import pyarrow as pa

    from gristmill.run.compiling import declared_schema
    from gristmill.run.frames import as_arrow, as_frame, call

    schema = declared_schema(node)
    assert schema is not None
    assert node.function is not None
    plan = view.preview(node.reads[0], rows=_SAMPLE_ROWS)
    keys = [tuple(row.values()) for row in plan.select(list(node.key)).to_pylist()]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    for half in (0, 1):
        part = plan.filter(pa.array([order[key] % 2 == half for key in keys], pa.bool_()))
        if not part.num_rows:
            continue
        made = as_arrow(node, call(node, node.function, [as_frame(part, node.rows)], ctx.parameters_of(node)), schema)
        given = {key for key in order if order[key] % 2 == half}
        if not {tuple(row.values()) for row in made.select(list(node.key)).to_pylist()} <= given:
            return False
    return True
