"""The state of one table: read as a value, scanned as a plan, and edited into the next state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import blake3
import msgspec
from pyroaring import BitMap

from gristmill.errors import StoreError
from gristmill.model.partitions import PartitionField, PartitionSpec, term_text
from gristmill.model.predicates import Predicate, Range, columns, may_match
from gristmill.model.scan import RowSet, ScanFile, ScanPlan
from gristmill.model.schema import Field, Schema
from gristmill.store.inline import HEAD_BYTES, inlined_bytes
from gristmill.store.laying import CODEC, CODECS, Layout
from gristmill.store.manifests import TAIL, files_of, find_file, merge_stats, update
from gristmill.store.maps import Get, Put
from gristmill.store.objects import (
    INLINE,
    Child,
    ColumnStats,
    DataFile,
    Manifest,
    Oid,
    Rows,
    SchemaObject,
    TableObject,
    Vector,
)
from gristmill.store.pruning import partition_test
from gristmill.store.statistics import ranges

CHAIN = 8


@dataclass(frozen=True, slots=True)
class TableState:
    """The state of a table at a commit, as a reader sees it.

    Attributes:
        id: hash of the state; equal ids mean equal rows, ids and layout.
        uuid: the table's lineage.
        schema: its fields, hidden ones too.
        key: names of the key's columns.
        cluster_by: names of the columns its files are sorted by.
        partition_by: what its files are divided by, as terms such as ``day(at)``.
        row_count: live rows.
        file_count: files.
        properties: what the rooms above note about it.
        tokens: by column name, a hex token that changes whenever the column's values may have changed.
    """

    id: str
    uuid: str
    schema: Schema
    key: tuple[str, ...]
    cluster_by: tuple[str, ...]
    partition_by: tuple[str, ...]
    row_count: int
    file_count: int
    properties: dict[str, str]
    tokens: dict[str, str]


def table_state(get: Get, oid: Oid) -> TableState:
    """Return the readable form of a stored state."""
    state = table_object(get, oid)
    schema = schema_of(get, state.schema)
    names = {field.id: field.name for field in schema.fields}
    return TableState(
        id=oid.hex(),
        uuid=state.uuid,
        schema=schema,
        key=tuple(names[i] for i in state.key),
        cluster_by=tuple(names[i] for i in state.cluster_by if i in names),
        partition_by=tuple(term_text(field, schema) for field in spec_fields(state)),
        row_count=state.rows,
        file_count=state.files,
        properties=dict(state.properties),
        tokens={f.name: state.tokens[f.id].hex() for f in schema.fields},
    )


def table_object(get: Get, oid: Oid) -> TableObject:
    """Return a stored state."""
    state = get(oid)
    assert isinstance(state, TableObject), oid.hex()
    return state


def schema_of(get: Get, oid: Oid) -> Schema:
    """Return a stored schema."""
    value = get(oid)
    assert isinstance(value, SchemaObject), oid.hex()
    return value.schema


def key_fields(get: Get, state: TableObject) -> tuple[Field, ...]:
    """Return the fields of the key, in its order."""
    schema = schema_of(get, state.schema)
    return tuple(field for i in state.key if (field := schema.by_id(i)) is not None)


def cluster_fields(get: Get, state: TableObject) -> tuple[Field, ...]:
    """Return the fields that files are sorted by, in their order."""
    schema = schema_of(get, state.schema)
    return tuple(field for i in state.cluster_by if (field := schema.by_id(i)) is not None)


def spec_of(state: TableObject) -> PartitionSpec | None:
    """Return the spec of new files, or None where they are not divided."""
    return next((spec for spec in state.specs if spec.id == state.spec), None)


def all_specs(left: TableObject, right: TableObject) -> tuple[PartitionSpec, ...]:
    """Return the specs of both states."""
    specs = {spec.id: spec for spec in (*left.specs, *right.specs)}
    return tuple(specs[number] for number in sorted(specs))


def spec_fields(state: TableObject) -> tuple[PartitionField, ...]:
    """Return what new files are divided by."""
    spec = spec_of(state)
    return () if spec is None else spec.fields


def layout_of(get: Get, state: TableObject) -> Layout:
    """Return how new files of a table are laid out."""
    return Layout(cluster_fields(get, state), spec_of(state), state.properties.get(CODEC, CODECS[0]))


def inline_room(get: Get, state: TableObject) -> int:
    """Return how many bytes of rows the table may still inline."""
    return max(0, HEAD_BYTES - inlined_bytes(files_of(get, state.tail)))


def same_content(left: TableObject, right: TableObject) -> bool:
    """Whether two states of a lineage differ at most in how their rows are laid out."""
    if left.uuid != right.uuid or left.schema != right.schema or left.tokens != right.tokens:
        return False
    return left.key == right.key and same_settings(left, right)


def same_settings(left: TableObject, right: TableObject) -> bool:
    """Whether two states of a lineage are kept in the same way."""
    return (left.properties, left.cluster_by, left.spec) == (right.properties, right.cluster_by, right.spec)


def live_files(get: Get, state: TableObject, where: Predicate | None = None) -> Iterator[DataFile]:
    """Yield the files that may hold rows which satisfy ``where``."""
    wanted = None
    if where is not None:
        schema = schema_of(get, state.schema)
        fields = tuple(schema.field(name) for name in sorted(columns(where)))
        suits = partition_test(get, state, schema, where) if state.specs else None

        def wanted(part: DataFile | Child) -> bool:
            return may_match(where, ranges(fields, part.stats, part.rows)) and (suits is None or suits(part))

    for root in (state.root, state.tail):
        yield from files_of(get, root, wanted)


def known_ranges(get: Get, state: TableObject) -> dict[str, Range]:
    """Return what statistics know of each column over all rows, dead ones too; merged from the nodes at the top."""
    parts: list[dict[int, ColumnStats]] = []
    rows = 0
    for node in (get(oid) for oid in (state.root, state.tail) if oid is not None):
        assert isinstance(node, Manifest)
        parts += [file.stats for file in node.files] + [child.stats for child in node.children]
        rows += sum(file.rows for file in node.files) + sum(child.rows for child in node.children)
    return ranges(schema_of(get, state.schema).fields, merge_stats(parts), rows) if parts else {}


def scan_files(get: Get, folder: Path, files: Iterable[DataFile]) -> tuple[ScanFile, ...]:
    """Return files in the form a plan carries."""
    return tuple(scan_file(get, folder, file) for file in files)


def scan_file(get: Get, folder: Path, file: DataFile, rowset: RowSet | None = None) -> ScanFile:
    """Return one file in the form a plan carries; ``rowset`` stands in for its own dead rows."""
    inline = None
    if file.kind == INLINE:
        rows = get(file.hash)
        assert isinstance(rows, Rows)
        inline = rows.stream
    if rowset is None and file.vectors:
        rowset = make_rowset(dead_rows(get, file), keep=False)
    return ScanFile(
        path="" if inline is not None else str(folder / file.path),
        rows=file.rows,
        first_row_id=file.first_row_id,
        sequence=file.sequence,
        stored_ids=file.stored_ids,
        schema=schema_of(get, file.schema),
        rowset=rowset,
        inline=inline,
    )


def make_rowset(positions: BitMap, *, keep: bool) -> RowSet:
    """Return positions in the form a plan carries."""
    data = positions.serialize()
    return RowSet(blake3.blake3(data).hexdigest()[:24], data, keep)


def dead_rows(get: Get, file: DataFile) -> BitMap:
    """Return the dead positions of a file."""
    dead = BitMap()
    for oid in file.vectors:
        vector = get(oid)
        assert isinstance(vector, Vector)
        dead |= BitMap.deserialize(vector.positions)
    return dead


def scan_plan(
    get: Get,
    folder: Path,
    state: TableObject,
    *,
    columns_: Sequence[str] | None = None,
    where: Predicate | None = None,
    row_ids: bool = False,
    hidden: bool = False,
    sequence: bool = False,
    positions: bool = False,
) -> ScanPlan:
    """Return the plan that reads a state; see `gristmill.store.view.View.scan`."""
    schema = schema_of(get, state.schema)
    fields = schema.select(None if columns_ is None else list(columns_), hidden=hidden)
    where_fields = () if where is None else tuple(schema.field(name) for name in sorted(columns(where)))
    files = tuple(live_files(get, state, where))
    return ScanPlan(
        fields=fields,
        files=scan_files(get, folder, files),
        where=where,
        where_fields=where_fields,
        row_ids=row_ids,
        sequence=sequence,
        positions=positions,
        rows=sum(file.live for file in files),
    )


class Edit(msgspec.Struct):
    """What one transaction does to the rows of one table, in terms that can be applied to a later state.

    Args:
        added: new files.
        dead: by file key, positions that die.
        removed: keys of files that go as a whole.
    """

    added: list[DataFile] = []
    dead: dict[int, BitMap] = {}
    removed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.added or self.dead or self.removed)


def apply_edit(get: Get, put: Put, state: TableObject, edit: Edit, touched: Iterable[int] | None = None) -> TableObject:
    """Return the state after an edit; ``touched`` are the fields whose values may differ, all by default."""
    if not edit:
        return state
    tail = {file.first_row_id: file for file in files_of(get, state.tail)}
    tree: dict[int, DataFile | None] = {}
    rows, files = state.rows, state.files
    for key in sorted(edit.removed | edit.dead.keys()):
        before = tail.get(key) or find_file(get, state.root, key)
        if before is None:
            raise StoreError(f"file {key} is not part of the table", code="GM-S007")
        after = None if key in edit.removed else _with_dead(get, put, before, edit.dead[key])
        place: dict[int, DataFile | None] = tail if key in tail else tree  # type: ignore[assignment]
        if after is None or after.live == 0:
            files -= 1
            rows -= before.live
            if place is tail:
                del tail[key]
            else:
                tree[key] = None
        else:
            rows -= before.live - after.live
            place[key] = after
    for file in edit.added:
        tail[file.first_row_id] = file
    rows += sum(file.live for file in edit.added)
    files += len(edit.added)
    if len(tail) > TAIL:
        tree.update({key: file for key, file in tail.items() if file.kind != INLINE})
        tail = {key: file for key, file in tail.items() if file.kind == INLINE}
    root = update(get, put, state.root, tree)
    leaf = put(Manifest(files=tuple(tail[key] for key in sorted(tail)))) if tail else None
    return msgspec.structs.replace(
        state, root=root, tail=leaf, rows=rows, files=files, tokens=next_tokens(state, edit, touched)
    )


def _with_dead(get: Get, put: Put, file: DataFile, positions: BitMap) -> DataFile:
    vectors = (*file.vectors, put(Vector(positions.serialize())))
    if len(vectors) > CHAIN:
        vectors = (put(Vector((dead_rows(get, file) | positions).serialize())),)
    return msgspec.structs.replace(file, vectors=vectors, dead=file.dead + len(positions))


def next_tokens(state: TableObject, edit: Edit, touched: Iterable[int] | None) -> dict[int, bytes]:
    """Return the tokens after an edit: hash of the token before and of what was done."""
    change = blake3.blake3()
    for digest in sorted(file.hash for file in edit.added):
        change.update(digest)
    for key in sorted(edit.removed):
        change.update(b"-%d" % key)
    for key in sorted(edit.dead):
        change.update(b"!%d:" % key + edit.dead[key].serialize())
    digest = change.digest()
    ids = set(state.tokens if touched is None else touched)
    return {
        field_id: blake3.blake3(token + digest).digest()[:16] if field_id in ids else token
        for field_id, token in state.tokens.items()
    }


def first_token(uuid: str, field_id: int) -> bytes:
    """Return the token of a field that has no values yet."""
    return blake3.blake3(f"{uuid}/{field_id}".encode()).digest()[:16]


def all_keys(get: Get, state: TableObject) -> set[int]:
    """Return the keys of all files."""
    return {file.first_row_id for file in live_files(get, state)}


def used_ids(state: TableObject) -> set[int]:
    """Return every field id the table has had on this branch."""
    return {number for first, last in state.used for number in range(first, last + 1)}


def id_runs(ids: set[int]) -> tuple[tuple[int, int], ...]:
    """Return numbers as sorted (first, last) runs.

    >>> id_runs({1, 2, 3, 7})
    ((1, 3), (7, 7))
    """
    found: list[tuple[int, int]] = []
    for number in sorted(ids):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)
