"""Where the values of a JSON text start and end, and strict reading of one value.

Three layouts: ``lines`` (one value a line), ``array`` (the elements of one array), ``values`` (values one
after the other). Elements are found by strings and brackets on the bytes, so an element that is wrong inside
costs only itself. Strict means RFC 8259 and more: no NaN, no Infinity, no name twice in an object, no number
that overflows, no half characters.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from gristmill.connect.csv_scan import LIMIT_BYTES, escaped_positions
from gristmill.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Layout = Literal["lines", "array", "values"]
_BLANK = b" \t\r\n"
_HALF = re.compile(rb"\\u[dD][89a-fA-F]")
_BOM = b"\xef\xbb\xbf"
_RISE = np.zeros(256, dtype=np.int64)
_RISE[[ord("["), ord("{")]] = 1
_RISE[[ord("]"), ord("}")]] = -1
_STRUCTURAL = np.zeros(256, dtype=bool)
_STRUCTURAL[[ord(letter) for letter in "[]{},"]] = True


class Text(NamedTuple):
    """The bytes of one value, with its first line (from 1) and where it starts."""

    raw: bytes
    line: int
    offset: int


def strict(raw: bytes) -> object:
    """Return the value of a JSON text.

    Raises:
        ValueError: it is not strict JSON; the message says where.

    >>> strict(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    >>> strict(b"NaN")
    Traceback (most recent call last):
    ValueError: NaN is no JSON
    """
    try:
        value: object = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from error
    except RecursionError as error:
        raise ValueError("the value is nested too deep") from error
    if _HALF.search(raw):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError("half a character is escaped") from error
    return value


def _number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is beyond a double")
    return value


def _refuse(word: str) -> object:
    raise ValueError(f"{word} is no JSON")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r:.60} stands twice in an object")
    return out


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_float=_number, parse_constant=_refuse)


def layout_of(head: bytes, kind: str) -> Layout:
    """Return how a text whose first bytes are these is laid out; ``kind`` is ``json`` or ``ndjson``."""
    if kind == "ndjson":
        return "lines"
    head = head.removeprefix(_BOM).lstrip(_BLANK)
    if head.startswith(b"["):
        return "array"
    first, newline, _ = head.partition(b"\n")
    try:
        return "lines" if newline and isinstance(strict(first), dict) else "values"
    except ValueError:
        return "values"


def texts(blocks: Iterator[bytes], kind: str, *, unit: str) -> Iterator[list[Text]]:
    """Yield the values of a content, in lists of about a block.

    Args:
        blocks: the decompressed bytes.
        kind: ``json`` or ``ndjson``.
        unit: its name, for errors.

    Raises:
        DataError: the text is no UTF-8, its array never ends, or a value is longer than 64 MiB.
    """
    first = next(blocks, b"")
    if first.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError("the text is UTF-16; JSON is UTF-8", where=unit, code="GM-D112")
    start = 3 if first.startswith(_BOM) else 0
    layout = layout_of(first, kind)
    cutter = _Cutter(layout, unit, start)
    pending = first[start:]
    for block in blocks:
        found = cutter.cut(pending, final=False)
        if found:
            yield found
        pending = cutter.rest + block
        if len(cutter.rest) > LIMIT_BYTES:
            raise DataError("a value is longer than 64 MiB", where=f"{unit}:{cutter.line}")
    found = cutter.cut(pending, final=True)
    if found:
        yield found


class _Cutter:
    """Cuts blocks into values; ``rest`` is what belongs to the next block."""

    def __init__(self, layout: Layout, unit: str, offset: int) -> None:
        self.rest = b""
        self.line = 1
        self._offset = offset
        self._layout = layout
        self._unit = unit
        self._opened = layout != "array"
        self._closed = False
        self._any = False

    def cut(self, block: bytes, *, final: bool) -> list[Text]:
        """Return the values that end in this block."""
        if not self._opened:
            bracket = block.find(b"[")
            if bracket < 0:
                return self._keep(block, final, [])
            self._step(block, bracket + 1)
            block = block[bracket + 1 :]
            self._opened = True
        if self._layout == "lines":
            end = block.rfind(b"\n") + 1
            return self._keep(block[end:], final, self._lines(block[:end]))
        ends, gaps = self._ends(block)
        out: list[Text] = []
        position = 0
        for end, gap in zip(ends.tolist(), gaps.tolist(), strict=True):
            self._add(out, block, position, end - gap, separator=bool(gap))
            self._step(block[position:end], end - position)
            position = end
            if gap and block[end - 1] == ord("]"):
                self._closed = True
                break
            if gap and block[end - 1] == ord("}"):
                raise DataError("a bracket is closed that was not opened", where=f"{self._unit}:{self.line}")
        return self._keep(block[position:], final, out)

    def _lines(self, block: bytes) -> list[Text]:
        """Return the values of whole lines, each line's blanks and blank lines left out."""
        lines = block.split(b"\n")[:-1]
        sizes = np.fromiter(map(len, lines), dtype=np.int64, count=len(lines))
        starts = self._offset + np.cumsum(sizes + 1) - sizes - 1
        raws = [line.strip(_BLANK) for line in lines]
        kept = np.fromiter(map(len, raws), dtype=np.int64, count=len(raws))
        for index in np.flatnonzero(kept < sizes).tolist():
            starts[index] += len(lines[index]) - len(lines[index].lstrip(_BLANK))
        numbers = range(self.line, self.line + len(lines))
        self.line += len(lines)
        self._offset += len(block)
        found = list(map(Text, raws, numbers, starts.tolist()))
        return found if kept.all() else [text for text in found if text.raw]

    def _keep(self, rest: bytes, final: bool, out: list[Text]) -> list[Text]:
        self.rest = rest
        if not final:
            return out
        if self._layout == "array":
            if not self._closed:
                raise DataError("the array never ends: the file is cut off", where=f"{self._unit}:{self.line}")
            if rest.strip(_BLANK):
                raise DataError("text stands behind the array", where=f"{self._unit}:{self.line}")
        else:
            self._add(out, rest, 0, len(rest), separator=False)
        return out

    def _add(self, out: list[Text], block: bytes, start: int, end: int, *, separator: bool) -> None:
        piece = block[start:end]
        blank = len(piece) - len(piece.lstrip(_BLANK))
        raw = piece[blank:].rstrip(_BLANK)
        closing = block[end : end + 1] == b"]"
        if raw or (separator and (self._any or not closing)):
            out.append(Text(raw, self.line + piece[:blank].count(b"\n"), self._offset + blank))
            self._any = True

    def _step(self, piece: bytes, size: int) -> None:
        self.line += piece[:size].count(b"\n")
        self._offset += size

    def _ends(self, block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Ends of the values in a block that starts between two, and the size of what separates them."""
        octets = np.frombuffer(block, dtype=np.uint8)
        marks = np.flatnonzero(_STRUCTURAL[octets])
        quotes = np.flatnonzero(octets == ord('"'))
        if b"\\" in block:
            quotes = np.setdiff1d(quotes, escaped_positions(octets, ord("\\")), assume_unique=True)
        marks = marks[np.searchsorted(quotes, marks) % 2 == 0]
        depth = np.cumsum(_RISE[octets[marks]])
        if self._layout == "array":
            chosen = ((octets[marks] == ord(",")) & (depth == 0)) | (depth < 0)
            ends = marks[chosen] + 1
            return ends, np.ones(len(ends), dtype=np.int64)
        ends = marks[(depth == 0) & (_RISE[octets[marks]] < 0)] + 1
        return ends, np.zeros(len(ends), dtype=np.int64)
