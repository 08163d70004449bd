"""Float columns of a file that Arrow writes: which of them may have bounds in the footer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from gristmill.model.schema import Field

if TYPE_CHECKING:
    import pyarrow as pa


class Floats:
    """NaNs of the float columns of one file.

    Arrow writes bounds that leave NaNs out, and DuckDB, for which a NaN is the largest number, would take them for
    bounds of all rows. So a file has no bounds in its footer for columns that hold NaNs, nor for nested floats.
    """

    def __init__(self, fields: Sequence[Field]) -> None:
        self.ids = {field.name: field.id for field in fields if field.type in ("float", "double")}
        self.nans = dict.fromkeys(self.ids.values(), 0)
        self.nulls: dict[int, int] = {}

    def nans_of(self, table: pa.Table) -> dict[str, int]:
        """Return how many NaNs a table holds, by column, where it holds any."""
        import pyarrow.compute as pc

        counts = {name: pc.sum(pc.is_nan(table.column(name))).as_py() or 0 for name in self.ids}
        return {name: count for name, count in counts.items() if count}

    def begin(self, nans: Mapping[str, int], arrow: pa.Schema) -> bool | list[str]:
        """Return the columns whose statistics the footer of a file tells that begins with so many NaNs."""
        import io

        import pyarrow.parquet as pq

        self.nulls = {self.ids[name]: 0 for name in nans}
        if not nans and not _nested_floats(arrow):
            return True
        head = io.BytesIO()
        pq.write_metadata(arrow, head)
        columns = pq.read_metadata(head).schema
        found = [columns.column(index) for index in range(len(columns))]
        floats = [column.path for column in found if column.physical_type in ("FLOAT", "DOUBLE")]
        quiet = {path for path in floats if path not in self.ids or path in nans}
        return [column.path for column in found if column.path not in quiet]

    def fit(self, nans: Mapping[str, int]) -> bool:
        """Whether the file has no bounds for any column that now holds NaNs."""
        return all(self.ids[name] in self.nulls for name in nans)

    def count(self, table: pa.Table, nans: Mapping[str, int]) -> None:
        """Take a table into account: its NaNs, and the nulls that the footer does not count."""
        for name, field_id in self.ids.items():
            self.nans[field_id] += nans.get(name, 0)
            if field_id in self.nulls:
                self.nulls[field_id] += table.column(name).null_count


def _nested_floats(arrow: pa.Schema) -> bool:
    import pyarrow as pa

    def floating(kind: pa.DataType) -> bool:
        inner = range(kind.num_fields)
        return bool(pa.types.is_floating(kind)) or any(floating(kind.field(index).type) for index in inner)

    return any(field.type.num_fields and floating(field.type) for field in arrow)
