"""Files as a source: which are there, what they look like, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.connect.places import CODECS, Content, Seen, digest_of, listed, plain_name, shown
from gristmill.connect.values import Declared, Found, Shape, UnitRows
from gristmill.errors import DataError, UsageError, did_you_mean
from gristmill.model.units import Unit

if TYPE_CHECKING:
    from gristmill.connect.sinks import SinkWriter

FORMATS = {
    "csv": (".csv", ".tsv", ".tab", ".txt"),
    "ndjson": (".ndjson", ".jsonl"),
    "json": (".json",),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc", ".arrows"),
}


class FilesSource(msgspec.Struct, frozen=True, kw_only=True):
    """The files that a pattern names, each file a unit; made by ``files``.

    Args:
        pattern: a path or glob relative to the root, or any fsspec URL.
        format: one of ``csv``, ``json``, ``ndjson``, ``parquet``, ``arrow``; None goes by the file's name.
        nulls: tokens that mean null; None finds them.
        types: types by column; the others are inferred.
        text: what was declared about delimited text.
        partitions: names of folder columns; None takes every ``name=value`` folder, empty takes none.
        compression: ``gzip``, ``zstd``, ``zip``, ``plain``; None goes by the file's name.
        on_change: whether a landed file that changed is read again (``replace``) or is an error (``refuse``).
    """

    pattern: str
    format: str | None = None
    nulls: tuple[str, ...] | None = None
    types: dict[str, str] = {}
    text: Declared = Declared()
    partitions: tuple[str, ...] | None = None
    compression: str | None = None
    on_change: Literal["replace", "refuse"] = "replace"

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words, without secrets."""
        out = {"kind": "files", "pattern": shown(self.pattern), "on_change": self.on_change}
        declared = {
            "format": self.format,
            "nulls": None if self.nulls is None else ", ".join(self.nulls),
            "types": ", ".join(f"{name} {kind}" for name, kind in self.types.items()) or None,
            "compression": self.compression,
            "partitions": None if self.partitions is None else ", ".join(self.partitions),
        }
        fields = msgspec.structs.asdict(self.text)
        declared |= {name: repr(value) for name, value in fields.items() if value not in (None, 0)}
        return out | {name: value for name, value in declared.items() if value is not None}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the files there now, against those landed before; only files that a stat call calls
        changed are hashed.

        Raises:
            DataError: a landed file changed and the source says ``on_change="refuse"``.
            EngineError: the place cannot be reached.
        """
        seen = listed(root, self.pattern, self.compression)
        found = [self._compared(root, file, known.get(file.name)) for file in seen]
        here = {file.name for file in seen}
        gone = [Found(name=name, digest=unit.digest, status="gone") for name, unit in known.items() if name not in here]
        return found + gone

    def _compared(self, root: Path, file: Seen, unit: Unit | None) -> Found:
        same = Found(name=file.name, size_bytes=file.size_bytes, modified_ns=file.modified_ns)
        if unit is None:
            return same
        replace = msgspec.structs.replace
        untouched = (file.size_bytes, file.modified_ns) == (unit.size_bytes, unit.modified_ns)
        if untouched and file.modified_ns:
            return replace(same, digest=unit.digest, status="same")
        digest = digest_of(root, file.name, self.compression, pattern=self.pattern)
        if digest == unit.digest:
            return replace(same, digest=digest, status="same")
        if self.on_change == "refuse":
            raise DataError(
                "the file was landed before and its content has changed",
                code="GM-D116",
                where=file.name,
                hint='restore it, deliver the change as a new file, or set on_change="replace"',
            )
        return replace(same, digest=digest, status="changed")

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape of these files, over their whole content, and the assumptions made.

        Raises:
            DataError: a file is damaged, or none of them holds anything.
            UsageError: a declared column is in none of them, or a format cannot be told.
        """
        units = [unit for unit in found if unit.status != "gone"]
        if not units:
            raise DataError(
                "there is no file to infer a shape from",
                code="GM-D117",
                where=shown(self.pattern),
                hint="check the pattern: it is relative to the project's folder",
            )
        formats = sorted({self.format_of(unit.name) for unit in units})
        if len(formats) > 1:
            raise UsageError(f"the files have several formats: {', '.join(formats)}", hint="one source per format")
        from gristmill.connect.file_units import infer_shape

        return infer_shape(self, root, [unit.name for unit in units], formats[0])

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one file.

        Args:
            root: the folder that names are relative to.
            found: the file, as ``discover`` gave it.
            shape: how to read it.
            number: the unit's number within the source.
        """
        from gristmill.connect.file_units import open_unit

        return open_unit(self, root, found, shape, number)

    def writer(self, root: Path) -> SinkWriter:
        """Return what writes a sink's messages as files of JSON lines, for a pattern such as ``outbox/*.ndjson``.

        Raises:
            UsageError: the pattern names no files that could be written.
        """
        from gristmill.connect.sinks import FilesWriter

        return FilesWriter(root, self.pattern)

    def content(self, root: Path, name: str, expected: str | None = None) -> Content:
        """Return the decompressed content of one file; ``expected`` is the digest it must have."""
        return Content(root, name, self.compression, expected=expected, pattern=self.pattern)

    def format_of(self, name: str) -> str:
        """Return the format of a file.

        Raises:
            UsageError: it was not declared and the name does not tell.
        """
        if self.format is not None:
            return self.format
        path = PurePosixPath(plain_name(name).rpartition("/")[2].lower())
        suffix = path.suffix
        if suffix in CODECS:
            suffix = path.with_suffix("").suffix
        for known, endings in FORMATS.items():
            if suffix in endings:
                return known
        raise UsageError(f"the format of {name} cannot be told from its name", hint='declare format="csv" or another')


def files(
    pattern: str,
    *,
    format: str | None = None,
    nulls: Sequence[str] | None = None,
    types: Mapping[str, str] | None = None,
    delimiter: str | None = None,
    quote: str | None = None,
    escape: str | None = None,
    encoding: str | None = None,
    header: bool | Sequence[str] | None = None,
    skip: int = 0,
    partitions: Sequence[str] | bool | None = None,
    compression: str | None = None,
    on_change: Literal["replace", "refuse"] = "replace",
) -> FilesSource:
    """Return the source of all files that a path, a glob or an fsspec URL names.

    Args:
        pattern: relative to the project's folder; a folder stands for all files in it.
        format: ``csv`` (also for tabs), ``json``, ``ndjson``, ``parquet``, ``arrow``; None goes by file
            names.
        nulls: unquoted cells that mean null, besides the empty one; None finds them.
        types: types by column, such as ``{"zip": "string"}``; the others are inferred.
        delimiter: between cells; None finds it.
        quote: around cells; ``""`` for none; None means ``"`` where quotes pair.
        escape: makes the next character ordinary; None means there is none.
        encoding: a codec name; None means UTF-8 unless a byte order mark says otherwise.
        header: whether the first record names the columns, or the names; None finds out.
        skip: physical lines to leave out first.
        partitions: folder columns by name; None takes every ``name=value`` folder, False none.
        compression: ``gzip``, ``zstd``, ``zip`` or ``plain``; None goes by file names.
        on_change: ``replace`` reads a landed file that changed again, ``refuse`` makes it an error.

    Raises:
        UsageError: an argument cannot be.

    >>> files("landing/*.csv", nulls=["NA"]).describe()["pattern"]
    'landing/*.csv'
    """
    _one_of("format", format, tuple(FORMATS))
    _one_of("compression", compression, ("gzip", "zstd", "zip", "plain"))
    _one_of("on_change", on_change, ("replace", "refuse"))
    if isinstance(nulls, str):
        raise UsageError(f"nulls={nulls!r} is one text", hint=f"write nulls=[{nulls!r}]")
    names = header if header is None or isinstance(header, bool) else tuple(header)
    text = Declared(delimiter=delimiter, quote=quote, escape=escape, encoding=encoding, header=names, skip=skip)
    folders = None if partitions is None or partitions is True else tuple(partitions or ())
    return FilesSource(
        pattern=pattern,
        format=format,
        nulls=None if nulls is None else tuple(nulls),
        types=dict(types or {}),
        text=text.checked(),
        partitions=folders,
        compression=compression,
        on_change=on_change,
    )


def _one_of(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        hint = did_you_mean(value, known) or f"use one of {', '.join(known)}"
        raise UsageError(f"{name}={value!r} is not known", hint=hint)
