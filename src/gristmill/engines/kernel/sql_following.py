"""Whether a checked SQL definition can follow changes: its translation, held against the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.engines.kernel.sql_text import SqlDefinition, Typed, rewritten
from gristmill.errors import DefinitionError

if TYPE_CHECKING:
    import duckdb
    import ibis.expr.datatypes as dt
    import pyarrow as pa
    import sqlglot.expressions as sge


def following(
    made: SqlDefinition, typed: Typed | None, tables: Mapping[str, pa.Schema], cursor: duckdb.DuckDBPyConnection
) -> SqlDefinition:
    """Return the definition with its expression, or with the reason why it has none.

    Args:
        made: what was checked.
        typed: its query; None where types could not be told.
        tables: the schemas of the inputs.
        cursor: where the inputs stand, without rows.
    """
    from gristmill.algebra import input_table, normalise
    from gristmill.engines.kernel.compiler import compile_sql
    from gristmill.engines.kernel.sql_relations import as_relation
    from gristmill.engines.kernel.sql_values import InFull

    if typed is None:
        return msgspec.structs.replace(made, in_full="types in it could not be told")
    try:
        inputs = {holder: input_table(name, tables[name]).op() for holder, name in typed.holders.items()}
        found = as_relation(typed.tree, inputs, types=_Types(cursor), rewritten=_semantics).to_expr()
        text = compile_sql(normalise(found))
        schema = cursor.sql(f"SELECT * FROM ({text}) LIMIT 0").to_arrow_table().schema
    except (InFull, DefinitionError) as error:
        return msgspec.structs.replace(made, in_full=str(error).splitlines()[0])
    if [(field.name, field.type) for field in schema] != [(field.name, field.type) for field in made.schema]:
        return msgspec.structs.replace(made, in_full="its columns have types that relations do not keep")
    return msgspec.structs.replace(made, expression=found)


def _semantics(node: sge.Expression) -> sge.Expression:
    return rewritten(node, [])


class _Types:
    """The types of texts, as the engine tells them."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._known: dict[tuple[str, tuple[dt.DataType, ...]], dt.DataType] = {}

    def __call__(self, text: str, kinds: Sequence[dt.DataType]) -> dt.DataType:
        import duckdb

        from gristmill.algebra.arrow import from_arrow
        from gristmill.algebra.scalars import sql_type
        from gristmill.engines.kernel.sql_values import InFull

        key = (text, tuple(kinds))
        if key not in self._known:
            columns = ", ".join(f"CAST(NULL AS {sql_type(kind)}) AS gm_arg_{i}_" for i, kind in enumerate(kinds))
            rows = f"SELECT {columns or '1 AS one'}"
            try:
                made = self._cursor.sql(f"SELECT {text} AS made FROM ({rows}) LIMIT 0").to_arrow_table()
            except duckdb.Error as error:
                raise InFull(f"`{text}` cannot be told apart: {str(error).splitlines()[0]}") from error
            self._known[key] = from_arrow(made.schema.field(0).type)
        return self._known[key]
