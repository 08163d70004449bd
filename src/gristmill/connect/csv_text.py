"""Delimited text as UTF-8 blocks that begin at a record, with the true byte offset of every record."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from gristmill.connect.csv_scan import Grammar, Scan, scan
from gristmill.connect.values import codec_name
from gristmill.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gristmill.connect.csv_scan import Positions
    from gristmill.connect.values import Dialect

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(slots=True)
class Block:
    """A run of whole records: UTF-8 bytes, where they start and end, and where that is in the file.

    ``lines`` counts from 1; ``offsets`` is None where the encoding does not tell them.
    """

    octets: bytes
    scan: Scan
    lines: Positions
    offsets: Positions | None
    encoding: str

    def raw(self, index: int) -> bytes:
        """The bytes of a record as they stand in the file."""
        record = self.octets[self.scan.starts[index] : self.scan.ends[index]]
        if self.encoding == "utf-8":
            return record
        return record.decode("utf-8", "surrogatepass").encode(self.encoding, _on_error(self.encoding))


def mark_of(head: bytes) -> tuple[str, int] | None:
    """Return the encoding that a byte order mark names, and the mark's length.

    >>> mark_of(b"\\xff\\xfea\\x00")
    ('utf-16-le', 2)
    """
    return next(((name, len(mark)) for mark, name in _MARKS if head.startswith(mark)), None)


def _on_error(encoding: str) -> str:
    return "surrogatepass" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"


def _width(encoding: str) -> int | None:
    """Bytes of a code unit where all have the same, else None."""
    if encoding.startswith("utf-16"):
        return 2
    if encoding.startswith("utf-32"):
        return 4
    try:
        decoder = codecs.getincrementaldecoder(encoding)()
        single = all(len(decoder.decode(bytes([i]))) == 1 for i in range(0x20, 0x7F))
        multi = isinstance(decoder, _multibyte())
    except UnicodeDecodeError:
        return None
    return 1 if single and not multi and not encoding.startswith("utf") else None


def _multibyte() -> type:
    return type(codecs.getincrementaldecoder("gbk")()).__mro__[1]


class Decoder:
    """Turns blocks of a file into UTF-8; bytes that are not of the encoding stay recognisable."""

    def __init__(self, encoding: str, head: bytes) -> None:
        mark = mark_of(head)
        self.encoding, self.mark = mark or (codec_name(encoding), 0)
        self._plain = self.encoding in ("utf-8", "ascii")
        if self._plain:
            self.encoding = "utf-8"
        self.width = None if self._plain else _width(self.encoding)
        self._decoder = None if self._plain else codecs.getincrementaldecoder(self.encoding)(_on_error(self.encoding))

    def decode(self, block: bytes, *, final: bool) -> bytes:
        """Return a block as UTF-8."""
        if self._decoder is None:
            return block
        try:
            return self._decoder.decode(block, final).encode("utf-8", "surrogatepass")
        except UnicodeError as error:
            message = f"the content is no {self.encoding}: {error}"
            raise DataError(message, code="GM-D112", hint="declare the right encoding") from error

    def offsets(self, octets: bytes, starts: Positions, base: int) -> Positions | None:
        """Return the byte offset in the file of each position in a decoded block."""
        if self._plain:
            return starts + base
        if self.width is None:
            return None
        units = np.frombuffer(octets, dtype=np.uint8)
        weight = ((units & 0xC0) != 0x80).astype(np.int64)
        if self.width == 2:
            weight += units >= 0xF0
        total = np.concatenate(([0], np.cumsum(weight)))
        return total[starts] * self.width + base


def _with_ends(blocks: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield each block and whether it is the last; an empty content is one empty block."""
    before = next(blocks, b"")
    for block in blocks:
        yield before, False
        before = block
    yield before, True


def records(blocks: Iterator[bytes], dialect: Dialect, *, name: str) -> Iterator[Block]:
    """Yield the whole records of a content, after its byte order mark and the lines to skip.

    Args:
        blocks: the decompressed bytes of the file.
        dialect: how the text is written.
        name: the unit, for errors.
    """
    grammar = Grammar(dialect)
    decoder: Decoder | None = None
    carry, base, line, skip = b"", 0, 1, dialect.skip
    for raw, final in _with_ends(blocks):
        if decoder is None:
            decoder = Decoder(dialect.encoding, raw)
            raw = raw[decoder.mark :]
            base = decoder.mark
        try:
            text = decoder.decode(raw, final=final)
        except DataError as error:
            error.where = name
            raise
        block = carry + text if carry else text
        while skip and (match := grammar.line_end.search(block)) and (final or match.end() < len(block)):
            base = _moved(decoder, block, match.end(), base)
            block, skip, line = block[match.end() :], skip - 1, line + 1
        if skip:
            carry = b"" if final else block
            continue
        found = scan(block, grammar, final=final)
        if len(found.starts):
            offsets = decoder.offsets(block, found.starts, base)
            yield Block(block, found, found.lines_before + line, offsets, decoder.encoding)
        base = _moved(decoder, block, found.end, base)
        line += found.lines
        carry = block[found.end :]


def _moved(decoder: Decoder, block: bytes, end: int, base: int) -> int:
    moved = decoder.offsets(block, np.array([end]), base)
    return base if moved is None else int(moved[0])
