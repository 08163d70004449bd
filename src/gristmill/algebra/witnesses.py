"""Row lineage by inversion: for every input, an expression that names the rows behind each row of the result.

Inputs do not change once they are committed, so that lineage costs nothing until someone asks. The definition is
rewritten once per input, and once per way in which rows of that input reach the result (Cui and Widom, *Lineage
tracing for general data warehouse transformations*, 2003); ``witness_paths.py`` holds the rules per operation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.operations as ops

from gristmill.algebra.rewrite import normalise
from gristmill.algebra.witness_paths import ROW, ROWS_SUFFIX, Path, paths_of
from gristmill.errors import DefinitionError

ROW_ID = "_row_id"

Influence = Literal["direct", "frame", "global", "whole"]
"""Kinds of influence: ``direct``, the result's values come from the row, or the row lets it exist; ``frame``, the row
competes with others or shares a window with them; ``global``, the row counts in a condition or statistic over all
rows; ``whole``, nothing is known but that the table is read."""


@dataclass(frozen=True, slots=True)
class Witness:
    """One way in which rows of an input reach the result.

    Args:
        kind: the kind of influence.
        expr: the identifying columns of the result, and ``_row_id`` of the input's row behind it; None for
            ``global`` and ``whole``, which are no lists.
        needed: whether the rows must be there to compute the result again. Losers of a competition are not.
        why: in words, what makes the rows count.
    """

    kind: Influence
    expr: ibis.Table | None
    needed: bool
    why: str


def witness(expr: ibis.Table, *, key: Sequence[str] = ()) -> dict[str, tuple[Witness, ...]]:
    """Return, for each input table by name, how its rows reach the rows of the result.

    The expressions read the input whose rows they name as ``NAME#rows``: its columns and ``_row_id``; all other
    inputs, and the same input in another role, under their own names. They are in normal form already: compile them
    as they stand. A row of the result that is there several times shares the rows behind it.

    Args:
        expr: a definition, normalised or not.
        key: columns that identify a row of the result; all of them where there is no key.

    Raises:
        DefinitionError: a column of the key is not in the result.

    >>> t = ibis.table({"id": "int64", "a": "int64"}, name="raw.t")
    >>> (found,) = witness(t.group_by("a").agg(n=t.count()), key=["a"])["raw.t"]
    >>> found.kind, found.expr.columns
    ('direct', ('a', '_row_id'))
    """
    root = normalise(expr).op()
    missing = [name for name in key if name not in root.schema]
    if missing:
        raise DefinitionError(f"the result has no column `{missing[0]}`", hint=f"it has {', '.join(root.schema.names)}")
    names = sorted({table.name for table in root.find(ops.UnboundTable)})
    identity = tuple(key) or tuple(root.schema.names)
    return {name: _witnesses(root, name, identity) for name in names}


def _witnesses(root: ops.Relation, name: str, identity: Sequence[str]) -> tuple[Witness, ...]:
    paths, notes = paths_of(root, name)
    listed = [Witness(path.kind, _named(path, identity), path.needed, path.why) for path in paths]
    return (*listed, *(Witness(note.kind, None, note.needed, note.why) for note in notes))


def _named(path: Path, identity: Sequence[str]) -> ibis.Table:
    """Return the identifying columns and the row id, for rows that do come from the input."""
    values: dict[str, ops.Value] = {name: ops.Field(path.relation, name) for name in identity}
    found = ops.Project(path.relation, values | {ROW_ID: ops.Field(path.relation, ROW)})
    return ops.Filter(found, [ops.NotNull(ops.Field(found, ROW_ID))]).to_expr()


def rows_name(table: str) -> str:
    """Return the name under which witness expressions read a table with its row ids.

    >>> rows_name("raw.t")
    'raw.t#rows'
    """
    return table + ROWS_SUFFIX
