"""What a write must know of a few inlined rows and their keys, found without an engine.

Each function returns None where it does not answer, because rows lie in files or are of types that Python compares
otherwise than DuckDB; `gristmill.store.edits` answers then. The answers are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pyroaring import BitMap

from gristmill.model.scan import ScanPlan
from gristmill.model.schema import ROW_ID, Field
from gristmill.store import inline
from gristmill.store.datafiles import IDENTITY, write_inline
from gristmill.store.edits import Place
from gristmill.store.few import MOST, rows_of
from gristmill.store.inline import live_positions
from gristmill.store.staging import Staged
from gristmill.store.tables import Edit

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = ("int", "long", "string")
_AS_WHOLE = {"date": "int32", "time": "int64"}
_NAN = object()

Values = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class FewKeys:
    """The keys of the staged rows, in their order, and of the table's rows that may share them.

    Attributes:
        names: the key's columns.
        new: the key of each staged row.
        old: file, position and row id by key.
    """

    names: tuple[str, ...]
    new: list[Values]
    old: dict[Values, tuple[int, int, int]]

    def keyless(self) -> list[Values]:
        """Return up to three staged keys without a value."""
        return [key for key in self.new if None in key][:3]

    def repeated(self) -> list[Values]:
        """Return the three least staged keys that appear twice."""
        return sorted(key for key, count in Counter(self.new).items() if count > 1)[:3]

    def known(self) -> list[Values]:
        """Return the three least staged keys that the table has."""
        return sorted({key for key in self.new if key in self.old})[:3]

    def close(self) -> None:
        """Nothing is held."""


def few_keys(key: Sequence[Field], new: ScanPlan, old: ScanPlan) -> FewKeys | None:
    """Return the keys that two plans read; a condition of ``old`` only serves to leave out files."""
    if any(field.type not in _KEYS for field in key) or sum(file.rows for file in old.files) > MOST:
        return None
    rows = rows_of(new)
    if rows is None:
        return None
    there: dict[Values, tuple[int, int, int]] = {}
    for file in old.files:
        owns = [file.schema.by_id(field.id) for field in key]
        if file.inline is None or any(own is None or own.type != f.type for own, f in zip(owns, key, strict=True)):
            return None
        held, ids = _held(file.inline, tuple(own.name for own in owns if own is not None), file.stored_ids)
        first = file.first_row_id
        for at in range(len(held)) if file.rowset is None else live_positions(file).to_pylist():
            own_id = ids[at] if ids is not None else None
            there[held[at]] = (first, at, first + at if own_id is None else own_id)
    names = tuple(field.name for field in key)
    return FewKeys(names, _tuples(rows, names), there)


@lru_cache(maxsize=256)
def _held(stream: bytes, names: tuple[str, ...], stored_ids: bool) -> tuple[list[Values], list[int | None] | None]:
    """Return the keys of an inlined piece, dead rows too, and the row ids that it stores."""
    import pyarrow as pa

    rows = pa.ipc.open_stream(stream).read_all()
    return _tuples(rows, names), rows.column(ROW_ID).to_pylist() if stored_ids else None


def _tuples(rows: pa.Table, names: Sequence[str]) -> list[Values]:
    return list(zip(*(rows.column(name).to_pylist() for name in names), strict=True))


def upsert_few(keys: FewKeys, place: Place, staged: Staged) -> tuple[Edit, int] | None:
    """Return what `gristmill.store.edits.upsert_edit` does, where the rows can be inlined again with their ids."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow

    places = [keys.old.get(key) for key in keys.new]
    if not any(places):
        return Edit(added=place.entries(staged.written)), 0
    rows = rows_of(staged.plan(place.schema.fields))
    if rows is None:
        return None
    ids = pa.array([None if at is None else at[2] for at in places], pa.int64())
    columns = [*rows.columns, ids, pa.nulls(len(places), pa.int64())]
    table = pa.Table.from_arrays(columns, schema=fields_to_arrow((*place.schema.fields, *IDENTITY)))
    batches = table.combine_chunks().to_batches()
    if not inline.fits(batches, min(place.room, inline.COMMIT_BYTES)):
        return None
    dead: dict[int, BitMap] = {}
    for at in places:
        if at is not None:
            dead.setdefault(at[0], BitMap()).add(at[1])
    written = [write_inline(place.schema, batches, ids=True)]
    return Edit(added=place.entries(written), dead=dead), sum(len(part) for part in dead.values())


def same_rows(fields: Sequence[Field], old: ScanPlan, new: ScanPlan) -> bool | None:
    """Whether two plans that yield these fields yield the same rows, in any order."""
    if not fields or any(not isinstance(field.type, str) for field in fields):
        return None
    before, after = rows_of(old), rows_of(new)
    if before is None or after is None:
        return None
    return Counter(_values(before, fields)) == Counter(_values(after, fields))


def _values(rows: pa.Table, fields: Sequence[Field]) -> list[Values]:
    """Return the rows in a form in which equal values are equal and nothing is rounded: one NaN, one zero."""
    columns = []
    for field in fields:
        column = rows.column(field.name)
        kind = str(field.type)
        whole = "int64" if kind.startswith("timestamp") else _AS_WHOLE.get(kind)
        values = (column.cast(whole) if whole else column).to_pylist()
        columns.append(
            [_NAN if value != value else value for value in values] if kind in ("float", "double") else values
        )
    return list(zip(*columns, strict=True))
