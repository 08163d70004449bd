"""Writes that fit into memory: their keys are looked up and their files written without an engine.

`hold` decides; what is too much for it goes through `gristmill.store.edits`, whose answers are the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from gristmill.model.schema import Field, Schema
from gristmill.store import inline
from gristmill.store.bitmaps import bitmap
from gristmill.store.datafiles import IDENTITY, Written, write_inline
from gristmill.store.edits import Place
from gristmill.store.keyindex import Asked, Found, Held, Ints, differs, field_columns, find
from gristmill.store.laying import lay
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile
from gristmill.store.staging import SqlSource, Staged, fitted, to_reader
from gristmill.store.tables import Edit
from gristmill.store.words import missing, words

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from gristmill.store.transaction import Transaction

ROWS = 131_072
BYTES = 64 << 20
"""What is held in memory at most; more is written to files first."""

_NAN = object()


@dataclass(frozen=True, slots=True)
class Few:
    """Rows in memory, in the columns of a schema; ``staged`` if they lie in files already."""

    schema: Schema
    rows: pa.Table
    staged: Staged | None = None

    def columns(self, fields: Sequence[Field]) -> list[pa.Array]:
        """Return some of the columns, each as one array."""
        return [one_array(self.rows.column(field.name)) for field in fields]

    def discard(self) -> None:
        """Remove the files, if there are any."""
        if self.staged is not None:
            self.staged.discard()


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column as one array."""
    import pyarrow as pa

    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def hold(tx: Transaction, name: str, schema: Schema, rows: object) -> Few | Staged:
    """Return rows that fit the schema in memory if they are few, else staged."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store import compute

    if isinstance(rows, SqlSource | Staged):
        staged = tx.stage_as(name, schema, rows)
        if staged.row_count > ROWS or sum(file.size for file in staged.written) > BYTES // 8:
            return staged
        return Few(schema, compute.reader(staged.scan).read_all().combine_chunks(), staged)
    batches = fitted(to_reader(rows), schema, name)
    few: list[pa.RecordBatch] = []
    count = size = 0
    for batch in batches:
        few.append(batch)
        count, size = count + batch.num_rows, size + batch.nbytes
        if count > ROWS or size > BYTES:
            arrow = fields_to_arrow(schema.fields)
            return tx.stage_as(name, schema, pa.RecordBatchReader.from_batches(arrow, chain(few, batches)))
    return Few(schema, pa.Table.from_batches(few, fields_to_arrow(schema.fields)).combine_chunks())


class FewKeys:
    """The keys of rows in memory, and where a table has them.

    Args:
        names: the key's columns.
        columns: their values.
        found: the rows of the table that have them.
    """

    def __init__(self, names: tuple[str, ...], columns: Sequence[pa.Array], asked: Asked, found: Found) -> None:
        self.names = names
        self.columns = columns
        self.asked = asked
        self.found = found

    def keyless(self) -> list[tuple[object, ...]]:
        """Return up to three keys without a value."""
        gaps = missing(self.columns)
        return [] if gaps is None else self._values(np.flatnonzero(gaps)[:3])

    def repeated(self) -> list[tuple[object, ...]]:
        """Return the three least keys that appear twice."""
        suspects = self.asked.repeated()
        if not len(suspects):
            return []
        counts = Counter(raw := self._values(suspects, whole=True))
        shown = dict(zip(raw, self._values(suspects), strict=True))
        return sorted((shown[key] for key, count in counts.items() if count > 1), key=_order)[:3]

    def known(self) -> list[tuple[object, ...]]:
        """Return the three least keys that the table has."""
        return sorted(self._values(np.unique(self.found.asked)), key=_order)[:3]

    def shown(self, rows: Ints) -> list[tuple[object, ...]]:
        """Return the keys of some of the rows, to be shown."""
        return self._values(rows)

    def close(self) -> None:
        """Nothing is held."""

    def _values(self, rows: Ints, *, whole: bool = False) -> list[tuple[object, ...]]:
        import pyarrow as pa

        at = pa.array(rows, pa.int64())
        return list(zip(*(_as_python(column.take(at), whole) for column in self.columns), strict=True))


def _as_python(column: pa.Array, whole: bool) -> list[object]:
    """Return values as Python has them: its times have microseconds; ``whole`` if equal ones must be equal."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type) and (whole or column.type.unit == "ns"):
        column = column.cast(pa.int64() if whole else pa.timestamp("us", column.type.tz), safe=False)
    values: list[object] = column.to_pylist()
    return [_NAN if value != value else value for value in values] if whole else values


def _order(key: tuple[object, ...]) -> list[tuple[bool, object]]:
    """Order keys as a table's sort does: NaN after every number."""
    return [(value != value, 0 if value != value else value) for value in key]


def look_up(get: Get, folder: Path, files: Sequence[DataFile], key: Sequence[Field], rows: Few) -> FewKeys:
    """Return where the live rows of these files lie that have the keys of some rows."""
    columns = rows.columns(key)
    asked = Asked(columns)
    return FewKeys(tuple(f.name for f in key), columns, asked, find(get, folder, files, key, asked))


def upsert_few(keys: FewKeys, place: Place, rows: Few) -> tuple[Edit, int]:
    """Return the edit that sets rows by key, and how many were there before."""
    found = keys.found
    if not len(found):
        return Edit(added=place.entries(written_new(place, rows))), 0
    ids = np.full(rows.rows.num_rows, -1, np.int64)
    ids[found.asked] = found.row_id
    written = write_rows(place, rows.rows, ids)
    rows.discard()
    return Edit(added=place.entries(written), dead=found.dead()), len(found)


def written_new(place: Place, rows: Few) -> Sequence[Written]:
    """Return rows that get new ids as files or as rows to be inlined."""
    return rows.staged.written if rows.staged is not None else write_rows(place, rows.rows, None)


def write_rows(place: Place, rows: pa.Table, ids: Ints | None, sequences: Ints | None = None) -> list[Written]:
    """Write rows in memory, with their ids and sequence numbers where those are not negative."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow

    if not rows.num_rows:
        return []
    fields = place.schema.fields
    if ids is not None:
        sequences = np.full(len(ids), -1, np.int64) if sequences is None else sequences
        identity = [pa.array(part, pa.int64(), mask=part < 0) for part in (ids, sequences)]
        columns = [*(rows.column(field.name) for field in fields), *identity]
        rows = pa.Table.from_arrays(columns, schema=fields_to_arrow((*fields, *IDENTITY)))
    batches = rows.combine_chunks().to_batches()
    if inline.fits(batches, min(place.room, inline.COMMIT_BYTES)):
        return [write_inline(place.schema, batches, ids=ids is not None)]
    return list(lay(place.out, place.schema, batches, place.layout, ids=ids is not None))


@dataclass(frozen=True, slots=True)
class Live:
    """The live rows of some files in memory, with the file, the position and the id of each."""

    rows: pa.Table
    file: Ints
    position: Ints
    row_id: Ints
    sequence: Ints


def live_rows(get: Get, folder: Path, files: Sequence[DataFile], fields: Sequence[Field]) -> Live:
    """Return the live rows of files, as the table has its columns now."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.identity import identities, live_positions

    schema = fields_to_arrow(tuple(fields))
    parts, places = [], []
    for file in files:
        positions = live_positions(get, file)
        at, ids, sequences = identities(get, folder, {file.first_row_id: (file, positions)})[file.first_row_id]
        table = pa.Table.from_arrays(field_columns(get, folder, file, fields), schema=schema)
        parts.append(table.take(pa.array(at)) if file.vectors else table)
        places.append((np.full(len(at), file.first_row_id, np.int64), at, ids, sequences))
    none = np.empty(0, np.int64)
    columns = [np.concatenate([place[i] for place in places]) if places else none for i in range(4)]
    return Live(pa.concat_tables(parts).combine_chunks() if parts else schema.empty_table(), *columns)


def same_rows(left: pa.Table, right: pa.Table, fields: Sequence[Field]) -> bool:
    """Whether two tables hold the same rows in these columns, in any order, by 128 bits of each row."""
    if left.num_rows != right.num_rows:
        return False
    if not fields or not left.num_rows:
        return True
    sides = []
    for table in (left, right):
        columns = [one_array(table.column(field.name)) for field in fields]
        both = [words([*columns, columns[0]], which=which) for which in (0, 1)]
        sides.append(np.sort(_pairs(both)))
    return bool((sides[0] == sides[1]).all())


def _pairs(both: Sequence[npt.NDArray[np.uint64]]) -> npt.NDArray[np.void]:
    found = np.empty(len(both[0]), [("a", "<u8"), ("b", "<u8")])
    found["a"], found["b"] = both
    return found


def replace_few(live: Live, rows: Few, key: Sequence[Field], place: Place) -> tuple[Edit, set[int] | None]:
    """Return the edit that makes a table of these live rows hold just the given ones, and the fields it touches.

    Rows keep their ids by key, rows that are equal are not touched. The keys must be there and appear once.
    """
    fields = place.schema.visible
    asked, old = Asked(rows.columns(key)), [one_array(live.rows.column(field.name)) for field in key]
    groups, positions = Held(old, False).match(asked.words)
    new_at, old_at = asked.each(groups, positions)
    equal = np.ones(len(new_at), bool)
    for mine, theirs in zip(rows.columns(key), old, strict=True):
        equal &= ~differs(_take(mine, new_at), _take(theirs, old_at))
    new_at, old_at = new_at[equal], old_at[equal]
    changed, touched = np.zeros(len(new_at), bool), {field.id for field in place.schema.fields if field.hidden}
    for field, column in zip(fields, rows.columns(fields), strict=True):
        other = differs(_take(column, new_at), _take(one_array(live.rows.column(field.name)), old_at))
        changed |= other
        touched |= {field.id} if other.any() else set()
    gone = np.ones(len(live.file), bool)
    gone[old_at] = False
    ids = np.full(rows.rows.num_rows, -1, np.int64)
    ids[new_at] = live.row_id[old_at]
    write = np.ones(len(ids), bool)
    write[new_at[~changed]] = False
    one_sided = bool(gone.any() or (ids < 0).any())
    gone[old_at[changed]] = True
    if not gone.any() and not write.any():
        rows.discard()
        return Edit(), set()
    edit = _swap(live, rows, place, (ids, write, gone))
    rows.discard()
    return edit, None if one_sided else touched


def _swap(live: Live, rows: Few, place: Place, what: tuple[Ints, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]) -> Edit:
    import pyarrow as pa

    ids, write, gone = what
    chosen = np.flatnonzero(write)
    written = write_rows(place, rows.rows.take(pa.array(chosen)), ids[chosen])
    dead: dict[int, BitMap] = {}
    for key in np.unique(live.file[gone]):
        dead[int(key)] = bitmap(live.position[gone & (live.file == key)])
    return Edit(added=place.entries(written), dead=dead)


def _take(column: pa.Array, rows: Ints) -> pa.Array:
    import pyarrow as pa

    return column.take(pa.array(rows, pa.int64()))
