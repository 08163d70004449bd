"""Where in a table's files the rows with given values lie, without an engine.

Files never change, so what is known of one is kept for as long as there is room (`KEPT` bytes a process). The first
time a file is asked, its words (`gristmill.store.words`) are compared as they come; the second time they are
sorted, and from then on asking costs a binary search per value. Where equal words do not prove equal values, the
values are compared.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap

from gristmill.model.schema import ROW_ID, Field, type_text
from gristmill.store.bitmaps import bitmap
from gristmill.store.kept import written
from gristmill.store.maps import Get
from gristmill.store.objects import INLINE, DataFile, Oid, Rows
from gristmill.store.sqltext import stored
from gristmill.store.tables import dead_rows, schema_of
from gristmill.store.words import Words, exact, missing, words

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 512 << 20

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a table that have the values asked for, one entry per match.

    Attributes:
        asked: which of the rows asked for.
        file: the key of the file.
        position: where in it.
        row_id: the row's id.
    """

    asked: Ints
    file: Ints
    position: Ints
    row_id: Ints

    def dead(self) -> dict[int, BitMap]:
        """Return the positions by file."""
        found: dict[int, BitMap] = {}
        for key in np.unique(self.file):
            found[int(key)] = bitmap(self.position[self.file == key])
        return found

    def __len__(self) -> int:
        return len(self.asked)


class Asked:
    """Rows to be found by the values of some columns.

    Args:
        columns: the values, one array per field, of the fields' Arrow types.
        whole: whether these are whole rows: a null equals a null, and 128 bits of a row stand for its values.
            Otherwise rows with a null are never found.
    """

    def __init__(self, columns: Sequence[pa.Array], *, whole: bool = False) -> None:
        self.columns = tuple(columns)
        self.whole = whole
        own, check = _both(columns) if whole else (words(columns), None)
        self.check: Words | None = check
        rows = np.arange(len(own))
        gaps = None if whole else missing(columns)
        if gaps is not None:
            rows, own = rows[~gaps], own[~gaps]
        order = np.argsort(own, kind="stable")
        self._rows, own = rows[order], own[order]
        new = np.ones(len(own), bool)
        new[1:] = own[1:] != own[:-1]
        self.words: Words = own[new]
        self._starts = np.append(np.flatnonzero(new), len(own))

    def counts(self) -> Ints:
        """Return how many rows have each of the words."""
        counts: Ints = np.diff(self._starts)
        return counts

    def first_of(self, groups: Ints) -> Ints:
        """Return the first row that has each of these words."""
        found: Ints = self._rows[self._starts[groups]]
        return found

    def group_of(self, rows: Ints) -> Ints:
        """Return which word each of these rows has."""
        groups = np.empty(len(self.columns[0]), np.int64)
        groups[self._rows] = np.repeat(np.arange(len(self.words)), self.counts())
        found: Ints = groups[rows]
        return found

    def repeated(self) -> Ints:
        """Return the rows asked for whose word is that of another one too."""
        counts = np.diff(self._starts)
        return self.each(np.flatnonzero(counts > 1), np.zeros(int((counts > 1).sum()), np.int64))[0]

    def each(self, groups: Ints, positions: Ints) -> tuple[Ints, Ints]:
        """Return (row asked for, position) for every row of each matched word."""
        counts = self._starts[groups + 1] - self._starts[groups]
        if (counts == 1).all():
            return self._rows[self._starts[groups]], positions
        first = np.repeat(self._starts[groups], counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return self._rows[first + within], np.repeat(positions, counts)


def find(get: Get, folder: Path, files: Iterable[DataFile], fields: Sequence[Field], asked: Asked) -> Found:
    """Return the live rows of these files that have the values asked for.

    Args:
        get: reads an object.
        folder: the store's folder.
        files: where to look; leave out those that cannot hold any.
        fields: the columns that hold the values, as the table has them now.
        asked: the values.
    """
    parts: list[tuple[Ints, Ints, Ints, Ints]] = []
    for file in files if len(asked.words) else ():
        held = _held(get, folder, file, fields, asked.whole)
        groups, positions = held.match(asked.words)
        if file.vectors and len(positions):
            live = np.ones(file.rows, bool)
            live[np.asarray(dead_rows(get, file).to_array(), np.int64)] = False
            groups, positions = groups[live[positions]], positions[live[positions]]
        if not len(positions):
            continue
        rows, positions = asked.each(groups, positions)
        if held.check is not None and asked.check is not None:
            same = asked.check[rows] == held.check[positions]
            rows, positions = rows[same], positions[same]
        if held.columns is not None:
            same = _equal(asked.columns, rows, held.columns, positions)
            rows, positions = rows[same], positions[same]
        key = np.full(len(rows), file.first_row_id, np.int64)
        parts.append((rows, key, positions, _row_ids(get, folder, file, held, positions)))
    none = np.empty(0, np.int64)
    columns = [np.concatenate([part[i] for part in parts]) if parts else none for i in range(4)]
    return Found(*columns)


def _row_ids(get: Get, folder: Path, file: DataFile, held: Held, positions: Ints) -> Ints:
    ids = positions + file.first_row_id
    if not file.stored_ids:
        return ids
    if held.ids is None:
        column = read_columns(get, folder, file, [ROW_ID])[0]
        held.ids = column.fill_null(-1).to_numpy(zero_copy_only=False)
    own = held.ids[positions]
    return np.where(own >= 0, own, ids)


def _equal(asked: Sequence[pa.Array], rows: Ints, held: Sequence[pa.Array], positions: Ints) -> npt.NDArray[np.bool_]:
    """Return which pairs of rows are equal in every column, by value."""
    same = np.ones(len(rows), bool)
    for mine, theirs in zip(asked, held, strict=True):
        same &= ~differs(mine.take(_array(rows)), theirs.take(_array(positions)))
    return same


def differs(left: pa.Array, right: pa.Array) -> npt.NDArray[np.bool_]:
    """Return where two columns of one type differ; nulls and NaNs equal themselves."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(left.type, pa.BaseExtensionType):
        left, right = left.storage, right.storage
    kind = left.type
    if pa.types.is_null(kind):
        return np.zeros(len(left), bool)
    if exact([left]) or pa.types.is_nested(kind):
        changed: npt.NDArray[np.bool_] = words([left]) != words([right])
        if left.null_count or right.null_count:
            changed |= np.asarray(left.is_null()) != np.asarray(right.is_null())
        return changed
    equal = pc.equal(left, right)
    both = pc.and_(left.is_null(), right.is_null())
    same: npt.NDArray[np.bool_] = np.asarray(pc.or_(both, equal.fill_null(False)))
    return ~same


def _array(rows: Ints) -> pa.Array:
    import pyarrow as pa

    return pa.array(rows, pa.int64())


def _both(columns: Sequence[pa.Array]) -> tuple[Words, Words]:
    """Return 128 bits of each row; never the values themselves, so that nulls are apart from every value."""
    mixed = [*columns, columns[0]]
    return words(mixed), words(mixed, which=1)


@dataclass(frozen=True, slots=True)
class _Order:
    """Words and where they stand in the file (None: each at its own place); ``repeats`` is known once sorted."""

    words: Words
    places: npt.NDArray[np.uint32] | None
    ascending: bool
    repeats: bool

    def positions(self, at: Ints) -> Ints:
        return at if self.places is None else self.places[at].astype(np.int64)


class Held:
    """The words of some rows, in their order until they are asked for again, then sorted.

    Args:
        columns: the values.
        whole: whether these are whole rows; see `Asked`.

    Attributes:
        check: the second half of what stands for a whole row.
        columns: the values where words alone do not prove anything, else None.
        size: bytes in memory.
    """

    __slots__ = ("_asked", "_order", "check", "columns", "ids", "size")

    def __init__(self, columns: Sequence[pa.Array], whole: bool) -> None:
        places = None
        own, check = _both(columns) if whole else (words(columns), None)
        self.check: Words | None = check
        gaps = None if whole else missing(columns)
        if gaps is not None:
            places = np.flatnonzero(~gaps).astype(np.uint32)
            own = own[places]
        ascending = bool((own[1:] >= own[:-1]).all())
        self._order = _Order(own, places, ascending, ascending and bool((own[1:] == own[:-1]).any()))
        self._asked = False
        bare = whole or exact(columns)
        self.columns: Sequence[pa.Array] | None = None if bare else columns
        self.ids: npt.NDArray[np.int64] | None = None
        self.size = (20 if whole else 12) * len(own) + (0 if bare else sum(column.nbytes for column in columns)) + 512

    def match(self, wanted: Words) -> tuple[Ints, Ints]:
        """Return (index in ``wanted``, position) of every row with a wanted word; ``wanted`` is sorted."""
        own = self._order
        if not len(own.words) or not len(wanted):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        if not own.ascending and (self._asked or len(wanted) > len(own.words) // 8):
            own = self._order = _in_order(own)
        self._asked = True
        return _search(own, wanted) if own.ascending else _compare(own, wanted)


def _in_order(own: _Order) -> _Order:
    order = np.argsort(own.words, kind="stable")
    places = order.astype(np.uint32) if own.places is None else own.places[order]
    ascending = own.words[order]
    return _Order(ascending, places, True, bool((ascending[1:] == ascending[:-1]).any()))


def _compare(own: _Order, wanted: Words) -> tuple[Ints, Ints]:
    at = np.minimum(np.searchsorted(wanted, own.words), len(wanted) - 1)
    hit = np.flatnonzero(wanted[at] == own.words)
    return at[hit], own.positions(hit)


def _search(own: _Order, wanted: Words) -> tuple[Ints, Ints]:
    first, last = np.searchsorted(wanted, own.words[0]), np.searchsorted(wanted, own.words[-1], "right")
    part = wanted[first:last]
    low = np.searchsorted(own.words, part)
    hit = np.flatnonzero(own.words[np.minimum(low, len(own.words) - 1)] == part)
    low = low[hit]
    if not own.repeats:
        return hit + first, own.positions(low)
    counts = np.searchsorted(own.words, part[hit], "right") - low
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(hit + first, counts), own.positions(np.repeat(low, counts) + within)


class _Cache:
    """What is known of files, the least recently used dropped above `KEPT` bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[object, Held] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: object) -> Held | None:
        with self._lock:
            held = self._held.get(key)
            if held is not None:
                self._held.move_to_end(key)
            return held

    def put(self, key: object, held: Held) -> None:
        with self._lock:
            if key in self._held:
                return
            self._held[key] = held
            self._size += held.size
            while self._size > KEPT and len(self._held) > 1:
                self._size -= self._held.popitem(last=False)[1].size


_cache = _Cache()


def _held(get: Get, folder: Path, file: DataFile, fields: Sequence[Field], whole: bool) -> Held:
    shape = tuple((field.id, type_text(field.type)) for field in fields)
    key = (file.hash, file.schema, shape, whole)
    held = _cache.get(key)
    if held is None:
        held = Held(field_columns(get, folder, file, fields), whole)
        _cache.put(key, held)
    return held


def field_columns(get: Get, folder: Path, file: DataFile, fields: Sequence[Field]) -> list[pa.Array]:
    """Return columns of a file as the table has them now, dead rows too."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.conform import cast_column

    owns = [schema_of(get, file.schema).by_id(field.id) for field in fields]
    there = [own.name for own in owns if own is not None and stored(own.type)]
    read = dict(zip(there, read_columns(get, folder, file, there) if there else [], strict=True))
    found = []
    for own, target in zip(owns, fields_to_arrow(tuple(fields)), strict=True):
        if own is None or own.name not in read:
            found.append(pa.nulls(file.rows, target.type))
        else:
            found.append(cast_column(read[own.name], target.type, target.name, "scan"))
    return found


def read_columns(get: Get, folder: Path, file: DataFile, names: Sequence[str]) -> list[pa.Array]:
    """Return top-level columns of a file by the names it has for them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.kind == INLINE:
        rows = get(Oid(file.hash))
        assert isinstance(rows, Rows)
        table = pa.ipc.open_stream(rows.stream).read_all()
    elif (held := written(str(folder / file.path))) is not None and _plain(held.schema, names):
        table = held
    else:
        dotted = any("." in name for name in names)
        table = pq.ParquetFile(str(folder / file.path)).read(columns=None if dotted else list(names))
    return [_whole(table.column(name)) for name in names]


def _plain(schema: pa.Schema, names: Sequence[str]) -> bool:
    """Whether a file gives these columns back in just the types that they were written in."""
    import pyarrow as pa

    t = pa.types
    tests = (t.is_integer, t.is_floating, t.is_boolean, t.is_string, t.is_timestamp, t.is_date32, t.is_decimal128)
    return all(any(test(schema.field(name).type) for test in tests) for name in names)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    import pyarrow as pa

    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole
