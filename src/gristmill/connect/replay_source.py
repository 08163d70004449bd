"""A stored table as a stream: its rows once more, in the order of their event time, at any speed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill.connect.rows import ORIGIN_FIELDS
from gristmill.connect.stream_rows import StreamRows
from gristmill.connect.stream_values import WAITING, Polled, Position, Reader
from gristmill.connect.values import Column, Found, Shape, UnitRows
from gristmill.errors import UsageError
from gristmill.model.units import Unit

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Snapshot, Store

_ROWS = 65_536
_TIME, _RANK = "_gristmill_at", "_gristmill_rank"


class ReplaySource(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of a stored table in the order of their event time; made by ``replay``.

    Args:
        table: the table.
        event_time: the column that orders it; ties go by row id.
        speed: how many times faster than they happened; None as fast as can be.
        store: the store's folder, relative to the project.
        at: the commit that is replayed.
    """

    table: str
    event_time: str
    speed: float | None = None
    store: str = ".gristmill"
    at: str = "main"

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words."""
        return {"kind": "replay", "table": f"{self.table}@{self.at}", "by": self.event_time}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the table as one partition; what is replayed stays the commit that was named first."""
        with self._opened(root) as store:
            unit = known.get(self.table)
            commit = unit.detail["commit"] if unit is not None else store.resolve(self.at)
            snapshot = store.snapshot(commit)
            rows = snapshot.table(self.table).row_count if self.table in snapshot else 0
        done = int(unit.detail[WAITING]) if unit is not None else 0
        detail = {"end": str(rows), "commit": commit}
        return [Found(name=self.table, status="same" if done >= rows else "changed" if unit else "new", detail=detail)]

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the columns of the table."""
        from gristmill.connect.columnar import normal_field
        from gristmill.connect.type_names import type_text

        with self._opened(root) as store:
            schema = store.snapshot(self.at).table(self.table).schema.to_arrow()
        if self.event_time not in schema.names:
            raise UsageError(f"`{self.table}` has no column `{self.event_time}`", where=f"{self.table}@{self.at}")
        fields = [normal_field(field) for field in schema]
        return Shape(columns=tuple(Column(f.name, type_text(f.type), f.nullable) for f in fields))

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return all rows."""
        return StreamRows(self, root, found, shape, number)

    def open(
        self,
        root: Path,
        positions: Mapping[str, Position],
        *,
        shape: Shape,
        start: str = "earliest",
        ends: Mapping[str, str] | None = None,
    ) -> Reader:
        """Go on; see `gristmill.connect.stream_values.StreamConnector`."""
        if start != "earliest":
            raise UsageError("a replay begins at `earliest`", code="GM-U130")
        return ReplayReader(self, root, positions.get(self.table, {}), shape, paced=ends is None)

    def _opened(self, root: Path) -> Store:
        from gristmill.store import open_store

        return open_store(self.store if "://" in self.store else str(root / self.store))


class ReplayReader:
    """Reads one sorted result, and lets rows go when their time has come."""

    def __init__(self, source: ReplaySource, root: Path, position: Position, shape: Shape, *, paced: bool) -> None:
        self._source, self._shape = source, shape
        self._speed = source.speed if paced else None
        self._store = source._opened(root)
        self._commit = position.get("commit") or self._store.resolve(source.at)
        self._at = int(position.get(WAITING, "0"))
        snapshot = self._store.snapshot(self._commit)
        self._total = snapshot.table(source.table).row_count
        self._batches = self._sorted(snapshot)
        self._rest: pa.RecordBatch | None = None
        self._first: tuple[int, float] | None = None

    def poll(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Polled]:
        """Return the next rows, as far as their time has come."""
        import pyarrow as pa

        if self._rest is None or not self._rest.num_rows:
            self._rest = next(self._batches, None)
        if self._rest is None:
            time.sleep(timeout_s)
            return []
        share = max(int(max_bytes / max(self._rest.nbytes / self._rest.num_rows, 1)), 1)
        ready = self._ready(min(max_rows, share), timeout_s)
        if not ready:
            return []
        part, self._rest = self._rest.slice(0, ready), self._rest.slice(ready)
        record = part.column(_RANK)
        none = pa.nulls(ready, pa.int64())
        fields = [field.with_nullable(True) for field in self._shape.schema]
        arrays = [part.column(field.name).cast(field.type) for field in fields]
        rows = pa.RecordBatch.from_arrays(
            [*arrays, record, none, none], schema=pa.schema([*fields, *ORIGIN_FIELDS[1:]])
        )
        self._at = record[-1].as_py()
        after = {WAITING: str(self._at), "commit": self._commit}
        lag = self._total - self._at
        return [Polled(self._source.table, rows, [], ready, after, lag, part.nbytes, [None] * ready)]

    def committed(self) -> None:
        """Nobody waits for an answer."""

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _ready(self, most: int, timeout_s: float) -> int:
        """Return how many of the rows at hand may go now, waiting for the first of them."""
        assert self._rest is not None
        rows: int = min(most, self._rest.num_rows)
        if self._speed is None:
            return rows
        times = [moment or 0 for moment in self._rest.column(_TIME).slice(0, rows).to_pylist()]
        if self._first is None:
            self._first = (times[0], time.monotonic())
        began, clock = self._first

        def due(moment: int) -> float:
            assert self._speed is not None
            return clock + (moment - began) / 1e6 / self._speed

        wait = due(times[0]) - time.monotonic()
        if wait > 0:
            time.sleep(min(wait, timeout_s))
        now = time.monotonic()
        return len([moment for moment in times if due(moment) <= now])

    def _sorted(self, snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
        """Yield the rows behind the position, with their rank and event time in microseconds."""
        import duckdb

        from gristmill.store import compute

        settings = {"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"}
        with duckdb.connect(":memory:", config=settings) as con:
            con.execute("SET TimeZone = 'UTC'")
            compute.register(con, "replayed", snapshot.scan(self._source.table, row_ids=True))
            column = '"' + self._source.event_time.replace('"', '""') + '"'
            ranked = f"SELECT *, row_number() OVER (ORDER BY {column} NULLS FIRST, _row_id) AS {_RANK} FROM replayed"
            sql = (
                f"SELECT *, epoch_us({column}::TIMESTAMP) AS {_TIME} FROM ({ranked}) "
                f"WHERE {_RANK} > {self._at} ORDER BY {_RANK}"
            )
            yield from con.sql(sql).to_arrow_reader(_ROWS)


def replay(
    table: str, *, event_time: str, speed: float | None = None, store: str = ".gristmill", at: str = "main"
) -> ReplaySource:
    """Return a stored table as a stream: its rows once more, in the order of their event time.

    Args:
        table: the table.
        event_time: the column that orders it; ties go by row id.
        speed: how many times faster than they happened (60: a minute passes in a second); None as fast as can be.
        store: the store's folder, relative to the project, or its URL.
        at: what is replayed; the commit that this means at the first start is kept to the end.

    Raises:
        UsageError: an argument cannot be.

    >>> replay("raw.ev", event_time="at", speed=60).describe()["table"]
    'raw.ev@main'
    """
    if speed is not None and speed <= 0:
        raise UsageError(f"a speed of {speed} gets nowhere")
    return ReplaySource(table=table, event_time=event_time, speed=speed, store=store, at=at)
