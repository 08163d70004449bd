"""One delimited file as typed rows with their origin, and the records that do not fit as rejects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa

from gristmill.connect.csv_cells import CellReader
from gristmill.connect.csv_scan import Grammar, count_cells, split_record
from gristmill.connect.csv_text import Block, records
from gristmill.connect.rows import batch_of
from gristmill.connect.values import Chunk, Reject, note_missing
from gristmill.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gristmill.connect.places import Content
    from gristmill.connect.values import Dialect, Shape


class Fault(NamedTuple):
    """Why a record cannot be a row."""

    reason: str
    column: str | None
    message: str


@dataclass(slots=True)
class Readable:
    """The sound records of a block: their positions in its scan, their columns, and what is wrong elsewhere.

    ``typed`` holds the columns that fit whole, ``texts`` those with cells that do not fit.
    """

    kept: NDArray[np.int64]
    faults: dict[int, Fault]
    delivered: NDArray[np.int64]
    typed: dict[str, pa.Array] = field(default_factory=dict)
    texts: dict[str, pa.Array] = field(default_factory=dict)


def header_names(cells: Sequence[bytes], *, unit: str) -> tuple[list[str], list[str]]:
    """Return the column names that a header gives, and in words what had to be assumed.

    An empty name becomes ``columnN``, a repeated one gets a number.

    Raises:
        DataError: the header is not readable text.

    >>> header_names([b"id", b"", b"id"], unit="a.csv")[0]
    ['id', 'column2', 'id_2']
    """
    names: list[str] = []
    notes: list[str] = []
    for number, cell in enumerate(cells, start=1):
        try:
            name = cell.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            message = f"the name of column {number} is not in the declared encoding"
            raise DataError(message, where=f"{unit}:1:{number}", code="GM-D112", hint="declare encoding=") from error
        if "\0" in name:
            raise DataError(f"the name of column {number} holds a NUL byte", where=f"{unit}:1:{number}")
        wanted, copy = name or f"column{number}", 1
        while wanted in names:
            copy += 1
            wanted = f"{name or f'column{number}'}_{copy}"
        if wanted != name:
            notes.append(f"column {number} is named `{name}` in the header and read as `{wanted}`")
        names.append(wanted)
    return names, notes


class Table:
    """The record blocks of one file behind its preamble and header, and the file's own column names.

    Args:
        content: the file.
        dialect: how it is written.
        unit: its name, for errors.
        names: the names where the file has no header.
    """

    def __init__(self, content: Content, dialect: Dialect, *, unit: str, names: Sequence[str] = ()) -> None:
        self.names: list[str] = list(names)
        self.notes: list[str] = []
        self._content = content
        self._dialect = dialect
        self._unit = unit
        self._grammar = Grammar(dialect)

    def blocks(self) -> Iterator[tuple[Block, int, int]]:
        """Yield each block with the positions where its preamble ends and where its rows begin."""
        preamble = self._dialect.preamble
        header = self._dialect.header
        for block in records(self._content.blocks(), self._dialect, name=self._unit):
            first, begin = 0, None
            blank = blanks(block)
            while first < len(blank) and (preamble or header):
                if blank[first]:
                    pass
                elif preamble:
                    preamble -= 1
                else:
                    self._read_header(block, first)
                    header, begin = False, first
                first += 1
            yield block, first if begin is None else begin, first

    def _read_header(self, block: Block, index: int) -> None:
        if index in block.scan.bad:
            where = f"{self._unit}:{int(block.lines[index])}"
            raise DataError(f"the header cannot be read: {block.scan.bad[index]}", where=where)
        record = block.octets[block.scan.starts[index] : block.scan.ends[index]]
        names, self.notes = header_names(split_record(record, self._grammar), unit=self._unit)
        if self.names and len(self.names) != len(names):
            message = f"{len(self.names)} names are declared and the header has {len(names)}"
            raise DataError(message, where=self._unit)
        self.names = self.names or names

    def read(self, block: Block, first: int, cells: CellReader) -> Readable:
        """Read the records of a block from the first on: structure, then cells."""
        wide = len(self.names) > 1
        blank = blanks(block)
        chosen = np.arange(first, len(block.scan.starts))
        delivered = chosen[~blank[first:]] if wide else chosen
        faults = {i: Fault("quote", None, why) for i, why in block.scan.bad.items() if i >= first}
        if b"\0" not in block.octets:
            try:
                return self._cells(block, delivered, faults, cells)
            except (pa.ArrowInvalid, DataError):
                pass
        self._structure(block, delivered, faults)
        try:
            return self._cells(block, delivered, faults, cells)
        except pa.ArrowInvalid as error:
            raise DataError(f"the text cannot be read: {error}", where=self._unit) from error

    def _cells(
        self, block: Block, delivered: NDArray[np.int64], faults: dict[int, Fault], cells: CellReader
    ) -> Readable:
        kept = delivered
        if faults:
            kept = delivered[~np.isin(delivered, list(faults))]
        out = Readable(kept, faults, delivered)
        out.typed, out.texts = cells.read(joined(block, kept), len(kept))
        return out

    def _structure(self, block: Block, delivered: NDArray[np.int64], faults: dict[int, Fault]) -> None:
        """Find the records that have another number of cells, NUL bytes, or bytes of no character."""
        expected = len(self.names)
        counts = count_cells(block.octets, block.scan, self._grammar)
        for index in delivered[counts[delivered] != expected].tolist():
            message = f"{counts[index]} cells where {expected} are expected"
            faults.setdefault(index, Fault("fields", None, message))
        octets = np.frombuffer(block.octets, dtype=np.uint8)
        nul = np.searchsorted(block.scan.ends, np.flatnonzero(octets == 0), side="right")
        for index in np.unique(nul).tolist():
            if index < len(block.scan.starts):
                faults.setdefault(index, Fault("nul", None, "a NUL byte stands in the record"))
        for index in _not_text(block):
            faults.setdefault(index, Fault("encoding", None, f"a byte is no {block.encoding} text"))


def blanks(block: Block) -> NDArray[np.bool_]:
    """Return which records are empty lines."""
    length = block.scan.ends - block.scan.starts
    octets = np.frombuffer(block.octets, dtype=np.uint8)
    first = octets[block.scan.starts]
    mask: NDArray[np.bool_] = (length <= 2) & ((first == 10) | (first == 13))
    return mask


def joined(block: Block, kept: NDArray[np.int64]) -> bytes:
    """Return the bytes of these records, in one piece."""
    if not len(kept):
        return b""
    starts, ends = block.scan.starts, block.scan.ends
    cuts = np.flatnonzero(np.diff(kept) != 1)
    if not len(cuts):
        first, last = int(starts[kept[0]]), int(ends[kept[-1]])
        return block.octets if (first, last) == (0, len(block.octets)) else block.octets[first:last]
    view = memoryview(block.octets)
    heads = starts[kept[np.concatenate(([0], cuts + 1))]].tolist()
    tails = ends[kept[np.concatenate((cuts, [len(kept) - 1]))]].tolist()
    # a lone CR and an LF that was far from it must not become one line end
    ends_in_cr = [block.octets[tail - 1] == 13 for tail in tails]
    return b"".join(
        bytes(view[head:tail]) + b"\n" if lone else view[head:tail]
        for head, tail, lone in zip(heads, tails, ends_in_cr, strict=True)
    )


def _not_text(block: Block) -> list[int]:
    """Positions of the records with bytes that are no UTF-8."""
    out, position = [], 0
    while position < block.scan.end:
        try:
            block.octets[position : block.scan.end].decode("utf-8")
            break
        except UnicodeDecodeError as error:
            index = int(np.searchsorted(block.scan.ends, position + error.start, side="right"))
            out.append(index)
            position = int(block.scan.ends[index])
    return out


class CsvRows:
    """The rows of one delimited file.

    Args:
        content: the file.
        shape: the columns and dialect to read it by.
        unit: its name.
        number: its number within the source.
        constants: the partition columns' values.
    """

    def __init__(
        self, content: Content, *, shape: Shape, unit: str, number: int, constants: Mapping[str, object]
    ) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._content = content
        self._shape = shape
        self._unit = unit
        self._number = number
        self._constants = constants

    def __iter__(self) -> Iterator[Chunk]:
        shape = self._shape
        assert shape.dialect is not None
        own = [column.name for column in shape.columns if column.name not in shape.partitions]
        declared = () if shape.dialect.header else own
        table = Table(self._content, shape.dialect, unit=self._unit, names=declared)
        cells: CellReader | None = None
        for block, begin, first in table.blocks():
            if cells is None and table.names:
                cells = self._reader(table.names, own, shape.dialect)
            rejects = self._preamble(block, begin)
            if cells is None or first >= len(block.scan.starts):
                yield Chunk(batch_of(shape, {}, self._number, 0, self._constants), rejects)
                continue
            yield self._chunk(block, table.read(block, first, cells), cells, rejects)
        self.digest = self._content.digest

    def _reader(self, names: list[str], own: list[str], dialect: Dialect) -> CellReader:
        extra = [name for name in names if name not in own]
        if extra:
            raise DataError(
                f"the file has the column `{extra[0]}`, which the source does not know",
                code="GM-D114",
                where=self._unit,
                hint=did_you_mean(extra[0], own) or "infer the source's shape again",
            )
        missing = [name for name in own if name not in names]
        if missing:
            note_missing(self.detail, missing)
        schema = self._shape.schema
        types = {name: schema.field(name).type for name in own if name in names}
        shape = self._shape
        return CellReader(names, types, dialect=dialect, nulls=shape.nulls, value_nulls=shape.value_nulls)

    def _preamble(self, block: Block, until: int) -> list[Reject]:
        blank = blanks(block)
        fault = Fault("preamble", None, "the record stands before the header")
        return [self._reject(block, i, fault, self._next()) for i in range(until) if not blank[i]]

    def _next(self) -> int:
        self.delivered += 1
        return self.delivered

    def _chunk(self, block: Block, found: Readable, cells: CellReader, rejects: list[Reject]) -> Chunk:
        numbers = np.zeros(len(block.scan.starts), dtype=np.int64)
        numbers[found.delivered] = np.arange(self.delivered + 1, self.delivered + len(found.delivered) + 1)
        self.delivered += len(found.delivered)
        columns, wrong = self._typed(found, cells)
        kept = found.kept
        if wrong:
            fits = np.ones(len(kept), dtype=bool)
            fits[list(wrong)] = False
            columns = {name: array.filter(pa.array(fits)) for name, array in columns.items()}
            found.faults.update({int(kept[row]): fault for row, fault in wrong.items()})
            kept = kept[fits]
        rejects += [
            self._reject(block, index, found.faults[index], int(numbers[index]))
            for index in sorted(found.faults)
            if numbers[index]
        ]
        origin = (numbers[kept], block.lines[kept], None if block.offsets is None else block.offsets[kept])
        return Chunk(batch_of(self._shape, columns, self._number, len(kept), self._constants, origin), rejects)

    def _typed(self, found: Readable, cells: CellReader) -> tuple[dict[str, pa.Array], dict[int, Fault]]:
        columns = dict(found.typed)
        wrong: dict[int, Fault] = {}
        for name, texts in found.texts.items():
            columns[name], bad = cells.cast(name, texts)
            kind = next(column.type for column in self._shape.columns if column.name == name)
            for row in np.flatnonzero(bad).tolist():
                wrong.setdefault(row, Fault("type", name, f"{texts[row].as_py()!r:.120} is no {kind}"))
        for column in self._shape.columns:
            array = columns.get(column.name)
            if not column.nullable and array is not None and array.null_count:
                for row in np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)).tolist():
                    wrong.setdefault(row, Fault("null", column.name, "the cell is empty and must not be"))
        return columns, wrong

    def _reject(self, block: Block, index: int, fault: Fault, record: int) -> Reject:
        return Reject(
            record=record,
            line=int(block.lines[index]),
            offset=None if block.offsets is None else int(block.offsets[index]),
            raw=block.raw(index),
            reason=fault.reason,
            column=fault.column,
            message=fault.message,
        )
