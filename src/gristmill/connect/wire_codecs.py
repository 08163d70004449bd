"""How the values of messages are written: JSON, Avro, Protobuf, with schemas from files or from a registry.

The registry's wire format is a zero byte and the schema's id in four bytes; Protobuf adds the path of the message
within its file (Confluent Schema Registry, wire format).
"""

from __future__ import annotations

import base64
import io
import json
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec

from gristmill.connect.stream_decode import Codec, json_record
from gristmill.errors import EngineError, UsageError

_TIMEOUT_S = 15.0


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """How values are written.

    Args:
        format: ``json``, ``avro`` or ``protobuf``.
        registry: URL of a schema registry.
        schema: path of a schema, where there is no registry.
        message: full name of a Protobuf message, where there is no registry.
    """

    format: Literal["json", "avro", "protobuf"] = "json"
    registry: str | None = None
    schema: str | None = None
    message: str | None = None

    def checked(self) -> Wire:
        """Return this, or raise UsageError where parts are missing."""
        if self.format not in ("json", "avro", "protobuf"):
            raise UsageError(f"value={self.format!r} is not known", code="GM-U135", hint="json, avro or protobuf")
        if self.format != "json" and (self.registry is None) == (self.schema is None):
            raise UsageError(f"{self.format} values need registry= or schema=", code="GM-U135")
        if self.format == "protobuf" and self.schema is not None and self.message is None:
            raise UsageError(
                "Protobuf values need the message's full name", code="GM-U135", hint='message="shop.Order"'
            )
        return self


def codec_of(wire: Wire, root: Path) -> tuple[Codec, bool]:
    """Return what makes records of values, and whether it gives typed Python values."""
    if wire.format == "json":
        return (json_record if wire.registry is None else lambda raw: json_record(_framed(raw)[1])), False
    made: Codec = (_avro if wire.format == "avro" else _protobuf)(wire, root)
    return made, True


def _framed(raw: bytes) -> tuple[int, bytes]:
    """Return schema id and content of a value in the registry's wire format; raises ValueError."""
    if len(raw) < 5 or raw[0] != 0:
        raise ValueError("the value does not begin with the id of a schema")
    return int.from_bytes(raw[1:5], "big"), raw[5:]


@lru_cache(maxsize=1_024)
def _registered(registry: str, number: int, serialized: bool) -> str:
    """Return a schema's text from the registry. Raises ValueError where it has none, EngineError where it is away."""
    url = f"{registry.rstrip('/')}/schemas/ids/{number}" + ("?format=serialized" if serialized else "")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
            found = json.load(answer)
    except urllib.error.HTTPError as error:
        code = error.code
        error.close()
        if code == 404:
            raise ValueError(f"the registry has no schema {number}") from None
        raise EngineError(
            f"the schema registry answers {code}", code="GM-E050", where=registry, retryable=code >= 500
        ) from None
    except (OSError, ValueError) as error:
        raise EngineError(
            "the schema registry does not answer", code="GM-E050", where=registry, retryable=True
        ) from error
    return str(found["schema"])


def _avro(wire: Wire, root: Path) -> Codec:
    from fastavro import parse_schema, schemaless_reader

    @lru_cache(maxsize=1_024)
    def parsed(text: str) -> Any:
        return parse_schema(json.loads(text))

    fixed = (root / wire.schema).read_text(encoding="utf-8") if wire.schema is not None else None

    def decode(raw: bytes) -> dict[str, object]:
        if fixed is None:
            assert wire.registry is not None
            number, raw = _framed(raw)
            schema = parsed(_registered(wire.registry, number, serialized=False))
        else:
            schema = parsed(fixed)
        stream = io.BytesIO(raw)
        try:
            found = schemaless_reader(stream, schema, None)
        except Exception as error:  # the library raises whatever its parts do
            raise ValueError(f"the value is not of its Avro schema: {type(error).__name__}") from error
        if not isinstance(found, dict):
            raise ValueError("the value is no record")
        if stream.read(1):
            raise ValueError("bytes are left behind the value")
        return found

    return decode


def _protobuf(wire: Wire, root: Path) -> Codec:
    if wire.schema is not None:
        assert wire.message is not None
        kind = _message_kind((root / wire.schema).read_bytes(), wire.message)
        return lambda raw: _parsed(kind, raw)
    assert wire.registry is not None
    registry = wire.registry

    def decode(raw: bytes) -> dict[str, object]:
        number, rest = _framed(raw)
        path, rest = _message_path(rest)
        return _parsed(_registered_kind(registry, number, path), rest)

    return decode


def _parsed(kind: Callable[[], Any], raw: bytes) -> dict[str, object]:
    from google.protobuf.message import DecodeError

    found = kind()
    try:
        found.ParseFromString(raw)
    except DecodeError as error:
        raise ValueError("the value is no message of its schema") from error
    return _plain(found)


def _message_kind(content: bytes, name: str) -> Callable[[], Any]:
    """Return the class of a message in a descriptor set. Raises UsageError."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    try:
        for file in descriptor_pb2.FileDescriptorSet.FromString(content).file:
            pool.Add(file)
        found: Callable[[], Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    except Exception as error:  # the library raises whatever its parts do
        raise UsageError(
            f"the descriptor set has no message `{name}`",
            code="GM-U135",
            hint="protoc --include_imports --descriptor_set_out=FILE ...",
        ) from error
    return found


@lru_cache(maxsize=1_024)
def _registered_kind(registry: str, number: int, path: tuple[int, ...]) -> Callable[[], Any]:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    pool = descriptor_pool.DescriptorPool()
    text = _registered(registry, number, serialized=True)
    try:
        file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(text))
        for needed in file.dependency:
            known = descriptor_pb2.FileDescriptorProto()
            descriptor_pool.Default().FindFileByName(needed).CopyToProto(known)
            pool.Add(known)
        pool.Add(file)
        nested, names = file.message_type[path[0]], [file.message_type[path[0]].name]
        for step in path[1:]:
            nested = nested.nested_type[step]
            names.append(nested.name)
        full = ".".join([file.package, *names] if file.package else names)
        found: Callable[[], Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName(full))
    except Exception as error:  # the library raises whatever its parts do
        raise ValueError(f"the schema {number} of the registry cannot be used: {type(error).__name__}") from error
    return found


def _message_path(raw: bytes) -> tuple[tuple[int, ...], bytes]:
    """Return the path of a message within its file, and what follows; raises ValueError."""
    count, raw = _zigzag(raw)
    if count == 0:
        return (0,), raw
    path = []
    for _ in range(count):
        step, raw = _zigzag(raw)
        path.append(step)
    return tuple(path), raw


def _zigzag(raw: bytes) -> tuple[int, bytes]:
    value = 0
    for position, octet in enumerate(raw[:10]):
        value |= (octet & 0x7F) << 7 * position
        if octet < 0x80:
            return (value >> 1) ^ -(value & 1), raw[position + 1 :]
    raise ValueError("the path of the message is cut off")


def _plain(message: Any) -> dict[str, object]:
    """Return a message as plain values: absent optional fields are null, others have their default."""
    found: dict[str, object] = {}
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            values = getattr(message, field.name)
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                found[field.name] = {str(key): _value(field, inner) for key, inner in values.items()}
            else:
                found[field.name] = [_value(field, inner) for inner in values]
        elif field.has_presence and not message.HasField(field.name):
            found[field.name] = None
        else:
            found[field.name] = _value(field, getattr(message, field.name))
    return found


def _value(field: Any, value: Any) -> object:
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known is not None else str(value)
    if field.message_type is None:
        plain: object = value
        return plain
    if field.message_type.full_name == "google.protobuf.Timestamp":
        import datetime as dt

        moment: object = value.ToDatetime(tzinfo=dt.UTC)
        return moment
    return _plain(value)
