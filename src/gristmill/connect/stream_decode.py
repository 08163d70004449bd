"""From messages to typed rows: JSON, text fields, or what a codec makes of the bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gristmill.connect.json_bulk import Together
from gristmill.connect.json_read import writable
from gristmill.connect.json_text import strict
from gristmill.connect.json_types import MisfitError, Seen, converter, finish
from gristmill.connect.rows import ORIGIN_FIELDS
from gristmill.connect.stream_values import Fetched, Fetcher, Lines, Message, Polled
from gristmill.connect.type_names import JSON, TEXT, parse_type
from gristmill.connect.values import Column, Reject, Shape
from gristmill.errors import DataError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

Codec = Callable[[bytes], dict[str, object]]
"""Makes a record of a message's bytes; raises ValueError with the reason where they are none."""

Record = dict[str, object]

SAMPLE_ROWS = 1_000


def json_record(raw: bytes) -> Record:
    """Return the object that a JSON text holds; raises ValueError.

    >>> json_record(b'{"a": 1}')
    {'a': 1}
    """
    value = strict(raw)
    if not isinstance(value, dict):
        raise ValueError("the value is no object")
    if any(not name or "\0" in name for name in value):
        raise ValueError("a name is empty or holds a NUL")
    return value


def record_of(message: Message, codec: Codec, key: Sequence[str]) -> Record:
    """Return a message as a record, its key's columns filled from the message's key where the value lacks them.

    Raises ValueError with the reason where it is none.
    """
    if message.problem:
        raise ValueError(message.problem)
    if isinstance(message.value, dict):
        record: Record = dict(message.value)
    elif message.value is None:
        if not key or message.key is None:
            raise ValueError("a tombstone without a key that is declared")
        record = {}
    else:
        record = codec(message.value)
    if key and message.key is not None and any(name not in record for name in key):
        for name, value in _key_record(message.key, key).items():
            record.setdefault(name, value)
    return record


def _key_record(raw: bytes, key: Sequence[str]) -> Record:
    """Return the columns that a message's key holds: an object with their names, or one bare value."""
    try:
        value = strict(raw)
    except ValueError:
        value = None
    if isinstance(value, dict):
        return {name: value[name] for name in key if name in value}
    if len(key) != 1:
        raise ValueError(f"the key holds no object with {', '.join(key)}")
    if value is not None and not isinstance(value, list):
        return {key[0]: value}
    try:
        return {key[0]: raw.decode()}
    except UnicodeDecodeError as error:
        raise ValueError("the key is no UTF-8") from error


def raw_of(message: Message) -> bytes:
    """Return the bytes of a message as delivered; fields are written as JSON."""
    if isinstance(message.value, dict):
        return json.dumps(message.value, ensure_ascii=False).encode()
    if message.value is None:
        return b"" if message.key is None else b"key " + message.key
    return message.value


class Decoder:
    """Turns messages into rows of a shape.

    Args:
        shape: the columns.
        codec: makes a record of bytes.
        typed: whether the codec gives values of the right types already; otherwise they are JSON's.
        key: columns that the message's key fills.
    """

    def __init__(self, shape: Shape, codec: Codec, *, typed: bool = False, key: Sequence[str] = ()) -> None:
        self._shape, self._codec, self._typed, self._key = shape, codec, typed, tuple(key)
        self._kinds = {column.name: column.type for column in shape.columns}
        self._converters = {name: converter(kind) for name, kind in self._kinds.items()}
        self._required = [column.name for column in shape.columns if not column.nullable]
        plain = codec is json_record and not typed and not self._key
        self._together = Together(self._kinds, self._required) if plain else None

    def polled(self, fetched: Fetched) -> Polled:
        """Return the rows of messages, and those that cannot be rows."""
        rejects: dict[int, Reject] = {}
        rows: list[Record] = []
        kept: list[Message] = []
        at_once = self._at_once(fetched)
        if at_once is not None:
            return at_once
        for message in fetched.messages:
            row = self._row(message, rejects)
            if row is not None:
                rows.append(row)
                kept.append(message)
        columns, fits = self._columns(rows, kept, rejects)
        return self._done(fetched, columns, fits, kept, rejects)

    def _at_once(self, fetched: Fetched) -> Polled | None:
        """Return the rows of messages that are plain, all of them; None where one is not."""
        messages = fetched.messages
        if self._together is None or not messages:
            return None
        if isinstance(messages, Lines):
            columns = self._together.lines(messages.text, len(messages)) or self._together.columns(messages.raws())
        else:
            texts = [message.value for message in messages if type(message.value) is bytes and not message.problem]
            columns = self._together.columns(texts) if len(texts) == len(messages) else None
        if columns is None:
            return None
        fits = np.ones(len(messages), dtype=bool)
        return self._done(fetched, [columns[name] for name in self._kinds], fits, messages, {})

    def _done(
        self,
        fetched: Fetched,
        columns: list[pa.Array],
        fits: np.ndarray[tuple[int], np.dtype[np.bool_]],
        kept: Sequence[Message],
        rejects: dict[int, Reject],
    ) -> Polled:
        import pyarrow as pa

        lines = isinstance(kept, Lines)
        if not fits.all():
            mask = pa.array(fits)
            columns = [column.filter(mask) for column in columns]
            kept = [message for message, fit in zip(kept, fits.tolist(), strict=True) if fit]
        return Polled(
            fetched.partition,
            with_origin(self._shape, columns, kept),
            [rejects[record] for record in sorted(rejects)],
            len(fetched.messages),
            fetched.next,
            fetched.lag,
            fetched.size_bytes,
            () if lines else [message.time_us for message in kept],
            frozenset() if lines else frozenset(message.record for message in kept if message.value is None),
        )

    def _row(self, message: Message, rejects: dict[int, Reject]) -> Record | None:
        try:
            record = record_of(message, self._codec, self._key)
        except ValueError as error:
            rejects[message.record] = _reject(message, "message", None, str(error))
            return None
        fields = isinstance(message.value, dict)
        row: Record = {}
        for name, value in record.items():
            if name not in self._kinds:
                near = did_you_mean(name, list(self._kinds))
                words = f"the source does not know the name {name!r:.60}" + (f"; {near}" if near else "")
                rejects[message.record] = _reject(message, "fields", None, words)
                return None
            if value is None or (fields and value == "" and self._kinds[name] != TEXT):
                continue
            try:
                row[name] = value if fields or self._typed else self._converters[name](value)
            except MisfitError:
                words = f"{value!r:.120} is no {self._kinds[name]}"
                rejects[message.record] = _reject(message, "type", name, words)
                return None
        missing = None if message.value is None else next((name for name in self._required if name not in row), None)
        if missing is not None:
            words = "the value is missing and must not be"
            rejects[message.record] = _reject(message, "null", missing, words)
            return None
        return row

    def _columns(
        self, rows: list[Record], kept: list[Message], rejects: dict[int, Reject]
    ) -> tuple[list[pa.Array], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
        fits = np.ones(len(rows), dtype=bool)
        columns = []
        for name, kind in self._kinds.items():
            values = [row.get(name) for row in rows]
            text = bool(kept) and isinstance(kept[0].value, dict)
            array, bad = text_column(values, kind) if text else self._column(values, kind)
            columns.append(array)
            for index in bad:
                fits[index] = False
                words = f"{values[index]!r:.120} is no {kind}"
                rejects.setdefault(kept[index].record, _reject(kept[index], "type", name, words))
        return columns, fits

    def _column(self, values: list[object], kind: str) -> tuple[pa.Array, list[int]]:
        return typed_column(values, kind) if self._typed and kind != JSON else finish(values, kind)


def text_column(values: list[object], kind: str) -> tuple[pa.Array, list[int]]:
    """Return a column of text cells cast exactly, and the positions of those that do not fit."""
    import pyarrow as pa

    from gristmill.connect.cast import exact_cast

    array, bad = exact_cast(pa.array(values, pa.string()), parse_type(kind))
    return array, [index for index, wrong in enumerate(bad.tolist()) if wrong]


def typed_column(values: list[object], kind: str) -> tuple[pa.Array, list[int]]:
    """Return a column of Python values, and the positions of those that do not fit."""
    import pyarrow as pa

    arrow = parse_type(kind)
    try:
        return pa.array(values, arrow), []
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError, OverflowError):
        if len(values) == 1:
            return pa.nulls(1, arrow), [0]
    half = len(values) // 2
    left, left_bad = typed_column(values[:half], kind)
    right, right_bad = typed_column(values[half:], kind)
    return pa.concat_arrays([left, right]), left_bad + [half + index for index in right_bad]


def with_origin(shape: Shape, columns: Sequence[pa.Array], messages: Sequence[Message]) -> pa.RecordBatch:
    """Return columns as a batch with record, line and offset of every row; the unit is not known yet."""
    import pyarrow as pa

    if isinstance(messages, Lines):
        origin = [pa.array(places, pa.int64()) for places in messages.places()]
    else:
        places = [(message.record, message.line, message.offset) for message in messages]
        origin = [pa.array(column, pa.int64()) for column in (zip(*places, strict=True) if places else ((), (), ()))]
    schema = pa.schema([*(field.with_nullable(True) for field in shape.schema), *ORIGIN_FIELDS[1:]])
    return pa.RecordBatch.from_arrays([*columns, *origin], schema=schema)


def _reject(message: Message, reason: str, column: str | None, words: str) -> Reject:
    return Reject(
        record=message.record,
        line=message.line,
        offset=message.offset if message.offset is not None else message.record,
        raw=raw_of(message),
        reason=reason,
        column=column,
        message=words,
    )


class DecodingReader:
    """Reads messages and hands over rows.

    Args:
        fetcher: where messages come from.
        decoder: what makes rows of them.
    """

    def __init__(self, fetcher: Fetcher, decoder: Decoder) -> None:
        self._fetcher, self._decoder = fetcher, decoder

    def poll(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Polled]:
        """Return the rows that are there."""
        found = self._fetcher.fetch(max_rows=max_rows, max_bytes=max_bytes, timeout_s=timeout_s)
        return [self._decoder.polled(fetched) for fetched in found]

    def committed(self) -> None:
        """Pass on that all of it is in a commit."""
        self._fetcher.committed()

    def close(self) -> None:
        """Close what was opened."""
        self._fetcher.close()


def shape_of_messages(
    messages: Sequence[Message],
    codec: Codec,
    *,
    types: Mapping[str, str],
    key: Sequence[str],
    where: str,
    typed: bool = False,
) -> Shape:
    """Return the shape that the first messages of a stream show; declared types stand as they are.

    Raises DataError where no message is a record and nothing is declared.
    """
    records = []
    for message in messages:
        try:
            records.append(record_of(message, codec, key))
        except ValueError:
            continue
    text = any(isinstance(message.value, dict) for message in messages)
    kinds = (_kinds_of_cells if text else _kinds_of_values if typed else _kinds_of_json)(records)
    if not kinds and not types:
        raise DataError(
            "no message is a record yet, so that columns and types cannot be inferred",
            code="GM-D117",
            where=where,
            hint='declare them: types={"id": "int64", "at": "timestamp"}',
        )
    names = dict.fromkeys([*types, *kinds])
    guessed = [name for name in names if name not in types]
    words = f"the types of {len(guessed)} columns are those that the first {len(records)} messages fit"
    return Shape(
        columns=tuple(Column(name, types.get(name) or kinds[name] or TEXT) for name in names),
        assumptions=(words,) if guessed else (),
    )


def _kinds_of_json(records: Sequence[Record]) -> dict[str, str | None]:
    seen: dict[str, Seen] = {}
    for record in records:
        for name, value in record.items():
            seen.setdefault(name, Seen()).see(value)
    for name, place in seen.items():
        cells = [value for record in records if type(value := record.get(name)) is str]
        place.see_texts([cell for cell in cells if writable(cell)])
    return {name: place.kind() for name, place in seen.items()}


def _kinds_of_cells(records: Sequence[Record]) -> dict[str, str | None]:
    import pyarrow as pa

    from gristmill.connect.csv_infer import Guess

    kinds: dict[str, str | None] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        guess = Guess()
        guess.widen(pa.array([record.get(name) or None for record in records], pa.string()))
        kinds[name] = guess.kind
    return kinds


def _kinds_of_values(records: Sequence[Record]) -> dict[str, str | None]:
    import pyarrow as pa

    from gristmill.connect.columnar import normal_field
    from gristmill.connect.type_names import type_text

    kinds: dict[str, str | None] = {}
    for name in dict.fromkeys(name for record in records for name in record):
        try:
            found = pa.array([record.get(name) for record in records]).type
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            kinds[name] = None
            continue
        known = not pa.types.is_null(found)
        kinds[name] = type_text(normal_field(pa.field(name, found)).type) if known else None
    return kinds


def check_types(types: Mapping[str, str] | None) -> dict[str, str]:
    """Return declared types, or raise UsageError where one is none."""
    for name, kind in (types or {}).items():
        if not name:
            raise UsageError("a column in types= has no name")
        if kind != JSON:
            parse_type(kind)
    return dict(types or {})
