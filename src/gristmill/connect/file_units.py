"""Shapes and rows of files, by format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.columnar import ColumnarRows, normal, schema_of
from gristmill.connect.csv_dialect import sniff
from gristmill.connect.csv_infer import Inference
from gristmill.connect.csv_read import CsvRows
from gristmill.connect.json_read import JsonInference, JsonRows
from gristmill.connect.partitions import partition_constants, partition_types, partition_values
from gristmill.connect.type_names import JSON, TEXT, parse_type, type_text
from gristmill.connect.values import Column, Dialect, Found, Shape, UnitRows, note_missing
from gristmill.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    from gristmill.connect.file_source import FilesSource


def infer_shape(source: FilesSource, root: Path, units: Sequence[str], kind: str) -> Shape:
    """Return the shape of these files of one format."""
    if kind == "csv":
        shape = _csv_shape(source, root, units)
    elif kind in ("json", "ndjson"):
        shape = _json_shape(source, root, units, kind)
    else:
        shape = _columnar_shape(source, root, units, kind)
    folders = partition_types(units, source.partitions)
    own = [column.name for column in shape.columns]
    clash = [name for name in folders if name in own]
    if clash:
        raise DataError(
            f"`{clash[0]}` is a column of the files and of their folders",
            code="GM-D115",
            where=units[0],
            hint="partitions=False, or name the ones to take",
        )
    columns = (
        *shape.columns,
        *(Column(name, source.types.get(name, kind)) for name, kind in folders.items()),
    )
    names = [column.name for column in columns]
    kept = [name for name in names if name.startswith("_origin_")]
    if kept:
        raise DataError(f"a column is called `{kept[0]}`: such names are kept for origins", where=units[0])
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
    """Return the rows of one file.

    Raises DataError where the file lies in a ``name=value`` folder of a name that the source does not know.
    """
    rows = _rows_of(source, root, found, shape, number)
    folders = [name for name in partition_values(found.name) if source.partitions is None or name in source.partitions]
    new = [name for name in folders if name not in shape.partitions]
    if new:
        raise DataError(
            f"the file lies in a folder `{new[0]}=...`, which the source does not know",
            code="GM-D114",
            where=found.name,
            hint=did_you_mean(new[0], shape.partitions) or "infer the source's shape again",
        )
    if missing := [name for name in shape.partitions if name not in folders]:
        note_missing(rows.detail, missing)
    return rows


def _rows_of(source: FilesSource, root: Path, found: Found, shape: Shape, number: int) -> UnitRows:
    constants = partition_constants(found.name, shape)
    content = source.content(root, found.name, found.digest)
    kind = source.format_of(found.name)
    if kind == "csv":
        if shape.dialect is None:
            raise UsageError("the shape says nothing about delimited text", where=found.name)
        return CsvRows(content, shape=shape, unit=found.name, number=number, constants=constants)
    if kind in ("json", "ndjson"):
        return JsonRows(content, kind, shape=shape, unit=found.name, number=number, constants=constants)
    return ColumnarRows(
        content,
        root,
        kind=kind,
        compression=source.compression,
        shape=shape,
        unit=found.name,
        number=number,
        constants=constants,
    )


def _json_shape(source: FilesSource, root: Path, units: Sequence[str], kind: str) -> Shape:
    inference = JsonInference()
    for unit in units:
        inference.feed(source.content(root, unit), kind, unit=unit)
    if not inference.columns:
        raise DataError("no file holds an object: there is nothing to infer", code="GM-D117", where=units[0])
    kinds = {name: seen.kind() for name, seen in inference.columns.items()}
    columns = tuple(Column(name, source.types.get(name) or kind or TEXT) for name, kind in kinds.items())
    guessed = {name: kind for name, kind in kinds.items() if name not in source.types}
    notes = [f"the types of {len(guessed)} columns are those that all {inference.rows} records fit"]
    mixed = [name for name, kind in guessed.items() if kind == JSON]
    if mixed:
        notes.append(f"no one type fits, so JSON text is kept: {', '.join(mixed)}")
    empty = [name for name, kind in guessed.items() if kind is None]
    if empty:
        notes.append(f"every value is null, so text is assumed: {', '.join(empty)}")
    return Shape(columns=columns, assumptions=tuple(notes))


def _columnar_shape(source: FilesSource, root: Path, units: Sequence[str], kind: str) -> Shape:
    import pyarrow as pa

    schemas, notes = [], []
    for unit in units:
        schema, said = schema_of(source.content(root, unit), root, unit, kind, source.compression)
        schemas.append(schema)
        notes += [note for note in said if note not in notes]
    try:
        schema = pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        hint = "declare types= for the column, or split the source"
        raise DataError(f"the files disagree: {error}", code="GM-D119", where=units[-1], hint=hint) from error
    columns = tuple(
        Column(field.name, source.types.get(field.name) or type_text(normal(field.type)), field.nullable)
        for field in schema
    )
    return Shape(columns=columns, assumptions=tuple(notes))


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
        words = "the file is empty" if len(units) == 1 else f"all {len(units)} files are empty"
        raise DataError(f"{words}: there is nothing to infer", code="GM-D117", where=units[0])
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
    for name in guessed:
        miss = inference.guesses[name].miss
        if miss is not None:
            notes.append(
                f"{name} is text, and not {miss.kind}, because of {miss.where}: {miss.text[:40]!r}"
                f' (types={{"{name}": "{miss.kind}"}} in gm.files sets cells aside that do not fit)'
            )
    empty = [name for name in guessed if inference.guesses[name].kind is None]
    if empty and inference.rows:
        notes.append(f"no cell has a value, so text is assumed: {', '.join(empty)}")
    return notes
