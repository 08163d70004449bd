"""Row and column lineage of SQL definitions, as far as their text tells it for certain.

One SELECT over plain tables, with joins, conditions and groups, is inverted; whatever else there is (a WITH, a
subquery, a set operation, DISTINCT, LIMIT, a window) makes the whole table the answer, never a wrong list.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlglot as sg
import sqlglot.expressions as sge
from sqlglot.errors import SqlglotError
from sqlglot.lineage import lineage
from sqlglot.optimizer.qualify import qualify

_ROW_ID = "_row_id"
_ODD = {
    sge.Subquery: "a subquery",
    sge.SetOperation: "a set operation",
    sge.With: "a WITH",
    sge.Window: "a window",
    sge.Exists: "a subquery",
    sge.Unnest: "an unnest",
    sge.Lateral: "a lateral join",
    sge.TableSample: "a sample",
    sge.Pivot: "a pivot",
}
_ODD_PARTS = {"limit": "a LIMIT", "offset": "an OFFSET", "distinct": "a DISTINCT", "qualify": "a QUALIFY"}

Ways = dict[str, tuple[str | None, str]]


def sql_witness(
    sql: str, tables: Mapping[str, Sequence[str]], *, key: Sequence[str] = ()
) -> tuple[tuple[str, ...], Ways]:
    """Return what identifies a row of the result, and per input the SQL that names its rows, or why there is none.

    Args:
        sql: one checked SELECT, its inputs quoted whole.
        tables: the columns of each input.
        key: columns that identify a row of the result; all where there is no key.
    """
    tree = sg.parse_one(sql, dialect="duckdb")
    identity = tuple(key) or tuple(tree.named_selects)
    odd = _odd(tree)
    if odd or not isinstance(tree, sge.Select):
        return identity, dict.fromkeys(tables, (None, f"the SQL has {odd or 'no single SELECT'}"))
    outputs = {select.alias_or_name: select.unalias() for select in tree.selects}
    groups, why = _groups(tree, outputs, identity)
    if why:
        return identity, dict.fromkeys(tables, (None, why))
    if not groups and any(select.find(sge.AggFunc) for select in tree.selects):
        return identity, dict.fromkeys(tables, (None, "it is computed from all rows"))
    return identity, {name: _inverted(tree, name, {column: outputs[column] for column in identity}) for name in tables}


def _odd(tree: sge.Expression) -> str:
    for kind, words in _ODD.items():
        if tree.find(kind):
            return words
    if tree.find(sge.In) and any(part.args.get("query") for part in tree.find_all(sge.In)):
        return "a subquery"
    for part, words in _ODD_PARTS.items():
        if tree.args.get(part):
            return words
    for join in tree.find_all(sge.Join):
        if str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI") or join.args.get("method"):
            return f"a {join.args.get('kind') or join.args.get('method')} join"
    return "a star" if any(select.is_star for select in getattr(tree, "selects", ())) else ""


def _groups(
    tree: sge.Select, outputs: Mapping[str, sge.Expression], identity: Sequence[str]
) -> tuple[list[sge.Expression], str]:
    """Return the group keys, and why rows cannot be told by what identifies a row of the result."""
    group = tree.args.get("group")
    if group is None:
        return [], ""
    if any(group.args.get(part) for part in ("grouping_sets", "rollup", "cube", "all")):
        return [], "the SQL groups in several ways"
    by_number = list(outputs.values())
    keys = []
    for key in group.expressions:
        number = key.is_int and int(key.this)
        named = outputs.get(key.name) if isinstance(key, sge.Column) and not key.table else None
        keys.append(by_number[number - 1] if number else named if named is not None else key)
    for name in identity:
        if outputs[name] not in keys:
            return keys, f"`{name}` identifies a row, but the SQL does not group by it"
    return keys, ""


def _inverted(tree: sge.Select, name: str, identity: Mapping[str, sge.Expression]) -> tuple[str | None, str]:
    """Return the SELECT without its groups, with the row ids of one input."""
    places = [table for table in tree.find_all(sge.Table) if table.name == name]
    if len(places) != 1:
        return None, f"the SQL reads it {len(places)} times"
    new = tree.copy()
    for part in ("group", "having", "order"):
        new.set(part, None)
    (place,) = (table for table in new.find_all(sge.Table) if table.name == name)
    alias = place.alias_or_name
    place.set("this", sge.to_identifier(f"{name}#rows", quoted=True))
    if not place.alias:
        place.set("alias", sge.TableAlias(this=sge.to_identifier(alias, quoted=True)))
    row = sge.column(_ROW_ID, table=alias, quoted=True)
    selects = [sge.alias_(value.copy(), column, quoted=True) for column, value in identity.items()]
    new.set("expressions", [*selects, sge.alias_(row, _ROW_ID, quoted=True)])
    inner = new.sql(dialect="duckdb")
    return f"SELECT * FROM ({inner}) WHERE {_ROW_ID} IS NOT NULL", "its values come from these rows"


def sql_columns(sql: str, tables: Mapping[str, Sequence[str]]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the (table, column) pairs that each column's values come from; nothing where the text does not tell.

    Columns that only decide (conditions, groups, orders) are not told apart by text and not listed.
    """
    holders = {f"gm_input_{i}": name for i, name in enumerate(tables)}
    numbers = {name: holder for holder, name in holders.items()}
    tree = sg.parse_one(sql, dialect="duckdb")
    for table in tree.find_all(sge.Table):
        if table.name in numbers:
            if not table.alias:
                table.set("alias", sge.TableAlias(this=sge.to_identifier(table.name, quoted=True)))
            table.set("this", sge.to_identifier(numbers[table.name], quoted=True))
    schema = {holder: dict.fromkeys(tables[name], "unknown") for holder, name in holders.items()}
    try:
        text = qualify(tree, schema=schema, dialect="duckdb").sql(dialect="duckdb")
        return {name: _sources(name, text, schema, holders) for name in tree.named_selects}
    except SqlglotError:
        return {}


def _sources(
    column: str, text: str, schema: Mapping[str, Mapping[str, str]], holders: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    found = set()
    for node in lineage(f'"{column}"', text, schema=dict(schema), dialect="duckdb").walk():
        if isinstance(node.expression, sge.Table) and node.expression.name in holders:
            found.add((holders[node.expression.name], node.name.rsplit(".", 1)[-1].strip('"')))
    return tuple(sorted(found))
