"""Small and half-dead files made into fewer and whole ones, a little with every commit.

Files of about the same number of rows form a tier (1 to 15 rows, 16 to 255, ...). When a tier has 16 files they
become one of the next tier, so that a row is written again once per tier at most; a file with a fifth of its rows
dead is written again without them. One step a commit and table, at most `BYTES` of input; the rest is for
``maintain``. A compaction is laid on a commit at the very end: it is no change of content, others rebase over it,
and if it fails the commit goes on without it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from gristmill.errors import GristmillError
from gristmill.model.scan import ScanPlan
from gristmill.store.datafiles import IDENTITY, Written, write_inline
from gristmill.store.inline import HEAD_BYTES, MERGED_BYTES, fits, inlined_bytes
from gristmill.store.laying import Layout, lay
from gristmill.store.manifests import files_of, manifest
from gristmill.store.maps import Get, map_get
from gristmill.store.objects import INLINE, DataFile, Oid, Scalar, TableObject, Tree
from gristmill.store.tables import (
    Edit,
    apply_edit,
    cluster_fields,
    layout_of,
    scan_files,
    schema_of,
    table_object,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store.transaction import Transaction

TIER = 16
TIERS = 4
BYTES = 8 << 20
DEAD = 5
"""A file is written again once one in this many of its rows is dead."""
AMPLIFY = 4
FREE_BYTES = 64 << 10

Group: TypeAlias = tuple[bool, int, tuple[Scalar, ...]]


def tier_of(file: DataFile) -> int | None:
    """Return the tier of a file by its live rows, or None if it is not small.

    >>> from gristmill.store.objects import DataFile
    >>> [tier_of(DataFile(0, b"", rows, b"", 0)) for rows in (1, 15, 16, 4096, 70_000)]
    [0, 0, 1, 3, None]
    """
    tier, limit = 0, TIER
    while file.live >= limit and tier < TIERS:
        tier, limit = tier + 1, limit * TIER
    return tier if tier < TIERS else None


def choose(near: Sequence[DataFile], written: Callable[[], int]) -> list[DataFile]:
    """Return the files that a commit should make one, or none.

    Args:
        near: the table's newest files, which are those that can be small.
        written: how many bytes the commit added to the table; asked only where files have dead rows.
    """
    tiers: dict[tuple[int, Group], list[DataFile]] = {}
    for file in near:
        tier = tier_of(file)
        if tier is not None:
            tiers.setdefault((tier, group_of(file)), []).append(file)
    for place in sorted(tiers, key=lambda place: place[0]):
        chosen = _within(tiers[place], BYTES)
        if len(chosen) >= TIER:
            return chosen
    dying = [file for file in near if file.dead * DEAD >= file.rows]
    poor = _within(dying, min(BYTES, max(FREE_BYTES, AMPLIFY * written()))) if dying else []
    return [file for file in poor if group_of(file) == group_of(poor[0])]


def group_of(file: DataFile) -> Group:
    """Return what only files of equal value may be made one: their kind, their spec and their partition."""
    return file.kind == INLINE, file.spec, file.partition


def _within(files: Sequence[DataFile], budget: int) -> list[DataFile]:
    chosen: list[DataFile] = []
    for file in files:
        if file.size > budget:
            continue
        budget -= file.size
        chosen.append(file)
    return chosen


def near_files(get: Get, state: TableObject) -> list[DataFile]:
    """Return the files in a table's tail and in the last leaf of its tree; older ones are not looked at."""
    found = list(files_of(get, state.tail))
    oid: Oid | None = state.root
    while oid is not None:
        node = manifest(get, oid)
        if not node.children:
            found += node.files
            break
        oid = node.children[-1].id
    return sorted(found, key=lambda file: file.first_row_id)


def compacted(tx: Transaction, head: Tree) -> tuple[Tree, list[Written]]:
    """Return the transaction's tree with one step of compaction in each table it edited, and the files it wrote."""
    tree, written = tx.tree, []
    for name in sorted(tx.edited):
        oid = map_get(tx.pending.get, tree.tables, name)
        if oid is None:
            continue
        state = table_object(tx.pending.get, oid)
        try:
            new, files = _step(tx, state, map_get(tx.pending.get, head.tables, name))
        except _failures():
            continue
        if new is not None:
            written += files
            tree = tx.with_table(tree, name, new)
    return tree, written


def _failures() -> tuple[type[Exception], ...]:
    import duckdb
    import pyarrow as pa

    return (GristmillError, OSError, duckdb.Error, pa.ArrowException)


def _step(tx: Transaction, state: TableObject, before: Oid | None) -> tuple[TableObject | None, list[Written]]:
    near = near_files(tx.pending.get, state)

    def written() -> int:
        known: set[int] = set()
        if before is not None:
            known = {file.first_row_id for file in near_files(tx.pending.get, table_object(tx.pending.get, before))}
        return sum(file.size for file in near if file.first_row_id not in known)

    chosen = choose(near, written)
    if not chosen:
        return None, []
    return merge_files(tx, state, chosen)


def merge_files(tx: Transaction, state: TableObject, chosen: Sequence[DataFile]) -> tuple[TableObject, list[Written]]:
    """Return the state with the live rows of some files in one new one, and what was written."""
    from gristmill.store.writing import place_of

    get = tx.pending.get
    schema = schema_of(get, state.schema)
    batches = _rows(tx, state, chosen)
    gone = {file.first_row_id for file in chosen}
    room = HEAD_BYTES - inlined_bytes(file for file in files_of(get, state.tail) if file.first_row_id not in gone)
    written: list[Written] = []
    if batches and fits(batches, min(room, MERGED_BYTES)):
        written = [write_inline(schema, batches, ids=True)]
    elif batches:
        layout = layout_of(get, state)
        if chosen[0].kind != INLINE:
            # Their partition is known, and it may be one of a spec that has been replaced.
            layout = Layout(codec=layout.codec)
        written = [
            file if file.spec else msgspec.structs.replace(file, spec=chosen[0].spec, partition=chosen[0].partition)
            for file in lay(tx.store.output, schema, batches, layout, ids=True)
        ]
    added = place_of(tx, state).entries(written)
    edit = Edit(added=added, removed=gone)
    return apply_edit(get, tx.pending.put, state, edit, touched=()), written


def _rows(tx: Transaction, state: TableObject, chosen: Sequence[DataFile]) -> list[pa.RecordBatch]:
    """Return the live rows with their identities, sorted if the table says by what."""
    import pyarrow as pa

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store import compute
    from gristmill.store.frames import frame_of

    get = tx.pending.get
    fields = schema_of(get, state.schema).fields
    files = scan_files(get, tx.store.path, chosen)
    arrow = fields_to_arrow((*fields, *IDENTITY))
    if all(file.kind == INLINE and file.schema == state.schema for file in chosen):
        frame = frame_of(files)[1]
        columns = [
            frame.column(field.name) if field.name in frame.column_names else pa.nulls(frame.num_rows, field.type)
            for field in arrow
        ]
        rows = pa.Table.from_arrays(columns, schema=arrow)
    else:
        plan = ScanPlan(fields=fields, files=files, row_ids=True, sequence=True)
        rows = compute.reader(plan).read_all()
    order = cluster_fields(get, state)
    if order and rows.num_rows:
        rows = rows.sort_by([(field.name, "ascending") for field in order])
    return [batch for batch in rows.combine_chunks().to_batches() if batch.num_rows]
