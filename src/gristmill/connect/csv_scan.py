"""Where the records of a delimited text start and end, found on the bytes.

Quotes are told by parity, with numpy, at memory speed, and every quote is then checked: an opening one
stands at the start of a cell, a closing one at its end. Where a quote stands elsewhere, parity means
nothing, and records are walked one by one until they are sound again:

- a quote inside a cell that does not start with one is ordinary text;
- text after a closing quote, or a quote that never closes, makes the record *bad*. Then only its first
  physical line is given up, and the next line starts a new record, so that one lost quote cannot swallow a
  file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gristmill.connect.values import Dialect

    Positions = NDArray[np.int64]

LIMIT_BYTES = 64 << 20
"""A record longer than this is taken for a quote that never closes."""

_LF, _CR = 10, 13
_WALK_BYTES, _WINDOW_BYTES = 1 << 10, 1 << 16
_AFTER = "a quote stands inside a plain cell, after a broken record"


@dataclass(slots=True)
class Scan:
    """The complete records of a block: byte positions, and line numbers counted from the block's start.

    ``bad`` gives the reason for a record that cannot be read, ``cells`` the number of cells of a record whose
    quotes do not pair. ``end`` is where the first incomplete record starts, ``lines`` the lines before it.
    """

    starts: Positions
    ends: Positions
    lines_before: Positions
    end: int = 0
    lines: int = 0
    bad: dict[int, str] = field(default_factory=dict)
    cells: dict[int, int] = field(default_factory=dict)


class Walked(NamedTuple):
    """One record walked byte by byte: where it ends, its cells, whether quotes stood inside plain cells."""

    end: int
    cells: int
    stray: bool
    bad: str = ""


class Grammar:
    """The compiled patterns of a dialect."""

    def __init__(self, dialect: Dialect) -> None:
        self.delimiter = ord(dialect.delimiter)
        self.quote = dialect.quote.encode()
        self.escape = dialect.escape.encode()
        escaped = re.escape(self.escape) + b"." if self.escape else b""
        stop = b"".join(re.escape(part) for part in (dialect.delimiter.encode(), self.escape))
        any_plain = b"[^" + stop + b"\\r\\n]"
        self.plain = re.compile(b"(?:" + (escaped + b"|" if escaped else b"") + any_plain + b")*+", re.DOTALL)
        quote = re.escape(self.quote)
        inner = b"|".join(p for p in (escaped, b"[^" + quote + re.escape(self.escape) + b"]++", quote * 2) if p)
        self.quoted = re.compile(quote + b"(?:" + inner + b")*+" + quote, re.DOTALL) if quote else None
        self.line_end = re.compile(b"\r\n|\n|\r")


def scan(block: bytes, grammar: Grammar, *, final: bool) -> Scan:
    """Return the complete records of a block that begins at the start of a record.

    Args:
        block: the bytes.
        grammar: the dialect's patterns.
        final: whether nothing follows, so that the last record needs no line end.
    """
    if not final and block.endswith(b"\r"):
        block = block[:-1]
    octets = np.frombuffer(block, dtype=np.uint8)
    marks = _marks(block, octets, grammar)
    lines = marks.line_ends
    out = _Collector()
    position, window, size = 0, len(block), len(block)
    while position < size:
        until = min(size, position + window)
        sound, wrong = _by_parity(octets, marks.within(position, until), grammar, (position, until), final)
        out.add(position, sound)
        position = int(sound[-1]) + 1 if len(sound) else position
        if wrong is not None:
            # after a wrong quote only a little is looked at, since the next one may be near
            position, moved = _walk(block, grammar, position, position + _WALK_BYTES, final, out)
            window = _WINDOW_BYTES
            if not moved:
                break
        elif until == size:
            break
        else:
            window *= 4
    if final and position < len(block):
        out.one(position, len(block))
        position = len(block)
    return out.scan(lines, position)


@dataclass(slots=True)
class _Marks:
    line_ends: Positions
    quotes: Positions

    def within(self, start: int, end: int) -> _Marks:
        lines = np.searchsorted(self.line_ends, (start, end))
        quotes = np.searchsorted(self.quotes, (start, end))
        return _Marks(self.line_ends[lines[0] : lines[1]], self.quotes[quotes[0] : quotes[1]])


class _Collector:
    def __init__(self) -> None:
        self.starts: list[Positions] = []
        self.ends: list[Positions] = []
        self.count = 0
        self.bad: dict[int, str] = {}
        self.cells: dict[int, int] = {}

    def add(self, start: int, last_bytes: Positions) -> None:
        if len(last_bytes):
            ends = last_bytes + 1
            self.starts.append(np.concatenate(([start], ends[:-1])))
            self.ends.append(ends)
            self.count += len(ends)

    def one(self, start: int, end: int, *, bad: str = "", cells: int | None = None) -> None:
        if bad:
            self.bad[self.count] = bad
        if cells is not None:
            self.cells[self.count] = cells
        self.starts.append(np.array([start]))
        self.ends.append(np.array([end]))
        self.count += 1

    def keep(self, count: int) -> None:
        """Forget the single records added beyond this many."""
        added = self.count - count
        if added:
            del self.starts[-added:], self.ends[-added:]
        self.count = count
        self.bad = {index: why for index, why in self.bad.items() if index < count}
        self.cells = {index: cells for index, cells in self.cells.items() if index < count}

    def scan(self, line_ends: Positions, position: int) -> Scan:
        none = np.zeros(0, dtype=np.int64)
        starts = np.concatenate(self.starts).astype(np.int64) if self.starts else none
        ends = np.concatenate(self.ends).astype(np.int64) if self.ends else none
        if np.array_equal(ends - 1, line_ends):
            lines = np.arange(len(starts), dtype=np.int64)
        else:
            lines = np.searchsorted(line_ends, starts).astype(np.int64)
        whole = int(np.searchsorted(line_ends, position))
        return Scan(starts, ends, lines, position, whole, self.bad, self.cells)


def _marks(block: bytes, octets: NDArray[np.uint8], grammar: Grammar) -> _Marks:
    line_ends = np.flatnonzero(octets == _LF)
    if b"\r" in block:
        returns = np.flatnonzero(octets == _CR)
        following = octets[np.minimum(returns + 1, len(octets) - 1)]
        lone = returns[(following != _LF) | (returns + 1 == len(octets))]
        if len(lone):
            line_ends = np.sort(np.concatenate((line_ends, lone)))
    quotes = np.zeros(0, dtype=np.int64)
    if grammar.quote and grammar.quote in block:
        quotes = np.flatnonzero(octets == grammar.quote[0])
    if grammar.escape and grammar.escape in block:
        escaped = escaped_positions(octets, grammar.escape[0])
        quotes = np.setdiff1d(quotes, escaped, assume_unique=True)
        line_ends = np.setdiff1d(line_ends, escaped, assume_unique=True)
    return _Marks(line_ends, quotes)


def escaped_positions(octets: NDArray[np.uint8], escape: int) -> Positions:
    """Positions of the bytes behind an odd run of escapes."""
    marks = np.flatnonzero(octets == escape)
    first = np.flatnonzero(np.diff(marks, prepend=-2) != 1)
    runs = np.diff(np.append(first, len(marks)))
    escaped: Positions = marks[first + runs - 1][runs % 2 == 1] + 1
    return escaped


def _by_parity(
    octets: NDArray[np.uint8], marks: _Marks, grammar: Grammar, span: tuple[int, int], final: bool
) -> tuple[Positions, int | None]:
    """The last bytes of the sound records in a span, and the first quote that parity cannot explain."""
    quotes = marks.quotes
    if not len(quotes):
        return marks.line_ends, None
    inside = np.searchsorted(quotes, marks.line_ends) & 1
    outer = marks.line_ends[inside == 0]
    wrong = _first_wrong(octets, quotes, grammar, span)
    if wrong is None and len(quotes) % 2 and span[1] == len(octets):
        endless = final or len(octets) - quotes[-1] > LIMIT_BYTES
        wrong = int(quotes[-1]) if endless else None
    if wrong is None:
        return outer, None
    return outer[: np.searchsorted(outer, wrong)], wrong


def _first_wrong(octets: NDArray[np.uint8], quotes: Positions, grammar: Grammar, span: tuple[int, int]) -> int | None:
    last = len(octets) - 1
    doubled = np.diff(quotes) == 1
    opening, closing = quotes[0::2], quotes[1::2]
    before = octets[np.maximum(opening - 1, 0)]
    good = (before == grammar.delimiter) | (before == _LF) | (before == _CR) | (opening == span[0])
    good[1:] |= doubled[1::2][: len(good) - 1]
    after = octets[np.minimum(closing + 1, last)]
    # what follows the span's last byte is judged with the next span
    fine = (after == grammar.delimiter) | (after == _LF) | (after == _CR) | (closing == span[1] - 1)
    pairs = doubled[1::2]
    fine[: len(pairs)] |= pairs
    first_bad = [int(side[np.argmin(ok)]) for side, ok in ((opening, good), (closing, fine)) if not ok.all()]
    return min(first_bad, default=None)


def _walk(block: bytes, grammar: Grammar, position: int, until: int, final: bool, out: _Collector) -> tuple[int, bool]:
    """Walk records one by one from here; returns where it stopped and whether it moved at all."""
    start, suspect_until, broken = position, 0, (position, out.count)
    while position < len(block) and (position < until or position < suspect_until):
        if position >= suspect_until:
            broken = (position, out.count)
        record = walk_record(block, position, grammar, final=final)
        if record is None and (final or len(block) - position > LIMIT_BYTES):
            record = Walked(position + 1, 0, False, "a quote is opened and never closed")
        line = grammar.line_end.search(block, position)
        bad = record and (record.bad or (record.stray and position < suspect_until and _AFTER))
        if record is None or (bad and line is None and not final):
            # what follows a broken record is judged with it, so both wait for the next block
            position = broken[0]
            out.keep(broken[1])
            break
        if bad:
            suspect_until = max(suspect_until, record.end)
            end = line.end() if line else len(block)
            out.one(position, end, bad=bad)
        else:
            end = record.end
            out.one(position, end, cells=record.cells)
        position = end
    return position, position > start


def walk_record(block: bytes, position: int, grammar: Grammar, *, final: bool) -> Walked | None:
    """Walk one record from its first byte; None where its end is not in the block."""
    cells, stray, size = 1, False, len(block)
    while True:
        if grammar.quoted is not None and block.startswith(grammar.quote, position):
            match = grammar.quoted.match(block, position)
            if match is None:
                return None
            position = match.end()
            if position < size and block[position] not in (grammar.delimiter, _LF, _CR):
                return Walked(position, cells, stray, "text stands behind a closing quote")
        else:
            match = grammar.plain.match(block, position)
            assert match is not None
            stray = stray or bool(grammar.quote and grammar.quote in match[0])
            position = match.end()
        if position >= size:
            return Walked(size, cells, stray) if final else None
        if block[position] != grammar.delimiter:
            crlf = block.startswith(b"\r\n", position)
            return Walked(position + (2 if crlf else 1), cells, stray)
        position += 1
        cells += 1
        if position >= size and not final:
            return None


def split_record(record: bytes, grammar: Grammar) -> list[bytes]:
    r"""Return the cells of one record, without quotes, escapes and line end.

    >>> from gristmill.connect.values import Dialect
    >>> split_record(b"a,'b,''c''',\n", Grammar(Dialect(quote="'")))
    [b'a', b"b,'c'", b'']
    """
    cells, position = [], 0
    unescape = re.compile(re.escape(grammar.escape) + b"(.)", re.DOTALL) if grammar.escape else None
    while True:
        quoted = grammar.quoted.match(record, position) if grammar.quoted is not None else None
        match = quoted or grammar.plain.match(record, position)
        assert match is not None
        cell = match[0][1:-1].replace(grammar.quote * 2, grammar.quote) if quoted else match[0]
        cells.append(unescape.sub(rb"\1", cell) if unescape else cell)
        position = match.end()
        if position >= len(record) or record[position] != grammar.delimiter:
            return cells
        position += 1


def count_cells(block: bytes, found: Scan, grammar: Grammar) -> Positions:
    """Return the number of cells of each record of a scan."""
    octets = np.frombuffer(block, dtype=np.uint8)
    marks = np.flatnonzero(octets == grammar.delimiter)
    if grammar.escape and grammar.escape in block:
        marks = np.setdiff1d(marks, escaped_positions(octets, grammar.escape[0]), assume_unique=True)
    if grammar.quote and grammar.quote in block:
        quotes = _marks(block, octets, grammar).quotes
        owner = np.searchsorted(found.ends, marks, side="right")
        known = owner < len(found.starts)
        marks, owner = marks[known], owner[known]
        before = np.searchsorted(quotes, marks) - np.searchsorted(quotes, found.starts)[owner]
        marks = marks[before % 2 == 0]
    edges = np.searchsorted(marks, np.append(found.starts, found.ends[-1:]))
    counts: Positions = np.diff(edges) + 1
    for index, cells in found.cells.items():
        counts[index] = cells
    return counts
