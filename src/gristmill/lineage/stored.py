"""Reading rows by id, and finding the commit at which a table's inputs stand as they were when it was made."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, cast

from gristmill.engines.kernel import Kernel
from gristmill.errors import NotFound, UsageError, did_you_mean
from gristmill.run.derivation import Derivation, document_path, load_derivation
from gristmill.run.witnesses import rows_name

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from gristmill.model.predicates import Predicate, Value
    from gristmill.model.scan import ScanPlan
    from gristmill.store import Snapshot, Store, View

ROW_ID = "_row_id"
_WANTED = "_gristmill_wanted"

Key = str | int | bytes | date | Decimal | Sequence[object] | Mapping[str, object]
"""A key's values: one value, text (parts of a composite key parted by commas), values in its order, or by column."""


class Rows:
    """Reads tables of a store by row id, on one kernel."""

    def __init__(self, store: Store, kernel: Kernel) -> None:
        self.store, self.kernel = store, kernel
        self._snapshots: dict[str, Snapshot] = {}

    def at(self, commit: str) -> Snapshot:
        """Return the state at a commit."""
        if commit not in self._snapshots:
            self._snapshots[commit] = self.store.snapshot(commit)
        return self._snapshots[commit]

    def named(self, commit: str, tables: Sequence[str]) -> None:
        """Make tables known to the kernel, with and without their row ids."""
        from gristmill.store import compute

        for name in tables:
            compute.register(self.kernel.connection, name, self.at(commit).scan(name))
            compute.register(self.kernel.connection, rows_name(name), self.at(commit).scan(name, row_ids=True))

    def by_id(
        self, commit: str, table: str, ids: Sequence[int], columns: str = "*", *, hidden: bool = False
    ) -> pa.Table:
        """Return columns of the rows with these ids, in the order of the ids."""
        from gristmill.store import compute

        plan = _holding(self.at(commit).scan(table, row_ids=True, hidden=hidden), ids)
        compute.register(self.kernel.connection, "_gristmill_traced", plan)
        with self.wanted(ids):
            sql = (
                f"SELECT {columns} FROM _gristmill_traced "
                f"WHERE {ROW_ID} IN (SELECT id FROM {_WANTED}) ORDER BY {ROW_ID}"
            )
            return self.kernel.query(sql).read_all()

    @contextmanager
    def wanted(self, ids: Sequence[int]) -> Iterator[str]:
        """Make row ids known to the kernel; yields the name of a table with one column, ``id``."""
        import pyarrow as pa

        self.kernel.connection.register(_WANTED, pa.table({"id": pa.array(ids, pa.int64())}))
        try:
            yield _WANTED
        finally:
            self.kernel.connection.unregister(_WANTED)

    def ids(self, sql: str) -> tuple[int, ...]:
        """Return the distinct ids that a query with one column yields, sorted."""
        found = self.kernel.query(f"SELECT DISTINCT * FROM ({sql}) ORDER BY 1").read_all()
        return tuple(found.column(0).to_pylist())

    def matching(self, commit: str, table: str, where: Predicate | None) -> tuple[int, ...]:
        """Return the ids of the rows that satisfy a condition, hidden columns included."""
        from gristmill.store import compute

        plan = self.at(commit).scan(table, where=where, row_ids=True, hidden=True)
        compute.register(self.kernel.connection, "_gristmill_traced", plan)
        return self.ids(f"SELECT {ROW_ID} FROM _gristmill_traced")


def _holding(plan: ScanPlan, ids: Sequence[int]) -> ScanPlan:
    """Return the plan without files that cannot hold any of the rows."""
    import msgspec
    import numpy as np

    wanted: np.ndarray = np.sort(np.asarray(ids, dtype=np.int64))

    def may_hold(first: int, rows: int) -> bool:
        low, high = np.searchsorted(wanted, [first, first + rows])
        return bool(low < high)

    files = tuple(file for file in plan.files if file.stored_ids or may_hold(file.first_row_id, file.rows))
    return msgspec.structs.replace(plan, files=files)


def made_at(store: Store, commit: str, name: str) -> str | None:
    """Return the newest commit, at ``commit`` or before, that holds a table's inputs as they were when it was made.

    None where there is no such commit on the way back along first parents.
    """
    snapshot: View = store.snapshot(commit)
    derivation = load_derivation(snapshot, name)
    if derivation is None:
        return None
    wanted = snapshot.document(document_path(name))
    for older in store.log(commit):
        view = store.snapshot(older.id)
        if view.document(document_path(name)) != wanted:
            return None
        if _stands(view, derivation):
            return older.id
    return None


def _stands(view: View, derivation: Derivation) -> bool:
    for name, tokens in derivation.inputs.items():
        if name not in view:
            return False
        state = view.table(name)
        now = {**state.tokens, "*": state.id}
        if any(now.get(column) != token for column, token in tokens.items()):
            return False
    models = view.file_trees()
    return all(view.files(name).id == digest for name, digest in derivation.files.items() if name in models)


def find_table(snapshot: Snapshot, name: str) -> None:
    """Raise NotFound, with the nearest name, where there is no such table."""
    if name not in snapshot:
        hint = did_you_mean(name, snapshot.tables()) or f"there are {', '.join(snapshot.tables()[:10]) or 'none yet'}"
        raise NotFound(f"there is no table `{name}` at {snapshot.commit.id[:7]}", hint=hint)


def key_condition(snapshot: Snapshot, table: str, key: Key) -> Predicate:
    """Return the condition that a row has these key values.

    Raises UsageError where the table has no key, or the values do not fit it.
    """
    from gristmill.model.predicates import And, Compare

    columns = snapshot.table(table).key
    if not columns:
        raise UsageError(f"`{table}` has no key", code="GM-L001", hint="use --where, --row, or --unit and --line")
    values = _key_values(columns, key)
    if set(values) != set(columns):
        raise UsageError(
            f"the key of `{table}` is {', '.join(columns)}; this gives {len(values)} values",
            code="GM-L002",
            hint="parts of a composite key are parted by commas, in that order",
        )
    schema = snapshot.schema_of(table).to_arrow()
    return And(tuple(Compare(name, "=", _typed(schema.field(name), values[name])) for name in columns))


def _key_values(columns: Sequence[str], key: Key) -> dict[str, object]:
    if isinstance(key, Mapping):
        return dict(key)
    if isinstance(key, str):
        parts: Sequence[object] = [key] if len(columns) == 1 else _parts(key)
    elif isinstance(key, Sequence) and not isinstance(key, bytes):
        parts = key
    else:
        parts = [key]
    return dict(zip(columns, parts, strict=False)) if len(parts) == len(columns) else dict.fromkeys(map(str, parts))


def _parts(key: str) -> list[str]:
    try:
        return next(csv.reader(io.StringIO(key, newline="")), [""])
    except csv.Error as error:
        hint = 'a part with a comma, a quote or a line break stands in quotes: "a,b",7'
        raise UsageError(f"the key {key!r} cannot be read", code="GM-L002", hint=hint) from error


def _typed(field: pa.Field, value: object) -> Value:
    import pyarrow as pa

    if not isinstance(value, str):
        return cast("Value", value)
    try:
        return cast("Value", pa.array([value]).cast(field.type)[0].as_py())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UsageError(
            f"`{value}` is no {field.type}, which `{field.name}` is", code="GM-L002", hint="dates as 2013-01-31"
        ) from error
