"""Applying changes of definition to a table's stored state, with the checks that need its rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Conflict, DataError
from gristmill.model import changes as c
from gristmill.model.partitions import UNPARTITIONED, parse_terms
from gristmill.model.schema import Allocate, Schema, all_ids
from gristmill.store.evolve import alter_schema, changes_to, clashing_columns
from gristmill.store.laying import CODEC, CODECS, check_codec
from gristmill.store.objects import SchemaObject, TableObject
from gristmill.store.sqltext import quote
from gristmill.store.tables import first_token, id_runs, key_fields, scan_plan, schema_of, spec_fields, used_ids

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.transaction import Transaction


def altered(tx: Transaction, state: TableObject, change: c.Change) -> TableObject:
    """Return the state after one change of definition."""
    schema = schema_of(tx.pending.get, state.schema)
    if isinstance(change, c.SetPartitioning):
        return partitioned(tx, state, schema, change.terms)
    if isinstance(change, c.SetProperties):
        check_codec(change.values.get(CODEC) or CODECS[0])
        merged = {**state.properties, **change.values}
        return msgspec.structs.replace(state, properties={k: v for k, v in merged.items() if v is not None})
    if isinstance(change, c.SetKey):
        ids = tuple(schema.field(name).id for name in change.columns)
        fields = tuple(msgspec.structs.replace(f, required=True) if f.id in ids else f for f in schema.fields)
        return msgspec.structs.replace(state, key=ids, schema=tx.pending.put(SchemaObject(Schema(fields))))
    new = alter_schema(schema, change, allocator(tx, state))
    kept = {field.id for field in new.fields}
    gone = [i for i in state.key if i not in kept]
    if gone:
        name = next(f.name for f in schema.fields if f.id in gone)
        raise Conflict(f"`{name}` is part of the key", code="GM-S106", hint="set another key first")
    divided = next((field.source for field in spec_fields(state) if field.source not in kept), None)
    if divided is not None:
        name = next(f.name for f in schema.fields if f.id == divided)
        raise Conflict(f"files are divided by `{name}`", code="GM-S106", hint="set another partitioning first")
    tokens = {f.id: state.tokens[f.id] if f.id in state.tokens else first_token(state.uuid, f.id) for f in new.fields}
    return msgspec.structs.replace(
        state,
        schema=tx.pending.put(SchemaObject(new)),
        tokens=tokens,
        cluster_by=tuple(i for i in state.cluster_by if i in kept),
        used=id_runs({*used_ids(state), *all_ids(new.fields)}),
    )


def partitioned(tx: Transaction, state: TableObject, schema: Schema, terms: Sequence[str]) -> TableObject:
    """Return the state whose new files are divided by these terms."""
    parsed = parse_terms(terms, schema)
    if not parsed:
        return msgspec.structs.replace(state, spec=UNPARTITIONED)
    spec = tx.store.counters.spec(state.uuid, parsed)
    specs = {**{known.id: known for known in state.specs}, spec.id: spec}
    return msgspec.structs.replace(state, spec=spec.id, specs=tuple(specs[number] for number in sorted(specs)))


def allocator(tx: Transaction, state: TableObject) -> Allocate:
    """Return what gives ids to new fields of a table: never one it has had before."""
    used = frozenset(used_ids(state))

    def allocate(parent: int, name: str, type_: str) -> int:
        return tx.store.counters.field_id(state.uuid, parent, name, type_, used)

    return allocate


def evolve_changes(
    tx: Transaction, state: TableObject, wanted: pa.Schema, replace: bool, key: tuple[str, ...] | None
) -> list[c.Change]:
    """Return the changes that make a table's columns and key equal to what is wanted."""
    schema = schema_of(tx.pending.get, state.schema)
    before = tuple(field.name for field in key_fields(tx.pending.get, state))
    clashing = clashing_columns(schema, wanted) if replace else {}
    rekey = key is not None and (key != before or bool(clashing.keys() & set(before)))
    changes = _column_changes(schema, wanted, list(clashing), set(before) if key is None else set(key))
    return [c.SetKey(()), *changes, c.SetKey(key)] if rekey and key is not None else changes


def _column_changes(schema: Schema, wanted: pa.Schema, clashing: list[str], key: set[str]) -> list[c.Change]:
    kept = Schema(tuple(field for field in schema.fields if field.name not in clashing))
    if clashing and not kept.fields:
        first = [c.RenameColumn(name, f"{name}__old") for name in clashing]
        last = [c.DropColumn(f"{name}__old") for name in clashing]
        return [*first, *(c.AddColumn(field.name, field.type) for field in wanted), *last]
    changes = changes_to(kept, wanted)
    optional = [change for change in changes if not (isinstance(change, c.SetRequired) and change.name in key)]
    return [*(c.DropColumn(name) for name in clashing), *optional]


def check_key(tx: Transaction, name: str, state: TableObject) -> None:
    """Refuse a key that the table's rows do not keep."""
    from gristmill.store import compute

    key = key_fields(tx.pending.get, state)
    check_no_nulls(tx, name, state, tuple(field.name for field in key))
    con = compute.connection()
    plan = scan_plan(tx.pending.get, tx.store.path, state, columns_=[field.name for field in key])
    sql = compute.bind(con, compute.scan_sql(plan))
    twice = con.sql(f"SELECT * FROM ({sql}) GROUP BY ALL HAVING count(*) > 1 LIMIT 3").fetchall()
    if twice:
        raise DataError(
            f"rows of `{name}` share a key", code="GM-D214", where=name, examples=[str(row) for row in twice]
        )


def check_no_nulls(tx: Transaction, name: str, state: TableObject, columns: tuple[str, ...]) -> None:
    """Refuse to require values where rows have none."""
    from gristmill.store import compute

    con = compute.connection()
    plan = scan_plan(tx.pending.get, tx.store.path, state)
    sql = compute.bind(con, compute.scan_sql(plan))
    for column in columns:
        rows = con.sql(f"SELECT * FROM ({sql}) WHERE {quote(column)} IS NULL LIMIT 3").fetchall()
        if rows:
            raise DataError(
                f"column `{column}` of `{name}` has nulls",
                code="GM-D211",
                where=name,
                examples=[str(r) for r in rows],
            )
