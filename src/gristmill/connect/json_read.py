"""One JSON file as typed rows with their origin, and the values that do not fit as rejects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from gristmill.connect.json_bulk import Together, records_of, see_all
from gristmill.connect.json_text import Text, strict, texts
from gristmill.connect.json_types import MisfitError, Seen, converter, finish
from gristmill.connect.rows import batch_of
from gristmill.connect.values import Chunk, Reject
from gristmill.errors import did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from gristmill.connect.places import Content
    from gristmill.connect.values import Shape

_ROWS = 65_536
_BULK = 4_096
_SINGLY = 64


class JsonInference:
    """What the records of a source have held so far, by name."""

    def __init__(self) -> None:
        self.columns: dict[str, Seen] = {}
        self.rows = 0

    def feed(self, content: Content, kind: str, *, unit: str) -> None:
        """Take a whole file into account; values that are no records are left to the reading."""
        for block in texts(content.blocks(), kind, unit=unit):
            for start in range(0, len(block), _BULK):
                found = block[start : start + _BULK]
                records = records_of([text.raw for text in found])
                if records is None:
                    self._feed_singly(found)
                else:
                    self.rows += len(records)
                    see_all(records, self.columns)

    def _feed_singly(self, found: list[Text]) -> None:
        words: dict[str, list[str]] = {}
        for text in found:
            record = _record(text)
            if not isinstance(record, dict):
                continue
            self.rows += 1
            for name, value in record.items():
                self.columns.setdefault(name, Seen()).see(value)
                if type(value) is str and writable(value):
                    words.setdefault(name, []).append(value)
        for name, cells in words.items():
            self.columns[name].see_texts(cells)


def _record(text: Text) -> dict[str, object] | str:
    """The record, or why it is none."""
    try:
        value = strict(text.raw)
    except ValueError as error:
        return f"the text is no JSON: {error}"
    if not isinstance(value, dict):
        return "the value is no object"
    if any(not name or "\0" in name for name in value):
        return "a name is empty or holds a NUL"
    return value


def writable(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class JsonRows:
    """The rows of one JSON file.

    Args:
        content: the file.
        kind: ``json`` or ``ndjson``.
        shape: the columns to read it by.
        unit: its name.
        number: its number within the source.
        constants: the partition columns' values.
    """

    def __init__(
        self,
        content: Content,
        kind: str,
        *,
        shape: Shape,
        unit: str,
        number: int,
        constants: Mapping[str, object],
    ) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._content = content
        self._kind = kind
        self._shape = shape
        self._unit = unit
        self._number = number
        self._constants = constants
        own = [column for column in shape.columns if column.name not in shape.partitions]
        self._kinds = {column.name: column.type for column in own}
        self._converters = {column.name: converter(column.type) for column in own}
        self._required = {column.name for column in own if not column.nullable}
        self._together = Together(self._kinds, self._required)

    def __iter__(self) -> Iterator[Chunk]:
        for found in texts(self._content.blocks(), self._kind, unit=self._unit):
            for start in range(0, len(found), _ROWS):
                yield from self._chunks(found[start : start + _ROWS])
        self.digest = self._content.digest

    def _chunks(self, found: list[Text]) -> Iterator[Chunk]:
        """Read texts together; where something is odd about one, its neighbours singly and the others together."""
        columns = self._together.columns([text.raw for text in found])
        if columns is not None:
            yield self._made(found, columns, np.arange(len(found)), {})
        elif len(found) <= _SINGLY:
            yield self._chunk(found)
        else:
            for start in range(0, len(found), step := -(-len(found) // 16)):
                yield from self._chunks(found[start : start + step])

    def _chunk(self, found: list[Text]) -> Chunk:
        rejects: dict[int, Reject] = {}
        rows: list[dict[str, object]] = []
        kept: list[int] = []
        for index, text in enumerate(found):
            row = self._converted(text, index, rejects)
            if row is not None:
                rows.append(row)
                kept.append(index)
        columns: dict[str, pa.Array] = {}
        fits = np.ones(len(rows), dtype=bool)
        for name, kind in self._kinds.items():
            columns[name], bad = finish([row.get(name) for row in rows], kind)
            for row_index in bad:
                fits[row_index] = False
                index = kept[row_index]
                shown = rows[row_index].get(name)
                reject = self._reject(found[index], index, "type", name, f"{shown!r:.120} is no {kind}")
                rejects.setdefault(index, reject)
        if not fits.all():
            columns = {name: array.filter(fits) for name, array in columns.items()}
        return self._made(found, columns, np.array(kept, dtype=np.int64)[fits], rejects)

    def _made(
        self, found: list[Text], columns: dict[str, pa.Array], sound: NDArray[np.int64], rejects: dict[int, Reject]
    ) -> Chunk:
        """Return a chunk of the columns of those texts that are sound."""
        lines = np.array([text.line for text in found], dtype=np.int64)[sound]
        offsets = np.array([text.offset for text in found], dtype=np.int64)[sound]
        origin = (sound + self.delivered + 1, lines, offsets)
        batch = batch_of(self._shape, columns, self._number, len(sound), self._constants, origin)
        chunk = Chunk(batch, [rejects[index] for index in sorted(rejects)])
        self.delivered += len(found)
        return chunk

    def _converted(self, text: Text, index: int, rejects: dict[int, Reject]) -> dict[str, object] | None:
        record = _record(text)
        if isinstance(record, str):
            rejects[index] = self._reject(text, index, "json", None, record)
            return None
        row: dict[str, object] = {}
        for name, value in record.items():
            convert = self._converters.get(name)
            if convert is None:
                near = did_you_mean(name, list(self._kinds))
                message = f"the source does not know the name {name!r:.60}" + (f"; {near}" if near else "")
                rejects[index] = self._reject(text, index, "fields", None, message)
                return None
            if value is None:
                continue
            try:
                row[name] = convert(value)
            except MisfitError:
                message = f"{value!r:.120} is no {self._kinds[name]}"
                rejects[index] = self._reject(text, index, "type", name, message)
                return None
        for name in self._required:
            if name not in row:
                rejects[index] = self._reject(text, index, "null", name, "the value is missing and must not be")
                return None
        return row

    def _reject(self, text: Text, index: int, reason: str, column: str | None, message: str) -> Reject:
        return Reject(
            record=self.delivered + index + 1,
            line=text.line,
            offset=text.offset,
            raw=text.raw,
            reason=reason,
            column=column,
            message=message,
        )
