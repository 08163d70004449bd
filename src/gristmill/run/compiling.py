"""Bring a definition to the point where it can run, and say what it is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.define import Node, code_state
from gristmill.define.expressions import expression
from gristmill.errors import GristmillError
from gristmill.run.context import Context, Expression
from gristmill.run.derivation import Derivation, declared_environment, declared_files, input_tokens, load_derivation
from gristmill.run.grids import grids_of
from gristmill.run.rules import checks_digest

if TYPE_CHECKING:
    import ibis
    import pyarrow as pa

    from gristmill.algebra.sums import Grids
    from gristmill.store import View

Schemas = Mapping[str, "pa.Schema"]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A node ready to run.

    Args:
        node: the node.
        derivation: what it is made from.
        expression: the definition in normal form, where it is an Ibis expression.
        sql: the definition under our semantics, where it is SQL.
        written: the Ibis expression as the user wrote it, or as SQL was translated; in normal form where sums count
            steps of a grid.
        in_full: why a definition in SQL follows no changes.
    """

    node: Node
    derivation: Derivation
    expression: ibis.Table | None = None
    sql: str | None = None
    written: ibis.Table | None = None
    in_full: str = ""


def compile_node(ctx: Context, node: Node, snapshot: View, schemas: Schemas) -> Compiled:
    """Compile a derived node against the inputs as they are in ``snapshot``.

    Args:
        ctx: the run.
        node: any node but a source.
        snapshot: where the inputs' ``changed`` tokens are read.
        schemas: the inputs' schemas by name, hidden columns left out.

    Raises DefinitionError with the user's file and line.
    """
    if node.kind == "table":
        return _table(ctx, node, snapshot, schemas)
    if node.kind == "sql":
        return _sql(ctx, node, snapshot, schemas)
    if node.kind == "history":
        return Compiled(node, _history(ctx, node, snapshot, schemas))
    return Compiled(node, _function(ctx, node, snapshot))


def _table(ctx: Context, node: Node, snapshot: View, schemas: Schemas) -> Compiled:
    grids = grids_of(ctx, node, snapshot)
    key = (node.name, repr(([(name, str(schemas[name])) for name in node.reads], sorted(grids.items()))))
    made = ctx.expressions.get(key)
    if made is None:
        made = ctx.expressions[key] = _expression(ctx, node, schemas, grids)
    derivation = _common(ctx, node, snapshot, made.fingerprint, input_tokens(snapshot, made.reads))
    if made.uses_run_time:
        derivation = msgspec.structs.replace(derivation, run_time_us=ctx.run_time_us)
    return Compiled(node, derivation, expression=made.normal, written=made.written)


def _expression(ctx: Context, node: Node, schemas: Schemas, grids: Grids) -> Expression:
    from gristmill import algebra

    written = expression(node, schemas, parameters=ctx.parameters_of(node), root=ctx.root)
    try:
        normal = algebra.normalise(written, grids=grids)
        return Expression(
            written=normal if grids else written,
            fingerprint=algebra.fingerprint(normal),
            reads=dict(algebra.reads(written)),
            uses_run_time=algebra.uses_run_time(written),
            normal=normal,
        )
    except GristmillError as error:
        error.where = error.where or str(node.place)
        raise


def _sql(ctx: Context, node: Node, snapshot: View, schemas: Schemas) -> Compiled:
    assert node.sql is not None
    types = {name: schemas[name] for name in node.reads}
    try:
        checked = ctx.kernel.check_sql(node.sql, types)
    except GristmillError as error:
        error.where = error.where or str(node.place)
        raise
    if checked.expression is None:
        typed = repr([(name, [(field.name, str(field.type)) for field in types[name]]) for name in node.reads])
        tokens = input_tokens(snapshot, dict.fromkeys(node.reads))
        derivation = _common(ctx, node, snapshot, _digest(checked.sql + typed), tokens)
        return Compiled(node, derivation, sql=checked.sql, in_full=checked.in_full)
    from gristmill import algebra

    normal = algebra.normalise(checked.expression)
    tokens = input_tokens(snapshot, dict(algebra.reads(checked.expression)))
    derivation = _common(ctx, node, snapshot, algebra.fingerprint(normal), tokens)
    return Compiled(node, derivation, expression=normal, sql=checked.sql, written=checked.expression)


def _history(ctx: Context, node: Node, snapshot: View, schemas: Schemas) -> Derivation:
    from gristmill.run.history import VERSIONS, check_history, versions_digest

    check_history(node, schemas[node.reads[0]])
    made = _common(ctx, node, snapshot, "history", input_tokens(snapshot, dict.fromkeys(node.reads)))
    digest, new = versions_digest(ctx, node, snapshot)
    time_us = new.versions[-1].time_us if new.versions else 0
    if not new.versions and (before := load_derivation(snapshot, node.name)) is not None:
        time_us = before.run_time_us or 0
    return msgspec.structs.replace(made, files={VERSIONS: digest}, run_time_us=time_us, through=new.through)


def _function(ctx: Context, node: Node, snapshot: View) -> Derivation:
    assert node.function is not None
    tables: dict[str, tuple[str, ...] | None] = {name: None for name in node.inputs if name != node.model}
    settings = _digest(msgspec.json.encode([node.schema, node.per, node.key, node.rows]).decode())
    derivation = _common(ctx, node, snapshot, settings, input_tokens(snapshot, tables))
    files = dict(derivation.files)
    if node.model:
        files[node.model] = snapshot.files(node.model).id if node.model in snapshot.file_trees() else "absent"
    return msgspec.structs.replace(derivation, code=code_state(node.function, ctx.root, known=ctx.code), files=files)


def _common(ctx: Context, node: Node, snapshot: View, definition: str, inputs: dict[str, dict[str, str]]) -> Derivation:
    return Derivation(
        definition=_digest(f"{definition} {node.key} {node.cluster_by}" + "".join(f" {t}" for t in node.partition_by)),
        inputs=inputs,
        parameters={name: repr(value) for name, value in ctx.parameters_of(node).items()},
        environment=declared_environment(node),
        files=declared_files(node, ctx.root),
        checks=checks_digest(ctx, node, snapshot),
        text=node.sql or node.place.text,
        place=str(node.place),
        states={name: snapshot.table(name).id for name in node.reads if name in snapshot},
    )


def _digest(text: str) -> str:
    return blake3.blake3(text.encode()).hexdigest()


def sql_of(ctx: Context, compiled: Compiled) -> str:
    """Return the SQL that gives all rows of an Ibis or SQL definition from its registered inputs."""
    if compiled.expression is not None:
        return ctx.kernel.sql(compiled.expression, run_time_us=ctx.run_time_us)
    assert compiled.sql is not None
    return compiled.sql


def output_schema(ctx: Context, compiled: Compiled, schemas: Schemas) -> pa.Schema | None:
    """Return the schema that a table, step or SQL definition will have in the store; None where only a run can tell.

    Columns of the key require a value.
    """
    import pyarrow as pa

    from gristmill.algebra import arrow_schema

    node = compiled.node
    if compiled.expression is not None:
        made = arrow_schema(compiled.expression.schema())
    elif node.kind == "history":
        from gristmill.run.history import history_schema

        made = history_schema(schemas[node.reads[0]])
    elif compiled.sql is not None:
        made = ctx.kernel.check_sql(node.sql or "", {name: schemas[name] for name in node.reads}).schema
    else:
        declared = declared_schema(node)
        if declared is None:
            return None
        made = declared
    return pa.schema([field.with_nullable(False) if field.name in node.key else field for field in made])


def declared_schema(node: Node) -> pa.Schema | None:
    """Return the Arrow schema that a step declares in words, such as ``{"id": "int64"}``."""
    return None if node.schema is None else _declared(tuple(node.schema.items()))


@lru_cache(maxsize=1024)
def _declared(columns: tuple[tuple[str, str], ...]) -> pa.Schema:
    import ibis

    from gristmill.algebra import arrow_schema

    return arrow_schema(ibis.schema(dict(columns)))
