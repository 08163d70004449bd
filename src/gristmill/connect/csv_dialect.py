"""Guessing how a delimited text is written, from its first mebibyte, and saying what was guessed.

Only what was not declared is guessed. The delimiter is the one of ``, tab ; |`` under which most records
have one number of cells; quotes are ``"`` unless they do not pair; records before the first one with that
number of cells are a preamble; the first record behind it names the columns unless one of its cells is a
number, a date or a truth value. Encodings are not guessed: a byte order mark is believed, all else is UTF-8
until declared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from gristmill.connect.cast import BOOLEAN, DATE, DOUBLE, NAIVE, ZONED
from gristmill.connect.csv_scan import Grammar, count_cells, scan, split_record
from gristmill.connect.csv_text import Decoder
from gristmill.connect.values import Declared, Dialect
from gristmill.errors import DataError

if TYPE_CHECKING:
    from gristmill.connect.places import Content

SAMPLE_BYTES = 1 << 20
DELIMITERS = (",", "\t", ";", "|")
_WORDS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_SEP_LINE = re.compile(rb"(?i:sep)=(.)\r?\n")
_VALUE = re.compile("|".join(f"(?:{pattern})" for pattern in (DOUBLE, BOOLEAN, DATE, NAIVE, ZONED)))


@dataclass(slots=True)
class _Reading:
    """The sample under one delimiter and quote."""

    dialect: Dialect
    cells: list[list[bytes]]
    usual: int
    share: float
    broken: int


def sniff(content: Content, declared: Declared, *, unit: str) -> tuple[Dialect, list[str]] | None:
    """Return the dialect of a file and the assumptions made; None where the file is empty.

    Args:
        content: the file.
        declared: what the user said.
        unit: its name, for errors and for the ending ``.tsv``.

    Raises:
        DataError: the header does not fit the rows.
    """
    sample, whole, encoding = _sample(content, declared)
    dialect = Dialect(
        delimiter=declared.delimiter or ",",
        quote='"' if declared.quote is None else declared.quote,
        escape=declared.escape or "",
        encoding=encoding,
        skip=declared.skip,
    )
    notes = [] if declared.encoding else [f"the text is {encoding}"]
    if declared.delimiter is None and (match := _SEP_LINE.match(sample)):
        dialect = msgspec.structs.replace(dialect, delimiter=match[1].decode(), skip=dialect.skip + 1)
        sample = sample[match.end() :]
        reading = _read(sample, dialect, whole)
    else:
        reading = _best(sample, declared, dialect, whole, unit)
    if reading is None or not reading.cells:
        return None
    if declared.delimiter is None:
        mark = reading.dialect.delimiter
        notes.append(f"cells are separated by {_WORDS.get(mark, mark)}")
    if declared.quote is None and not reading.dialect.quote:
        notes.append("quotes are ordinary text: they do not pair")
    return _with_header(reading, declared, notes, unit)


def _sample(content: Content, declared: Declared) -> tuple[bytes, bool, str]:
    with content.reader() as read:
        raw = read(SAMPLE_BYTES)
        while len(raw) < SAMPLE_BYTES and (more := read(SAMPLE_BYTES - len(raw))):
            raw += more
        whole = len(raw) < SAMPLE_BYTES or not read(1)
    decoder = Decoder(declared.encoding or "utf-8", raw)
    text = decoder.decode(raw[decoder.mark :], final=whole)
    grammar = Grammar(Dialect())
    for _ in range(declared.skip):
        match = grammar.line_end.search(text)
        text = text[match.end() :] if match else b""
    return text, whole, decoder.encoding


def _best(sample: bytes, declared: Declared, start: Dialect, whole: bool, unit: str) -> _Reading | None:
    if declared.delimiter is not None:
        delimiters: tuple[str, ...] = (declared.delimiter,)
    elif re.search(r"\.(tsv|tab)(\.|$)", unit.lower()):
        delimiters = ("\t", ",", ";", "|")
    else:
        delimiters = DELIMITERS
    quotes = ('"', "") if declared.quote is None else (declared.quote,)
    for quote in quotes:
        readings = [
            _read(sample, msgspec.structs.replace(start, delimiter=mark, quote=quote), whole)
            for mark in delimiters
            if mark not in (declared.quote, declared.escape)
        ]
        found = [r for r in readings if r is not None]
        if not found:
            return None
        # the first of equals wins; a delimiter that is never there separates nothing
        best = max(found, key=lambda r: (r.usual > 1, round(r.share, 2), r.usual))
        if not best.broken or quote == quotes[-1]:
            return best
        plain = _read(sample, msgspec.structs.replace(best.dialect, quote=""), whole)
        if plain is not None and plain.share == 1.0 and plain.usual > 1:
            return plain
        return best
    return None


def _read(sample: bytes, dialect: Dialect, whole: bool) -> _Reading | None:
    grammar = Grammar(dialect)
    found = scan(sample, grammar, final=whole)
    if not len(found.starts) and sample:
        found = scan(sample, grammar, final=True)
    if not len(found.starts):
        return None
    counts = count_cells(sample, found, grammar)
    blank = np.array([not sample[s:e].strip(b"\r\n") for s, e in zip(found.starts, found.ends, strict=True)])
    sound = ~blank
    if not sound.any():
        return None
    sizes, times = np.unique(counts[sound], return_counts=True)
    usual = int(sizes[::-1][np.argmax(times[::-1])])
    head = np.flatnonzero(sound)[:200]
    cells = [split_record(sample[found.starts[i] : found.ends[i]], grammar) for i in head]
    return _Reading(dialect, cells, usual, float(times.max() / sound.sum()), len(found.bad))


def _with_header(reading: _Reading, declared: Declared, notes: list[str], unit: str) -> tuple[Dialect, list[str]]:
    cells, usual = reading.cells, reading.usual
    at = next((i for i, record in enumerate(cells) if len(record) == usual), 0)
    enough = sum(len(record) == usual for record in cells) >= 2 and reading.share >= 0.5
    named = _names(cells[at])
    if at and not (enough and (declared.header or (declared.header is None and named))):
        if enough and declared.header is not False:
            raise DataError(
                f"the first record has {len(cells[0])} cells and the others have {usual}",
                code="GM-D113",
                where=f"{unit}:{reading.dialect.skip + 1}",
                hint="declare header=[...names], or skip= the lines before the header",
                examples=[b",".join(record).decode("utf-8", "replace")[:120] for record in cells[:2]],
            )
        at = 0
    header = bool(declared.header) if declared.header is not None else named
    if isinstance(declared.header, tuple):
        header = named and [cell.decode("utf-8", "replace").strip() for cell in cells[at]] == list(declared.header)
        at = at if header else 0
    if declared.header is None:
        notes.append("the first record names the columns" if header else "no record names the columns")
    if at:
        notes.append(f"{at} records before the header are a preamble and are set aside")
    return msgspec.structs.replace(reading.dialect, header=header, preamble=at), notes


def _names(cells: list[bytes]) -> bool:
    texts = [cell.decode("utf-8", "replace").strip() for cell in cells]
    return any(texts) and not any(_VALUE.match(text) for text in texts if text)
