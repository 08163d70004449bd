"""SQL that stands in a rule: one SELECT or one condition that reads no file and only the tables it may."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from gristmill.errors import DefinitionError, did_you_mean

if TYPE_CHECKING:
    import sqlglot.expressions as sge

THIS = "_gristmill_this_table"
"""The name that stands for the table itself in a query."""

_PLACEHOLDERS = re.compile(r"\$\{(?:table|object|model|schema)\}|\{\{?\s*(?:table|object|model|schema)\s*\}?\}", re.I)
_COLUMN = re.compile(r"\$\{(?:column|property|field)\}|\{\{?\s*(?:column|property|field)\s*\}?\}", re.I)


def fill(sql: str, *, column: str | None = None) -> str:
    """Put the table's stand-in name, and a column's name, where placeholders stand.

    >>> fill("select count(*) from ${table} where ${column} is null", column='"x"')
    'select count(*) from _gristmill_this_table where "x" is null'
    """
    sql = _PLACEHOLDERS.sub(THIS, sql)
    return _COLUMN.sub(lambda _: column, sql) if column is not None else sql


def bind_query(sql: str, relations: Mapping[str, str]) -> str:
    """Return the SELECT with each table replaced by its relation.

    Args:
        sql: one SELECT.
        relations: SQL of each table that it may read, by name; the last part of a dotted name will do.

    Raises DefinitionError where it is something else, reads something else, or calls a function as a table.
    """
    import sqlglot.expressions as sge

    tree = _parsed(fill(sql))
    if not isinstance(tree, sge.Query):
        raise DefinitionError("a SQL rule is exactly one SELECT", code="GM-C016", hint="WITH ... SELECT is fine")
    local = {cte.alias_or_name for cte in tree.find_all(sge.CTE)}
    for table in list(tree.find_all(sge.Table)):
        name = _table_name(table)
        if name in local:
            continue
        relation = _relation(name, relations)
        alias = table.alias or name.split(".")[-1]
        replaced = sge.maybe_parse(f"SELECT * FROM {relation}", dialect="duckdb").subquery(alias)
        if table.args.get("joins"):
            replaced.set("joins", table.args["joins"])
        if table is tree:
            raise DefinitionError("a SQL rule is exactly one SELECT", code="GM-C016")
        table.replace(replaced)
    bound: str = tree.sql(dialect="duckdb")
    return bound


def check_condition(sql: str) -> str:
    """Return a condition as it is, after making sure that it is one, and that it looks at its own row only.

    Raises DefinitionError where it does not parse, or holds a subquery.
    """
    import sqlglot.expressions as sge

    tree = _parsed(f"SELECT 1 FROM t WHERE {sql}")
    where = tree.args.get("where")
    if (
        not isinstance(tree, sge.Select)
        or where is None
        or set(_parts(tree)) - {"expressions", "from", "from_", "where"}
    ):
        raise DefinitionError(f"`{sql}` is not one condition", code="GM-C016")
    if where.find(sge.Select, sge.Table, sge.Subquery):
        raise DefinitionError(f"`{sql}` looks at other tables", code="GM-C016", hint="use a SQL rule with one SELECT")
    return sql


def _parts(tree: sge.Expression) -> list[str]:
    return [name for name, value in tree.args.items() if value]


def _parsed(sql: str) -> sge.Expression:
    import sqlglot
    from sqlglot.errors import SqlglotError

    try:
        trees = [tree for tree in sqlglot.parse(sql, dialect="duckdb") if tree is not None]
    except SqlglotError as error:
        raise DefinitionError(f"the SQL does not parse: {str(error).splitlines()[0]}", code="GM-C016") from error
    if len(trees) != 1:
        raise DefinitionError("a SQL rule is exactly one statement", code="GM-C016")
    return trees[0]


def _table_name(table: sge.Table) -> str:
    import sqlglot.expressions as sge

    if not isinstance(table.this, sge.Identifier):
        raise DefinitionError(
            f"`{table.sql(dialect='duckdb')}` is no table", code="GM-C016", hint="a rule reads tables, no files"
        )
    return ".".join(part.name for part in table.parts)


def _relation(name: str, relations: Mapping[str, str]) -> str:
    folded = {known.lower(): relation for known, relation in relations.items()}
    if name.lower() in folded:
        return folded[name.lower()]
    last = name.lower().rsplit(".", 1)[-1]
    found = {relation for known, relation in folded.items() if known.rsplit(".", 1)[-1] == last}
    if len(found) == 1:
        return found.pop()
    raise DefinitionError(
        f"the rule reads `{name}`, which is not there",
        code="GM-C017",
        hint=did_you_mean(name, [known for known in relations if known != THIS]) or "${table} names the table itself",
    )


def tables_in(sql: str) -> list[str]:
    """Return the names of the tables that a SELECT reads, besides its own stand-in.

    Raises DefinitionError where it does not parse.
    """
    import sqlglot.expressions as sge

    tree = _parsed(fill(sql))
    local = {cte.alias_or_name for cte in tree.find_all(sge.CTE)}
    names = dict.fromkeys(_table_name(table) for table in tree.find_all(sge.Table))
    return [name for name in names if name not in local and name != THIS]
