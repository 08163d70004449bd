"""Landing whole files in tests, with the ledger checked."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from gristmill import connect
from gristmill.connect.values import Reject, Shape


def land(root: Path, pattern: str = "*.csv", **options: object) -> tuple[Shape, pa.Table, list[Reject]]:
    """Discover, infer and read everything; delivered must equal rows and rejects."""
    source = connect.files(pattern, **options)  # type: ignore[arg-type]
    found = source.discover(root, {})
    shape = source.infer(root, found)
    batches, rejects = [], []
    for number, unit in enumerate(found, start=1):
        rows = source.read(root, unit, shape=shape, number=number)
        kept = 0
        here: list[Reject] = []
        for chunk in rows:
            chunk.rows.validate(full=True)
            batches.append(chunk.rows)
            kept += chunk.rows.num_rows
            here += chunk.rejects
        assert rows.delivered == kept + len(here)
        assert len(rows.digest) == 64
        rejects += here
    schema = shape.schema
    return shape, pa.Table.from_batches(batches, schema=None if batches else schema), rejects


def write(root: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def values(table: pa.Table) -> list[dict[str, object]]:
    return [{k: v for k, v in row.items() if not k.startswith("_origin")} for row in table.to_pylist()]


def types(shape: Shape) -> dict[str, str]:
    return {column.name: column.type for column in shape.columns}
