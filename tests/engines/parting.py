"""Random tables as scans of several files, and a definition computed over them by pieces."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import count
from pathlib import Path

import ibis
import pyarrow as pa

from gristmill import algebra
from gristmill.engines.job import Job, Made, run_job
from gristmill.engines.kernel.compiler import compile_sql
from gristmill.engines.protocol import Executor
from gristmill.model.arrow import fields_from_arrow
from gristmill.model.scan import ScanFile, ScanPlan
from gristmill.model.schema import Schema
from gristmill.store.datafiles import write_inline


def scan_of(rows: pa.Table, *, file_rows: int = 5) -> ScanPlan:
    """Return rows as a scan of files of a few rows each."""
    numbers = count(1)
    fields = tuple(fields_from_arrow(rows.schema, lambda *_: next(numbers)))
    files = []
    for start in range(0, rows.num_rows, file_rows):
        made = write_inline(Schema(fields), rows.slice(start, file_rows).to_batches())
        files.append(ScanFile("", made.rows, start, 0, made.stored_ids, made.schema, inline=made.inline))
    return ScanPlan(fields=fields, files=tuple(files), rows=rows.num_rows)


def by_pieces(
    executor: Executor,
    expr: ibis.Table,
    scans: Mapping[str, ScanPlan],
    folder: Path,
    *,
    parts: int = 3,
    small: Collection[str] = (),
) -> Made:
    """Compute a definition by pieces of one file each."""
    job = Job(table="made.t", scans=scans, folder=folder, parts=parts, compiled=compile_sql, piece_rows=1)
    return run_job(executor, algebra.parted(algebra.normalise(expr), small=small), job)
