"""The narrowest type that every cell of a column fits, over the whole content of all given files.

The ladder: boolean (``true``, ``false`` in common spellings), int64, double, date, timestamp, string. What
would lose something stays text: digits with leading zeros, integers beyond 64 bits, integers of 16 digits
and more in a column of fractions. A word such as ``NA`` means null where all other cells of its column are
values; where they are text it stays text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.connect.cast import exact_cast
from gristmill.connect.csv_cells import CellReader
from gristmill.connect.csv_read import Table
from gristmill.connect.type_names import TEXT, parse_type

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from gristmill.connect.csv_text import Block
    from gristmill.connect.places import Content
    from gristmill.connect.values import Dialect

NULL_WORDS = (
    *("NA", "N/A", "n/a", "na", "#N/A", "NULL", "null", "Null", "None", "none"),
    *("NaT", "\\N", "-", "?", "."),
)
_LADDER = ("boolean", "int64", "double", "date", "timestamp")
_NEXT = {
    "boolean": (),
    "int64": ("double",),
    "double": (),
    "date": ("timestamp",),
    "timestamp": (),
}
_TRUTH = r"^(?i:true|false)$"
_PADDED = r"^[ \t]*[-+]?0[0-9]"
_WIDE = r"^[ \t]*[-+]?[0-9]{16,}[ \t]*$"
_EXACT_DOUBLE = 2.0**53
_FEW = 0.1
"""A column of which at most this share of cells does not fit a type is worth a word on why it is text."""


class Miss(NamedTuple):
    """A cell that keeps its column from having a type, and which one that would be."""

    text: str
    kind: str
    where: str = ""


class Guess:
    """What one column has shown so far; ``words`` may turn out to mean null."""

    def __init__(self, words: Sequence[str] = NULL_WORDS) -> None:
        self.kind: str | None = None
        self.largest = 0.0
        self._words = pa.array(words, pa.string())
        self.tokens: set[str] = set()
        self.miss: Miss | None = None

    def widen(self, cells: pa.Array) -> int | None:
        """Take more cells (null where empty) into account.

        Returns the position of a cell that alone, or nearly, makes this column text; ``miss`` says what it is.
        """
        whole, before = cells, self.kind
        self._take(cells.drop_null())
        if self.kind != TEXT or before == TEXT:
            return None
        found = near_miss(whole, before, self._words)
        if found is None:
            return None
        self.miss = found[1]
        return found[0]

    def _take(self, cells: pa.Array) -> None:
        if self.kind == TEXT or not len(cells):
            return
        words = pc.is_in(cells, value_set=self._words)
        values = cells.filter(pc.invert(words))
        tokens = cells.filter(words)
        for kind in self._candidates() if len(values) else ():
            exact = kind != "double" or self.largest < _EXACT_DOUBLE
            if exact and all_fit(values, kind):
                self.kind = kind
                break
        else:
            if len(values):
                self.kind = TEXT
                return
        if len(tokens):
            self.tokens.update(pc.unique(tokens).to_pylist())

    def _candidates(self) -> tuple[str, ...]:
        return _LADDER if self.kind is None else (self.kind, *_NEXT[self.kind])


def all_fit(values: pa.Array, kind: str) -> bool:
    """Whether every text is of a type, and nothing is lost by reading it so.

    >>> all_fit(pa.array(["1", "2"]), "int64"), all_fit(pa.array(["01", "2"]), "int64")
    (True, False)
    """
    if kind == "boolean":
        return bool(pc.all(pc.match_substring_regex(values, _TRUTH)).as_py()) and _cast_fits(values, kind)
    if kind in ("int64", "double") and pc.any(pc.match_substring_regex(values, _PADDED)).as_py():
        return False
    if kind == "double" and pc.any(pc.match_substring_regex(values, _WIDE)).as_py():
        return False
    return _cast_fits(values, kind)


def _cast_fits(values: pa.Array, kind: str) -> bool:
    head = exact_cast(values[:64], parse_type(kind))[1]
    return not head.any() and not exact_cast(values, parse_type(kind))[1].any()


def near_miss(cells: pa.Array, before: str | None, words: pa.Array) -> tuple[int, Miss] | None:
    """Return position and text of the first of few cells that make a column text; None where many do.

    >>> near_miss(pa.array(["1", "2", "lots", *"34567890123456789"]), None, pa.array(["NA"]))
    (2, Miss(text='lots', kind='int64', where=''))
    """
    plain = pc.if_else(pc.is_in(cells, value_set=words), pa.scalar(None, pa.string()), cells)
    for kind in _LADDER[1:] if before is None else (before, *_NEXT[before]):
        for part in (plain[:256], plain):
            bad = exact_cast(part, parse_type(kind))[1]
            if kind in ("int64", "double"):
                bad |= pc.fill_null(pc.match_substring_regex(part, _PADDED), False).to_numpy(zero_copy_only=False)
            if bad.sum() > _FEW * (len(part) - part.null_count):
                break
        else:
            if bad.any():
                position = int(np.argmax(bad))
                return position, Miss(cells[position].as_py(), kind)
    return None


class Inference:
    """The guesses for the columns of a source, fed file by file.

    Args:
        declared: types that the user gave; their columns are not guessed.
        nulls: null tokens that the user gave, or None where they are to be found.
    """

    def __init__(self, declared: Mapping[str, str], nulls: Sequence[str] | None) -> None:
        self.guesses: dict[str, Guess] = {}
        self.rows = 0
        self.notes: list[str] = []
        self._declared = declared
        self._nulls = nulls

    def feed(self, content: Content, dialect: Dialect, *, unit: str, names: Sequence[str] = ()) -> list[str]:
        """Take a whole file into account; returns its column names."""
        table = Table(content, dialect, unit=unit, names=names)
        for block, _, first in table.blocks():
            if not table.names and first < len(block.scan.starts):
                table.names = [f"column{i + 1}" for i in range(_width(block, first, dialect))]
            for name in table.names:
                self.guesses.setdefault(name, Guess(NULL_WORDS if self._nulls is None else ()))
            if first < len(block.scan.starts):
                self.rows += len(block.scan.starts) - first
                self._block(table, block, first, dialect, unit)
        self.notes += [note for note in table.notes if note not in self.notes]
        return table.names

    def _block(self, table: Table, block: Block, first: int, dialect: Dialect, unit: str) -> None:
        padded = _padded_digits(block.octets)
        kinds: dict[str, pa.DataType] = {}
        for name in table.names:
            kind = self.guesses[name].kind
            if name in self._declared or kind == TEXT:
                continue
            as_text = kind in (None, "boolean") or (padded and kind in ("int64", "double"))
            kinds[name] = pa.string() if as_text or kind is None else parse_type(kind)
        if not kinds:
            return
        found, kept = self._read(table, block, first, dialect, kinds)
        again = {name: pa.string() for name, array in found.items() if _too_wide(array)}
        if again:
            found.update(self._read(table, block, first, dialect, again)[0])
        for name, array in found.items():
            if pa.types.is_string(array.type):
                guess = self.guesses[name]
                position = guess.widen(array)
                if position is not None and guess.miss is not None:
                    guess.miss = guess.miss._replace(where=f"{unit}:{int(block.lines[kept[position]])}")
            elif pa.types.is_integer(array.type):
                self.guesses[name].largest = max(self.guesses[name].largest, _largest(array))

    def _read(
        self, table: Table, block: Block, first: int, dialect: Dialect, kinds: dict[str, pa.DataType]
    ) -> tuple[dict[str, pa.Array], NDArray[np.int64]]:
        tokens = sorted(set().union(*(guess.tokens for guess in self.guesses.values())))
        nulls = list(self._nulls or ())
        cells = CellReader(table.names, kinds, dialect=dialect, nulls=nulls, value_nulls=tokens)
        readable = table.read(block, first, cells)
        return {**readable.typed, **readable.texts}, readable.kept


def _width(block: Block, first: int, dialect: Dialect) -> int:
    from gristmill.connect.csv_scan import Grammar, count_cells

    counts = count_cells(block.octets, block.scan, Grammar(dialect))[first:]
    sizes, times = np.unique(counts, return_counts=True)
    return int(sizes[::-1][np.argmax(times[::-1])])


def _padded_digits(octets: bytes) -> bool:
    """Whether a 0 stands behind something that is no digit or point, with a digit behind it."""
    if len(octets) < 2:
        return False
    array = np.frombuffer(octets, dtype=np.uint8)
    zeros = np.flatnonzero(array[:-1] == 48)
    following = array[zeros + 1]
    zeros = zeros[(following >= 48) & (following <= 57)]
    before = array[np.maximum(zeros - 1, 0)]
    inside = ((before >= 48) & (before <= 57)) | (before == 46)
    return bool((~inside | (zeros == 0)).any())


def _too_wide(array: pa.Array) -> bool:
    return pa.types.is_floating(array.type) and _largest(array) >= _EXACT_DOUBLE


def _largest(array: pa.Array) -> float:
    bounds = pc.min_max(array)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    return 0 if low is None else max(-low, high)
