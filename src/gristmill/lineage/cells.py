"""Which commit, and which run, last set each cell of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gristmill.errors import NotFound
from gristmill.lineage.backward import starting_rows
from gristmill.lineage.stored import ROW_ID, Key, Rows, key_condition

if TYPE_CHECKING:
    from gristmill.model.commits import Commit
    from gristmill.store import Store

Row = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """The last change of one cell.

    Args:
        column, value: the cell.
        commit: what set it.
        run: the run that made the commit, or empty.
        time_us: when, in microseconds since 1970 UTC.
        author, message: who and why.
        before: the value before; None also where the row was new.
        new: whether the commit brought the row.
    """

    column: str
    value: object
    commit: str
    run: str
    time_us: int
    author: str
    message: str
    before: object = None
    new: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A row and the last change of each of its cells."""

    table: str
    commit: str
    row: int
    cells: tuple[Cell, ...]


def blame(store: Store, ref: str, table: str, *, key: Key | None = None, row: int | None = None) -> Blame:
    """Return which commit last set each cell of one row.

    Only commits that changed the table are looked at, and in each only the files that may hold the row. A cell that
    was set again to the same value keeps its older commit. Where a commit merged others, the side that brought the
    value is followed.

    Args:
        store: the store.
        ref: the state to look at.
        table: the table.
        key: the key's values, see `Key`.
        row: the row's id.

    Raises NotFound where there is no such row.
    """
    from gristmill.engines.kernel import Kernel

    with Kernel() as kernel:
        reader = Rows(store, kernel)
        commit = store.resolve(ref)
        ids = starting_rows(reader, commit, table, key=key, row=row)
        if len(ids) > 1:
            raise NotFound(f"{len(ids):,} rows of `{table}` fit, not one", hint="give its key, or --row")
        history = _History(reader, table, ids[0], key)
        now = history.row(commit)
        assert now is not None
        found = history.cells(commit, {name: value for name, value in now.items() if name != ROW_ID})
        return Blame(table=table, commit=commit, row=ids[0], cells=tuple(found[name] for name in now if name != ROW_ID))


class _History:
    """One row through the commits that changed its table."""

    def __init__(self, reader: Rows, table: str, row: int, key: Key | None) -> None:
        self.reader, self.table, self.id, self.key = reader, table, row, key

    def row(self, commit: str) -> Row | None:
        """Return the row as it is at a commit: by its id, else by its key, since a table may be made anew."""
        if self.table not in self.reader.at(commit):
            return None
        found = self.reader.by_id(commit, self.table, [self.id]).to_pylist()
        if not found and self.key is not None:
            snapshot = self.reader.at(commit)
            if not snapshot.table(self.table).key:
                return None
            ids = self.reader.matching(commit, self.table, key_condition(snapshot, self.table, self.key))
            found = self.reader.by_id(commit, self.table, ids).to_pylist()
        return found[0] if found else None

    def cells(self, commit: str, wanted: Mapping[str, object]) -> dict[str, Cell]:
        """Return the last change, at a commit or before, of cells that have these values there."""
        found: dict[str, Cell] = {}
        pending = dict(wanted)
        for change in self.reader.store.log(commit, table=self.table):
            sides = [self.row(parent) for parent in change.parents]
            before = sides[0] if sides else None
            changed = [name for name, value in pending.items() if not _same(before, name, value)]
            for parent, side in zip(change.parents[1:], sides[1:], strict=True):
                brought = {name: pending[name] for name in changed if _same(side, name, pending[name])}
                found |= self.cells(parent, brought) if brought else {}
                changed = [name for name in changed if name not in brought]
            found |= {name: _cell(change, name, pending[name], before) for name in changed}
            pending = {name: value for name, value in pending.items() if name not in found}
            if not pending:
                break
        return found


def _same(row: Row | None, name: str, value: object) -> bool:
    return row is not None and name in row and repr(row[name]) == repr(value)


def _cell(change: Commit, name: str, value: object, before: Row | None) -> Cell:
    return Cell(
        column=name,
        value=value,
        commit=change.id,
        run=change.meta.get("run", ""),
        time_us=change.time_us,
        author=change.author,
        message=change.message,
        before=None if before is None else before.get(name),
        new=before is None,
    )
