"""Types in words, as shapes and contracts write them, and the Arrow types they stand for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gristmill.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = "string"
JSON = "json"
_ALIASES = {
    "bool": "boolean",
    "int": "int32",
    "integer": "int32",
    "long": "int64",
    "bigint": "int64",
    "float": "float32",
    "double": "double",
    "float64": "double",
    "text": TEXT,
    "varchar": TEXT,
    "str": TEXT,
    "datetime": "timestamp",
    "timestamptz": "timestamp",
    "timestamp[us, tz=UTC]": "timestamp",
    "date32[day]": "date",
    "time64[us]": "time",
    "bytes": "binary",
    "halffloat": "float16",
    "bool_": "boolean",
}
_PLAIN = {
    "boolean": "bool_",
    **{f"{sign}int{bits}": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
    "float16": "float16",
    "float32": "float32",
    "double": "float64",
    "date": "date32",
    "string": "string",
    "json": "string",
    "binary": "binary",
    "null": "null",
}
_DECIMAL = re.compile(r"decimal(?:128|256)?\((\d+), ?(-?\d+)\)")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=([^\]]+))?\]")
_FIXED = re.compile(r"fixed_size_binary\[(\d+)\]")


def parse_type(text: str) -> pa.DataType:
    """Return the Arrow type for a type in words; ``timestamp`` is microseconds in UTC.

    Raises:
        UsageError: nothing is known by that name.

    >>> parse_type("decimal(10, 2)"), parse_type("list<item: int64>")
    (Decimal128Type(decimal128(10, 2)), ListType(list<item: int64>))
    """
    import pyarrow as pa

    text = text.strip()
    name = _ALIASES.get(text, text)
    if name in _PLAIN:
        found: pa.DataType = getattr(pa, _PLAIN[name])()
        return found
    if name in ("timestamp", "time"):
        return pa.timestamp("us", tz="UTC") if name == "timestamp" else pa.time64("us")
    if match := _DECIMAL.fullmatch(name):
        precision, scale = int(match[1]), int(match[2])
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    if match := _TIMESTAMP.fullmatch(name):
        return pa.timestamp(match[1], tz=match[2])
    if match := _FIXED.fullmatch(name):
        return pa.binary(int(match[1]))
    nested = _nested(name)
    if nested is None:
        hint = did_you_mean(text, [*_PLAIN, *_ALIASES, "timestamp", "time", "decimal(10, 2)"])
        raise UsageError(f"no type is called `{text}`", hint=hint or "use string, int64, double, date, timestamp")
    return nested


def type_text(kind: pa.DataType) -> str:
    """Return a type in words; ``parse_type`` reads it back.

    >>> import pyarrow as pa
    >>> type_text(pa.struct([("a", pa.list_(pa.timestamp("us", tz="UTC")))]))
    'struct<a: list<item: timestamp>>'
    """
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return f"struct<{', '.join(_field_text(kind.field(i)) for i in range(kind.num_fields))}>"
    if pa.types.is_map(kind):
        return f"map<{type_text(kind.key_type)}, {type_text(kind.item_type)}>"
    if pa.types.is_list(kind):
        return f"list<{_field_text(kind.value_field)}>"
    text = str(kind)
    if match := _DECIMAL.fullmatch(text):
        return f"decimal({match[1]}, {match[2]})"
    text = {"bool": "boolean", "float": "float32"}.get(text, text)
    return _ALIASES.get(text, text)


def _field_text(field: pa.Field) -> str:
    name = field.name if re.fullmatch(r"\w+", field.name) else '"' + field.name.replace('"', '""') + '"'
    return f"{name}: {type_text(field.type)}{'' if field.nullable else ' not null'}"


def _nested(text: str) -> pa.DataType | None:
    import pyarrow as pa

    head, bracket, rest = text.partition("<")
    if not bracket or not rest.endswith(">") or head not in ("struct", "list", "map"):
        return None
    parts = _split(rest[:-1])
    if head == "map":
        return pa.map_(parse_type(parts[0]), parse_type(parts[1])) if len(parts) == 2 else None
    fields = [_field(part) for part in parts]
    if head == "struct":
        return pa.struct(fields)
    return pa.list_(fields[0]) if len(fields) == 1 else None


def _field(text: str) -> pa.Field:
    import pyarrow as pa

    match = re.match(r'\s*(?:"((?:[^"]|"")*)"|(\w+)): ', text)
    if match is None:
        raise UsageError(f"`{text}` is no field; write `name: type`")
    name = match[2] if match[1] is None else match[1].replace('""', '"')
    kind = text[match.end() :]
    nullable = not kind.endswith(" not null")
    return pa.field(name, parse_type(kind.removesuffix(" not null")), nullable=nullable)


def _split(text: str) -> list[str]:
    """Cut at the commas that stand in no bracket and no quotes."""
    parts, depth, quoted, start = [], 0, False, 0
    for position, letter in enumerate(text):
        if letter == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif letter in "<([":
            depth += 1
        elif letter in ">)]":
            depth -= 1
        elif letter == "," and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    return [*parts, text[start:]] if text[start:].strip() else parts
