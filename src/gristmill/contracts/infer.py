"""Write down what a table looks like as a contract to start from; what is only suspected stands in comments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.contracts.scan import types_of
from gristmill.contracts.sqltext import quote, value
from gristmill.contracts.table_kinds import family

if TYPE_CHECKING:
    import duckdb

_FEW = 12
_LOGICAL = {"binary": "string", "map": "object"}

_HEAD = """# Inferred by gristmill from {rows:,} rows. Open Data Contract Standard 3.1.
# What is commented out was only seen so far; take the comment sign away where it must hold.
apiVersion: v3.1.0
kind: DataContract
id: {id}
version: 0.1.0
status: draft
schema:
  - name: {name}
    physicalType: table
    properties:
"""


def infer(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    *,
    table: str,
    key: Sequence[str] = (),
    assumptions: Sequence[str] = (),
) -> str:
    """Return a contract for a table as YAML text.

    Types are stated, and ``required`` for the key. Ranges, small sets of values and columns without a null are
    comments: a first delivery shows what was, not what must be.

    Args:
        connection: where the relation is known.
        relation: name of a table or view, or a SELECT in brackets.
        table: the table's name.
        key: columns that identify a row.
        assumptions: what was assumed to read it, in words.
    """
    types = {name: kind for name, kind in types_of(connection, relation).items() if not name.startswith("_origin_")}
    rows = int(connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])
    text = _HEAD.format(rows=rows, id=_scalar(table.replace(".", "-")), name=_scalar(table))
    text = "".join(f"# assumed: {' '.join(words.split())}\n" for words in assumptions) + text
    for name, kind in types.items():
        text += _column(connection, relation, name, types, kind, rows, key)
    return text


def _column(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    name: str,
    types: Mapping[str, str],
    kind: str,
    rows: int,
    key: Sequence[str],
) -> str:
    logical = family(kind)
    lines = [f"      - name: {_scalar(name)}", f"        logicalType: {_LOGICAL.get(logical, logical)}"]
    if name in key:
        lines += ["        primaryKey: true", f"        primaryKeyPosition: {list(key).index(name) + 1}"]
        lines += ["        required: true"]
    column = value(name, types)
    nulls, distinct = connection.execute(
        f"SELECT count(*) - count({column}), approx_count_distinct({column}) FROM {relation}"
    ).fetchall()[0]
    if name not in key and rows and not nulls:
        lines.append("        # required: true")
    if logical in ("integer", "number") and distinct:
        low, high = connection.execute(f"SELECT min({column}), max({column}) FROM {relation}").fetchall()[0]
        lines += ["        # logicalTypeOptions:", f"        #   minimum: {low}", f"        #   maximum: {high}"]
    elif logical == "string" and 0 < distinct <= _FEW and rows >= 5 * distinct:
        sql = f"SELECT DISTINCT {quote(name)}::VARCHAR FROM {relation} WHERE {quote(name)} IS NOT NULL ORDER BY 1"
        values = [_scalar(row[0]) for row in connection.execute(sql).fetchall()]
        lines += [
            "        # quality:",
            "        #   - metric: invalidValues",
            f"        #     arguments: {{validValues: [{', '.join(values)}]}}",
            "        #     mustBe: 0",
        ]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    """Write a text so that YAML reads it back as that text."""
    import json

    plain = text.replace("_", "a").replace(".", "a").replace("-", "a")
    safe = plain.isascii() and plain.isalnum() and plain[0].isalpha() and text.lower() not in _WORDS
    return text if safe else json.dumps(text)


_WORDS = {"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"}
