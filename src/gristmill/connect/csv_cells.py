"""From sound records to typed columns: Arrow's reader where it is exact, cell by cell where it is not.

Arrow's CSV reader is strict, with three exceptions that are looked for here: it takes ``0x1F`` for an
integer, ``1e999`` for infinity, and dates in a year 0. A column that shows one of them, or that Arrow
refuses, is read as text instead and cast by ``cast.exact_cast``, which says which cells do not fit.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from gristmill.connect.cast import FALSE_WORDS, TRUE_WORDS, exact_cast
from gristmill.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from gristmill.connect.values import Dialect

_AT_COLUMN = re.compile(r"In CSV column #(\d+): ")
_MARK = b"\xef\xbb\xbf"
_NAIVE = pa.timestamp("us")
_DEMOTIONS = 4


class CellReader:
    """Reads the cells of sound records of one file; remembers which timestamp columns name no zone.

    Args:
        names: the file's columns in order.
        types: the type of each; columns left out are not read.
        dialect: how the text is written.
        nulls: unquoted tokens that are null in every column.
        value_nulls: further tokens that are null in columns that are not text.
    """

    def __init__(
        self,
        names: Sequence[str],
        types: dict[str, pa.DataType],
        *,
        dialect: Dialect,
        nulls: Sequence[str] = (),
        value_nulls: Sequence[str] = (),
    ) -> None:
        self._labels = [str(i) for i in range(len(names))]
        self._wanted = {str(i): types[name] for i, name in enumerate(names) if name in types}
        self._names = dict(zip(self._labels, names, strict=True))
        self._order = [name for name in types if name in names]
        self._naive: set[str] = set()
        self._text_nulls = sorted({"", *nulls})
        self._value_nulls = sorted({"", *nulls, *value_nulls})
        self._parse = pacsv.ParseOptions(
            delimiter=dialect.delimiter,
            quote_char=dialect.quote or False,
            double_quote=bool(dialect.quote),
            escape_char=dialect.escape or False,
            newlines_in_values=True,
            ignore_empty_lines=len(names) > 1,
        )

    def read(self, raw: bytes, rows: int) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
        """Return the columns of a block as ``(typed, texts)``: those that fit whole, and the others."""
        text = [label for label, kind in self._wanted.items() if pa.types.is_string(kind)]
        values = [label for label in self._wanted if label not in text]
        hexadecimal = _hexadecimal(raw)
        asked = {
            label: self._asked(label)
            for label in values
            if not (hexadecimal and pa.types.is_integer(self._wanted[label]))
        }
        if self._value_nulls == self._text_nulls:
            table, asked = self._settle(raw, rows, text + values, asked)
        else:
            table = self._parsed(raw, rows, text, {}, self._text_nulls)
            more, asked = self._settle(raw, rows, values, asked)
            table = {**table, **more}
        return self._sorted_out(raw, rows, table, asked)

    def _sorted_out(
        self, raw: bytes, rows: int, table: dict[str, pa.Array], asked: dict[str, pa.DataType]
    ) -> tuple[dict[str, pa.Array], dict[str, pa.Array]]:
        typed: dict[str, pa.Array] = {}
        texts: dict[str, pa.Array] = {}
        for label, kind in self._wanted.items():
            array = table[label]
            if pa.types.is_string(kind) or (label in asked and not _odd(array)):
                typed[self._names[label]] = self._zoned(label, array)
                continue
            if label in asked:
                array = self._parsed(raw, rows, [label], {}, self._value_nulls)[label]
            texts[self._names[label]] = self._without_tokens(array)
        return typed, texts

    def cast(self, name: str, cells: pa.Array) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Cast a column of texts to its type; see ``exact_cast``."""
        label = next(label for label, known in self._names.items() if known == name)
        kind = self._wanted[label]
        values, bad = exact_cast(cells, kind)
        if kind == pa.timestamp("us", tz="UTC"):
            self._remember(label, cells)
        return values, bad

    def _remember(self, label: str, cells: pa.Array) -> None:
        first = next((cell for cell in cells.drop_null()[:1].to_pylist()), "")
        zoned = first.endswith("Z") or re.search(r"[-+]\d\d:?\d\d$", first[10:]) is not None
        (self._naive.discard if zoned else self._naive.add)(label)

    def _asked(self, label: str) -> pa.DataType:
        return _NAIVE if label in self._naive else self._wanted[label]

    def _zoned(self, label: str, array: pa.Array) -> pa.Array:
        kind = self._wanted[label]
        return array if array.type == kind else pc.cast(array, kind)

    def _without_tokens(self, cells: pa.Array) -> pa.Array:
        """In a column of values a quoted null token is null too: many writers quote every cell."""
        tokens = pc.is_in(cells, value_set=pa.array(self._value_nulls, pa.string()))
        return pc.if_else(tokens, pa.scalar(None, pa.string()), cells)

    def _settle(
        self, raw: bytes, rows: int, labels: list[str], asked: dict[str, pa.DataType]
    ) -> tuple[dict[str, pa.Array], dict[str, pa.DataType]]:
        """Read, and ask for text wherever Arrow refuses a column, until it refuses none."""
        for _ in range(_DEMOTIONS):
            try:
                return self._parsed(raw, rows, labels, asked, self._value_nulls), asked
            except pa.ArrowInvalid as error:
                match = _AT_COLUMN.search(str(error))
                if match is None or match[1] not in asked:
                    break
                asked = {label: kind for label, kind in asked.items() if label != match[1]}
        return self._parsed(raw, rows, labels, {}, self._value_nulls), {}

    def _parsed(
        self, raw: bytes, rows: int, labels: list[str], asked: dict[str, pa.DataType], nulls: list[str]
    ) -> dict[str, pa.Array]:
        if not raw:
            return {label: pa.array([], asked.get(label, pa.string())) for label in labels}
        if not labels:
            return {}
        marked = raw.startswith(_MARK)
        if marked:  # Arrow would take a byte order mark away, which here is text
            raw = b"\n" + raw
            rows += self._parse.ignore_empty_lines is False
        table = pacsv.read_csv(
            pa.BufferReader(raw),
            read_options=pacsv.ReadOptions(column_names=self._labels, block_size=len(raw) + 1),
            parse_options=self._parse,
            convert_options=pacsv.ConvertOptions(
                column_types={label: asked.get(label, pa.string()) for label in self._labels},
                include_columns=labels,
                null_values=nulls,
                true_values=list(TRUE_WORDS),
                false_values=list(FALSE_WORDS),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
        if table.num_rows != rows:
            raise DataError(
                f"two ways of finding records disagree: {rows} and {table.num_rows}",
                code="GM-D110",
                hint="declare delimiter, quote and escape of this source",
            )
        if marked and self._parse.ignore_empty_lines is False:
            table = table.slice(1)
        return {label: _one(table.column(label)) for label in labels}


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _hexadecimal(raw: bytes) -> bool:
    """Whether some word starts with ``0x``."""
    if b"0x" not in raw and b"0X" not in raw:
        return False
    octets = np.frombuffer(raw, dtype=np.uint8)
    zeros = np.flatnonzero(octets[:-1] == ord("0"))
    zeros = zeros[(octets[zeros + 1] | 0x20) == ord("x")]
    before = octets[np.maximum(zeros - 1, 0)] | 0x20
    within = ((before >= ord("a")) & (before <= ord("z"))) | ((before >= ord("0")) & (before <= ord("9")))
    return bool((~within | (zeros == 0)).any())


def _odd(array: pa.Array) -> bool:
    """Whether a typed column may hold what Arrow lets pass and we do not."""
    if pa.types.is_floating(array.type):
        return bool(pc.any(pc.is_inf(array)).as_py())
    if pa.types.is_date(array.type) or pa.types.is_timestamp(array.type):
        earliest = pc.min_max(array)["min"]
        return bool(earliest.is_valid and pc.less(pc.year(earliest), 1).as_py())
    return False
