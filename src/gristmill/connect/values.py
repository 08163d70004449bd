"""The frozen values that every source hands over: what was found, its shape, its rows and its rejects."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

from gristmill.connect.type_names import parse_type
from gristmill.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

Status = Literal["new", "changed", "same", "gone"]


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One unit that a source sees now, compared with what it has landed before.

    Args:
        name: the unit's name: a path relative to the root, or a full URL; a zip member is
            ``archive.zip!member``.
        size_bytes: size as found, before decompression.
        modified_ns: modification time as found, 0 where there is none.
        digest: blake3 (hex) of the bytes as found; None where it was not needed to tell the status.
        status: ``new``, ``changed``, ``same`` (as landed) or ``gone`` (landed once, not there now).
        detail: what the connector needs to read it, such as where a query's window begins.
    """

    name: str
    size_bytes: int = 0
    modified_ns: int = 0
    digest: str | None = None
    status: Status = "new"
    detail: dict[str, str] = {}


class Column(msgspec.Struct, frozen=True):
    """A column of a shape: its name, its type in words (see ``type_names.py``), whether it may be null."""

    name: str
    type: str
    nullable: bool = True


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """How a delimited text is to be read; every field is one ASCII character or empty where there is none.

    Args:
        delimiter: stands between two cells.
        quote: encloses a cell; doubled inside one. Empty: quotes are ordinary text.
        escape: makes the next character ordinary text. Empty: there is none.
        encoding: a Python codec name; a byte order mark in the file wins over it.
        header: whether the first record holds the names.
        skip: physical lines to leave out before anything else.
        preamble: records before the header that are set aside as rejects.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str = ""
    encoding: str = "utf-8"
    header: bool = True
    skip: int = 0
    preamble: int = 0


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """What the user said about a delimited text; None where nothing was said."""

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    encoding: str | None = None
    header: bool | tuple[str, ...] | None = None
    skip: int = 0

    def checked(self) -> Declared:
        """Return this, or raise UsageError for a character that cannot serve."""
        for name in ("delimiter", "quote", "escape"):
            letter = getattr(self, name)
            if letter is None or (letter == "" and name != "delimiter"):
                continue
            if len(letter) != 1 or not letter.isascii() or letter in "\r\n\0":
                raise UsageError(f"{name} {letter!r} is not one ASCII character", hint=f'{name}=";" for example')
        marks = [mark for mark in (self.delimiter, self.quote, self.escape) if mark]
        if len(set(marks)) < len(marks):
            raise UsageError("delimiter, quote and escape must differ", hint='escape="" when quotes are doubled')
        if self.encoding is not None:
            codec_name(self.encoding)
        if self.skip < 0:
            raise UsageError(f"skip={self.skip} is less than nothing")
        return self


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows of a source look like, and every assumption made to say so.

    Args:
        columns: the columns in order, partition columns last.
        nulls: unquoted tokens that mean null in every column; the empty cell always does.
        value_nulls: further tokens that mean null in columns that are not text (found, not declared).
        dialect: how delimited text is read; None for other formats.
        partitions: names of the columns that come from folder names.
        assumptions: what was inferred, in words, for a person to agree with.
    """

    columns: tuple[Column, ...]
    nulls: tuple[str, ...] = ()
    value_nulls: tuple[str, ...] = ()
    dialect: Dialect | None = None
    partitions: tuple[str, ...] = ()
    assumptions: tuple[str, ...] = ()

    @property
    def schema(self) -> pa.Schema:
        """The columns as an Arrow schema."""
        import pyarrow as pa

        return pa.schema([pa.field(c.name, parse_type(c.type), nullable=c.nullable) for c in self.columns])

    def with_columns(self, types: Mapping[str, str]) -> Shape:
        """Return this shape with other types for the named columns.

        >>> Shape(columns=(Column("zip", "int64"),)).with_columns({"zip": "string"}).columns[0].type
        'string'
        """
        known = [column.name for column in self.columns]
        for name, text in types.items():
            if name not in known:
                raise UsageError(f"no column `{name}` to type", hint=did_you_mean(name, known))
            parse_type(text)
        columns = tuple(Column(c.name, types.get(c.name, c.type), c.nullable) for c in self.columns)
        return msgspec.structs.replace(self, columns=columns)


def codec_name(encoding: str) -> str:
    """Return Python's name of an encoding.

    Raises:
        UsageError: there is none of that name.
    """
    try:
        info = codecs.lookup(encoding)
    except LookupError as error:
        raise UsageError(f"no encoding is called `{encoding}`", hint="try utf-8, cp1252 or latin-1") from error
    if not info._is_text_encoding:
        raise UsageError(f"`{encoding}` is no text encoding", hint="try utf-8, cp1252 or latin-1")
    return info.name


class Reject(msgspec.Struct, frozen=True, kw_only=True):
    """One delivered record that cannot become a row, kept whole.

    Args:
        record: its number in the unit, from 1.
        line: its first physical line, from 1; None where the format has none.
        offset: the byte where it starts in the decompressed content; None where that cannot be told.
        raw: its bytes as delivered.
        reason: ``fields``, ``quote``, ``encoding``, ``nul``, ``type``, ``preamble``, ``size`` or ``json``.
        column: the column that does not fit, where one can be named.
        message: the reason in words.
    """

    record: int
    line: int | None
    offset: int | None
    raw: bytes
    reason: str
    column: str | None
    message: str


class Chunk(NamedTuple):
    """A part of a unit: rows with the shape's columns and the origin columns, and the records set aside."""

    rows: pa.RecordBatch
    rejects: list[Reject]


def note_missing(detail: dict[str, str], names: Sequence[str]) -> None:
    """Note in a unit's detail which columns of the source it lacks, besides those that are noted already."""
    before = [name for name in detail.get("missing_columns", "").split(",") if name]
    detail["missing_columns"] = ",".join([*before, *names])


class UnitRows(Protocol):
    """The rows of one unit, read once; what it delivered is known when the iteration has ended."""

    delivered: int
    digest: str
    detail: dict[str, str]

    def __iter__(self) -> Iterator[Chunk]: ...
