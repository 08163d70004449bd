"""Changes to a table's definition, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    import pyarrow as pa


class AddColumn(msgspec.Struct, frozen=True):
    """Add a nullable column; ``path`` may lead into structs with dots. Existing rows read null."""

    path: str
    type: pa.DataType
    doc: str = ""


class DropColumn(msgspec.Struct, frozen=True):
    """Drop a column; its id is never used again, so a later column of that name starts empty."""

    path: str


class RenameColumn(msgspec.Struct, frozen=True):
    """Give a column another name; its values stay."""

    path: str
    name: str


class WidenColumn(msgspec.Struct, frozen=True):
    """Give a column a type that holds every value of the old one."""

    path: str
    type: pa.DataType


class ReorderColumns(msgspec.Struct, frozen=True):
    """Put these columns first, in this order; the others follow as they were."""

    names: tuple[str, ...]


class SetRequired(msgspec.Struct, frozen=True):
    """Refuse nulls in a column from now on (its rows are checked), or allow them again."""

    name: str
    required: bool


class SetProperties(msgspec.Struct, frozen=True):
    """Set properties; a value of None removes one."""

    values: dict[str, str | None]


class SetKey(msgspec.Struct, frozen=True):
    """Declare the key (its rows are checked), or drop it with no columns."""

    columns: tuple[str, ...]


class SetPartitioning(msgspec.Struct, frozen=True):
    """Divide new files by these terms (``country``, ``day(at)``, ``bucket(16, id)``, ...), or by nothing.

    Files that are there stay as they are, and are still found by the partitions they were written into.
    """

    terms: tuple[str, ...]


Change: TypeAlias = (
    AddColumn
    | DropColumn
    | RenameColumn
    | WidenColumn
    | ReorderColumns
    | SetRequired
    | SetProperties
    | SetKey
    | SetPartitioning
)
