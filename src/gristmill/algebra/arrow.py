"""Between Arrow's types and Ibis's, for the types of tables; Ibis's own bridge wants more packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import ibis.expr.datatypes as dt

from gristmill.errors import DefinitionError

if TYPE_CHECKING:
    import pyarrow as pa

_CODE = "GM-P130"


def input_table(name: str, schema: pa.Schema) -> ibis.Table:
    """Return the unbound table that stands for a stored one in a definition.

    >>> import pyarrow as pa
    >>> input_table("raw.t", pa.schema([pa.field("a", pa.int64(), nullable=False)])).schema()["a"]
    Int64(nullable=False)
    """
    fields = {field.name: from_arrow(field.type).copy(nullable=field.nullable) for field in schema}
    return ibis.table(fields, name=name)


def arrow_schema(schema: ibis.Schema) -> pa.Schema:
    """Return the Arrow schema of an Ibis one, nullability included."""
    import pyarrow as pa

    return pa.schema([pa.field(name, to_arrow(dtype), nullable=dtype.nullable) for name, dtype in schema.items()])


def from_arrow(dtype: pa.DataType) -> dt.DataType:
    """Return the Ibis type of an Arrow type.

    Raises:
        DefinitionError: tables have no such type.
    """
    import pyarrow as pa

    if pa.types.is_timestamp(dtype):
        scale = {"s": 0, "ms": 3, "us": 6, "ns": 9}[dtype.unit]
        return dt.Timestamp(timezone=dtype.tz, scale=scale)
    if pa.types.is_decimal(dtype):
        return dt.Decimal(dtype.precision, dtype.scale)
    if pa.types.is_dictionary(dtype):
        return from_arrow(dtype.value_type)
    if pa.types.is_list(dtype) or pa.types.is_large_list(dtype) or pa.types.is_fixed_size_list(dtype):
        return dt.Array(from_arrow(dtype.value_type))
    if pa.types.is_struct(dtype):
        return dt.Struct({field.name: from_arrow(field.type) for field in dtype})
    if pa.types.is_map(dtype):
        return dt.Map(from_arrow(dtype.key_type), from_arrow(dtype.item_type))
    if isinstance(dtype, pa.UuidType):
        return dt.uuid
    if pa.types.is_fixed_size_binary(dtype):
        return dt.binary
    text = str(dtype).removeprefix("large_").removesuffix("_view").split("[")[0]
    found = _PLAIN.get(text)
    if found is None:
        raise DefinitionError(f"a definition cannot read the Arrow type {dtype}", code=_CODE)
    return found


def to_arrow(dtype: dt.DataType) -> pa.DataType:
    """Return the Arrow type of an Ibis type.

    Raises:
        DefinitionError: tables have no such type.
    """
    import pyarrow as pa

    match dtype:
        case dt.Timestamp():
            return pa.timestamp("ns" if dtype.scale == 9 else "us", tz=dtype.timezone)
        case dt.Decimal():
            return pa.decimal128(dtype.precision or 38, dtype.scale or 0)
        case dt.Array():
            return pa.list_(to_arrow(dtype.value_type))
        case dt.Struct():
            return pa.struct([pa.field(name, to_arrow(t)) for name, t in dtype.items()])
        case dt.Map():
            return pa.map_(to_arrow(dtype.key_type), to_arrow(dtype.value_type))
        case dt.UUID():
            return pa.uuid()
        case dt.JSON():
            return pa.string()
    text = _TEXTS.get(dtype if dtype.nullable else dtype.copy(nullable=True))
    if text is not None:
        return pa.type_for_alias(_ALIASES.get(text, text))
    raise DefinitionError(f"a table cannot hold the type {dtype}", code=_CODE, hint="cast it")


_ALIASES = {"float": "float32", "double": "float64", "time64": "time64[us]"}
_PLAIN: dict[str, dt.DataType] = {
    "bool": dt.boolean,
    "int8": dt.int8,
    "int16": dt.int16,
    "int32": dt.int32,
    "int64": dt.int64,
    "uint8": dt.uint8,
    "uint16": dt.uint16,
    "uint32": dt.uint32,
    "uint64": dt.uint64,
    "halffloat": dt.float16,
    "float": dt.float32,
    "double": dt.float64,
    "string": dt.string,
    "binary": dt.binary,
    "date32": dt.date,
    "time64": dt.time,
    "null": dt.null,
}
_TEXTS = {plain: text for text, plain in _PLAIN.items()}
