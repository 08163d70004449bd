"""Record batches with the shape's columns and the origin of every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from gristmill.model.units import ORIGIN_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from gristmill.connect.values import Shape

    Numbers = NDArray[np.int64]

ORIGIN_FIELDS = [pa.field(name, pa.int64()) for name in ORIGIN_COLUMNS]


def batch_of(
    shape: Shape,
    columns: Mapping[str, pa.Array],
    number: int,
    rows: int,
    constants: Mapping[str, object],
    origin: tuple[Numbers, Numbers | None, Numbers | None] | None = None,
) -> pa.RecordBatch:
    """Assemble a batch: given columns, constants from folder names, nulls for the rest, then the origin.

    Args:
        shape: the columns in order.
        columns: arrays by name, each with ``rows`` values.
        number: the unit's number.
        rows: how many rows.
        constants: one value for all rows, by column.
        origin: record numbers, lines and offsets; lines and offsets may be None.
    """
    schema = shape.schema
    arrays = []
    for field in schema:
        if field.name in columns:
            arrays.append(columns[field.name])
        elif field.name in constants:
            arrays.append(pa.repeat(pa.scalar(constants[field.name], field.type), rows))
        else:
            arrays.append(pa.nulls(rows, field.type))
    records, lines, offsets = origin or (np.zeros(0, dtype=np.int64),) * 3
    arrays.append(pa.repeat(pa.scalar(number, pa.int64()), rows))
    for part in (records, lines, offsets):
        arrays.append(pa.nulls(rows, pa.int64()) if part is None else pa.array(part, pa.int64()))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([*schema, *ORIGIN_FIELDS]))
