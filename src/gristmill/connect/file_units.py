"""Shapes and rows of files, by format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.csv_dialect import sniff
from gristmill.connect.csv_infer import Inference
from gristmill.connect.csv_read import CsvRows
from gristmill.connect.partitions import partition_constants, partition_types
from gristmill.connect.type_names import TEXT, parse_type
from gristmill.connect.values import Column, Dialect, Found, Shape, UnitRows
from gristmill.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from gristmill.connect.file_source import FilesSource


def infer_shape(source: FilesSource, root: Path, units: Sequence[str], kind: str) -> Shape:
    """Return the shape of these files of one format."""
    shape = _csv_shape(source, root, units)
    folders = partition_types(units, source.partitions)
    own = [column.name for column in shape.columns]
    clash = [name for name in folders if name in own]
    if clash:
        raise DataError(
            f"`{clash[0]}` is a column of the files and of their folders",
            code="GM-D015",
            where=units[0],
            hint="partitions=False, or name the ones to take",
        )
    columns = (
        *shape.columns,
        *(Column(name, source.types.get(name, kind)) for name, kind in folders.items()),
    )
    names = [column.name for column in columns]
    for name in source.types:
        parse_type(source.types[name])
        if name not in names:
            raise UsageError(f"types names `{name}`, which no file has", hint=did_you_mean(name, names))
    notes = list(shape.assumptions)
    if folders and source.partitions is None:
        notes.append(f"columns from folder names: {', '.join(folders)}")
    return Shape(
        columns=columns,
        nulls=shape.nulls,
        value_nulls=shape.value_nulls,
        dialect=shape.dialect,
        partitions=tuple(folders),
        assumptions=tuple(notes),
    )


def open_unit(source: FilesSource, root: Path, found: Found, shape: Shape, number: int) -> UnitRows:
    """Return the rows of one file."""
    constants = partition_constants(found.name, shape)
    content = source.content(root, found.name)
    return CsvRows(content, shape=shape, unit=found.name, number=number, constants=constants)


def _csv_shape(source: FilesSource, root: Path, units: Sequence[str]) -> Shape:
    inference = Inference(source.types, source.nulls)
    dialect: Dialect | None = None
    notes: list[str] = []
    order: list[str] = []
    for unit in units:
        content = source.content(root, unit)
        if dialect is None:
            sniffed = sniff(content, source.text, unit=unit)
            if sniffed is None:
                continue
            dialect, notes = sniffed
        given = source.text.header if isinstance(source.text.header, tuple) else ()
        names = inference.feed(source.content(root, unit), dialect, unit=unit, names=given)
        order += [name for name in names if name not in order]
    if dialect is None:
        raise DataError("the files are empty: there is nothing to infer", code="GM-D017", where=units[0])
    columns = []
    for name in order:
        guess = inference.guesses[name]
        columns.append(Column(name, source.types.get(name) or guess.kind or TEXT))
    tokens = _tokens(inference, source)
    return Shape(
        columns=tuple(columns),
        nulls=tuple(source.nulls or ()),
        value_nulls=tuple(sorted({token for words in tokens.values() for token in words})),
        dialect=dialect,
        assumptions=tuple(notes + inference.notes + _type_notes(inference, source, tokens)),
    )


def _tokens(inference: Inference, source: FilesSource) -> dict[str, list[str]]:
    return {
        name: sorted(guess.tokens)
        for name, guess in inference.guesses.items()
        if guess.kind not in (None, TEXT) and guess.tokens and name not in source.types
    }


def _type_notes(inference: Inference, source: FilesSource, tokens: dict[str, list[str]]) -> list[str]:
    guessed = [name for name in inference.guesses if name not in source.types]
    notes = []
    if guessed:
        notes.append(f"the types of {len(guessed)} columns are those that all {inference.rows} rows fit")
    if source.nulls is None:
        for word in sorted({word for words in tokens.values() for word in words}):
            where = [name for name, words in tokens.items() if word in words]
            notes.append(f"{word!r} means null in columns that are not text (seen in {', '.join(where)})")
    empty = [name for name in guessed if inference.guesses[name].kind is None]
    if empty and inference.rows:
        notes.append(f"no cell has a value, so text is assumed: {', '.join(empty)}")
    notes += [f"{name} is text: {inference.guesses[name].reason}" for name in guessed if inference.guesses[name].reason]
    return notes
