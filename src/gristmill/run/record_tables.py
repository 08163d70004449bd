"""Run records as tables, so that SQL can ask them: which table grew slower, which rule fails how often.

They are read from the catalog, not from a commit: every run is there, whatever branch it was on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from gristmill.run.records import RunRecord, history

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Store

_Rows = Callable[[RunRecord], Iterator[dict[str, object]]]

_RUNS = {
    "run": "string", "branch": "string", "status": "string", "base": "string", "head": "string", "started_us": "time",
    "finished_us": "time", "peak_memory_bytes": "int64", "parameters": "map", "environment": "map",
    "code": "string", "message": "string", "resumed": "string", "merged": "string",
}  # fmt: skip
_STAGES = {
    "run": "string", "name": "string", "kind": "string", "mode": "string", "reason": "string", "rows_in": "int64",
    "rows": "int64", "changed": "bool_", "wall_s": "float64", "cpu_s": "float64", "estimate_s": "float64",
    "peak_bytes": "int64", "disk_bytes": "int64", "written_bytes": "int64", "planned_peak_bytes": "int64",
    "planned_disk_bytes": "int64",
}  # fmt: skip
_FINDINGS = {
    "run": "string", "table": "string", "rule": "string", "kind": "string", "on_fail": "string", "outcome": "string",
    "failed_rows": "int64", "checked_rows": "int64", "quarantined": "int64", "observed": "string",
    "expected": "string", "note": "string", "accepted": "string", "owner": "string",
}  # fmt: skip
_LEDGERS = {
    "run": "string", "table": "string", "delivered": "int64", "accepted": "int64", "quarantined": "int64",
    "late": "int64", "dropped": "int64", "duplicate": "int64",
}  # fmt: skip
_METRICS = {"run": "string", "model": "string", "metric": "string", "value": "float64"}


def record_tables(store: Store) -> dict[str, Callable[[], pa.Table]]:
    """Return what makes each table of run records, by name: ``_runs``, ``_stages``, ``_findings``, ``_ledgers`` and
    ``_metrics``; the newest run first, times in UTC."""
    made: dict[str, tuple[dict[str, str], _Rows]] = {
        "_runs": (_RUNS, lambda record: iter([{**_plain(record), "branch": record.on}])),
        "_stages": (_STAGES, lambda record: map(_plain, record.stages)),
        "_findings": (_FINDINGS, _findings),
        "_ledgers": (_LEDGERS, lambda record: ({"table": n, **_plain(v)} for n, v in record.ledgers.items())),
        "_metrics": (_METRICS, _metrics),
    }
    return {name: partial(_table, store, columns, rows) for name, (columns, rows) in made.items()}


def _plain(value: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(value)


def _findings(record: RunRecord) -> Iterator[dict[str, object]]:
    for found in record.findings:
        rule = found.rule
        yield {**_plain(found), "rule": rule.code, "kind": rule.kind, "on_fail": rule.on_fail, "owner": rule.owner}


def _metrics(record: RunRecord) -> Iterator[dict[str, object]]:
    for model, metrics in record.metrics.items():
        for metric, value in metrics.items():
            yield {"model": model, "metric": metric, "value": value}


def _table(store: Store, columns: dict[str, str], rows_of: _Rows) -> pa.Table:
    import pyarrow as pa

    types = {"time": pa.timestamp("us", "UTC"), "map": pa.map_(pa.string(), pa.string())}
    fields = [(name, types.get(kind) or getattr(pa, kind)()) for name, kind in columns.items()]
    found = [{**row, "run": record.run} for record in history(store) for row in rows_of(record)]
    rows = [[_cell(row.get(name), kind) for row in found] for name, kind in columns.items()]
    arrays = [pa.array(cells, dtype) for cells, (_, dtype) in zip(rows, fields, strict=True)]
    return pa.table(arrays, names=[name.removesuffix("_us") for name in columns])


def _cell(value: object, kind: str) -> object:
    if isinstance(value, dict):
        return list(value.items())
    return None if kind == "time" and not value else value
