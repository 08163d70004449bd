"""Which columns feed a column, over the whole project, as its runs have noted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill.run.witnesses import ColumnSources, load_witnesses

if TYPE_CHECKING:
    from gristmill.store import Snapshot

_PREFIX, _SUFFIX = "lineage/", ".json"
Origin = tuple[str, str]


def project_columns(snapshot: Snapshot) -> dict[str, dict[str, ColumnSources]]:
    """Return, by table and column, the columns of its inputs that a column comes from.

    Tables made by Python functions have none; what feeds their columns is not known.
    """
    names = [path.removeprefix(_PREFIX).removesuffix(_SUFFIX) for path in snapshot.documents(_PREFIX)]
    found = {name: load_witnesses(snapshot, name) for name in names}
    return {name: ways.columns for name, ways in found.items() if ways is not None and ways.columns}


def source_columns(snapshot: Snapshot, table: str, column: str) -> ColumnSources:
    """Return the columns that a column comes from in the end: of sources, or of tables that say no more.

    A column that decides about one on the way decides about the result.
    """
    known = project_columns(snapshot)
    value: set[Origin] = set()
    influence: set[Origin] = set()
    seen: set[tuple[Origin, bool]] = set()
    todo = [((table, column), False)]
    while todo:
        origin, decides = todo.pop()
        if (origin, decides) in seen:
            continue
        seen.add((origin, decides))
        sources = known.get(origin[0], {}).get(origin[1])
        if sources is None:
            (influence if decides else value).add(origin)
            continue
        todo += [(source, decides) for source in sources.value] + [(source, True) for source in sources.influence]
    return ColumnSources(tuple(sorted(value)), tuple(sorted(influence)))
