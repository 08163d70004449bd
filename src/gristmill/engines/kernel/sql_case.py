"""Bring the names in a query to the spelling that the tables have, as DuckDB does, so that none is written anew."""

from __future__ import annotations

from collections.abc import Iterable

import sqlglot.expressions as sge

DIALECT = "duckdb,normalization_strategy=case_sensitive"


def spell(tree: sge.Query, columns: Iterable[str]) -> None:
    """Spell every reference in ``tree`` as what it refers to: a column of an input, an alias, a CTE.

    DuckDB finds ``id`` where the column is ``Id`` and calls the result ``Id``. A name that two things share but
    for its case is left as it stands.
    """
    spellings: dict[str, set[str]] = {}
    for name in (*columns, *_made(tree)):
        spellings.setdefault(name.lower(), set()).add(name)
    for reference in tree.find_all(sge.Identifier):
        known = spellings.get(reference.name.lower(), set())
        if len(known) == 1 and not _names_something(reference):
            reference.set("this", next(iter(known)))


def _made(tree: sge.Query) -> Iterable[str]:
    return (identifier.name for identifier in tree.find_all(sge.Identifier) if _names_something(identifier))


def _names_something(identifier: sge.Identifier) -> bool:
    """Whether the identifier gives a name, and does not look one up."""
    parent = identifier.parent
    return isinstance(parent, sge.TableAlias) or (isinstance(parent, sge.Alias) and identifier.arg_key == "alias")


def keep_star_names(tree: sge.Query) -> None:
    """Take away the one alias that qualifying gave to all the columns of a ``COLUMNS(...)``."""
    for alias in list(tree.find_all(sge.Alias)):
        if alias.alias.startswith("_col_") and alias.this.find(sge.Columns):
            alias.replace(alias.this)
