"""Prove that rows are unique in memory that stays small, before the rows that are not are looked for.

Values that rise in the order in which they are read cannot repeat: one streaming pass. Else values are counted in
passes, each over the share of them that a hash gives it. Every way is exact; no sketch decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.contracts.pass_kinds import Around, unique_parts
from gristmill.contracts.sqltext import Types
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb

_ROWS_PER_PASS = 2_000_000
_MOST_PASSES = 16
_SORTABLE = ("INT", "VARCHAR", "DATE", "TIMESTAMP", "DECIMAL", "UUID", "DOUBLE", "FLOAT")


def repeated(connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around, total: int) -> int:
    """Count the rows that agree with another row of the relation in the rule's columns.

    Args:
        connection: where the relation is known.
        rule: a ``unique`` rule.
        types: the columns of the relation.
        around: the relation.
        total: how many rows it has, about: more of them are counted in more passes.
    """
    own, limited = unique_parts(rule, types)
    if _rising(connection, rule, types, around.relation, limited):
        return 0
    passes = min(-(-total // _ROWS_PER_PASS), _MOST_PASSES)
    if passes <= 1:
        return _repeated(connection, own, around.relation, limited)
    shares = (f"({limited}) AND hash({own}) % {passes} = {share}" for share in range(passes))
    return sum(_repeated(connection, own, around.relation, share) for share in shares)


def in_stored(connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, around: Around) -> bool:
    """Whether a row agrees with one that is stored already. The new rows are held in memory, the stored ones not."""
    if around.stored is None:
        return False
    own, limited = unique_parts(rule, types)
    new = f"SELECT {own} FROM {around.relation} WHERE {limited}"
    sql = f"SELECT 1 FROM {around.stored} WHERE ({limited}) AND ({own}) IN ({new}) LIMIT 1"
    return bool(connection.execute(sql).fetchall())


def _rising(connection: duckdb.DuckDBPyConnection, rule: Rule, types: Types, relation: str, limited: str) -> bool:
    if len(rule.columns) != 1 or not any(word in types[rule.columns[0]].split("(")[0] for word in _SORTABLE):
        return False
    if types[rule.columns[0]].endswith("]"):
        return False
    own, _ = unique_parts(rule, types)
    pairs = f"SELECT {own} AS v, lag({own}) OVER () AS before FROM {relation} WHERE {limited}"
    return not connection.execute(f"SELECT 1 FROM ({pairs}) WHERE NOT (v > before) LIMIT 1").fetchall()


def _repeated(connection: duckdb.DuckDBPyConnection, own: str, relation: str, limited: str) -> int:
    groups = f"SELECT count(*) AS n FROM {relation} WHERE {limited} GROUP BY {own} HAVING n > 1"
    return int(connection.execute(f"SELECT coalesce(sum(n), 0) FROM ({groups})").fetchall()[0][0])
