"""What changed between two commits, found by looking only at what differs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from pyroaring import BitMap64

from gristmill.model.delta import Delta
from gristmill.model.scan import ScanPlan
from gristmill.model.units import Unit
from gristmill.store.identity import Rows, differing_rows, identities, net_rows, row_ids
from gristmill.store.maps import Get
from gristmill.store.objects import DataFile, Oid, TableObject
from gristmill.store.rebase import tree_changes
from gristmill.store.tables import live_files, make_rowset, same_content, scan_file, schema_of, table_object

if TYPE_CHECKING:
    from gristmill.store.store import Store


@dataclass(frozen=True, slots=True, repr=False)
class StoreDiff:
    """What changed from one commit to another.

    Attributes:
        tables: the changed tables.
        documents: by path, the content before and after (None where there is none).
        units: by source, the units that differ as they were and as they are, by name.
        files: by name of the tree of files, its id before and after.
    """

    tables: dict[str, Delta]
    documents: dict[str, tuple[bytes | None, bytes | None]]
    units: dict[str, tuple[dict[str, Unit], dict[str, Unit]]]
    files: dict[str, tuple[str | None, str | None]]

    def __repr__(self) -> str:
        parts = [repr(delta)[10:-1] for _, delta in sorted(self.tables.items())]
        for word, found in (("document", self.documents), ("source", self.units), ("file tree", self.files)):
            parts += [f"{len(found)} {word}{'s' if len(found) > 1 else ''}"] if found else []
        return f"<diff: {'; '.join(parts) or 'nothing changed'}>"

    @property
    def empty(self) -> bool:
        """Whether nothing changed."""
        return not (self.tables or self.documents or self.units or self.files)


def store_diff(store: Store, before: Oid, after: Oid) -> StoreDiff:
    """Return what changed between two commits."""
    get = store.catalog.get
    changes = tree_changes(get, store.tree_of(before), store.tree_of(after))
    tables = {
        name: table_delta(get, store.path, name, old, new)
        for name, (old, new) in changes["tables"].items()
        if not (old and new and same_content(table_object(get, old), table_object(get, new)))
    }
    units: dict[str, tuple[dict[str, Unit], dict[str, Unit]]] = {}
    for key, sides in changes["units"].items():
        source, _, unit = key.partition("\0")
        for side, value in zip(units.setdefault(source, ({}, {})), sides, strict=True):
            if value is not None:
                side[unit] = msgspec.msgpack.decode(value, type=Unit)
    documents = {path: (_text(get, old), _text(get, new)) for path, (old, new) in changes["documents"].items()}
    files = {name: (_hex(old), _hex(new)) for name, (old, new) in changes["files"].items()}
    return StoreDiff(tables, documents, units, files)


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _text(get: Get, oid: Oid | None) -> bytes | None:
    from gristmill.store.objects import Text

    if oid is None:
        return None
    value = get(oid)
    assert isinstance(value, Text)
    return value.content


def table_delta(get: Get, folder: Path, name: str, before: Oid | None, after: Oid | None) -> Delta:
    """Return what changed between two states of a table, by row identity."""
    old = None if before is None else table_object(get, before)
    new = None if after is None else table_object(get, after)
    related = old is not None and new is not None and old.uuid == new.uuid
    if old is not None and new is not None and related:
        left, right, ids_left, ids_right = net_rows(get, folder, old, new)
    else:
        left, right = differing_rows(get, _all_files(get, old), {})[0], differing_rows(get, {}, _all_files(get, new))[1]
        ids_left, ids_right = identities(get, folder, left), identities(get, folder, right)
    removed, present = row_ids(ids_left), row_ids(ids_right)
    updated = removed & present if related else BitMap64()
    return Delta(
        table=name,
        before_id=None if before is None else before.hex(),
        after_id=None if after is None else after.hex(),
        inserted=present - updated,
        deleted=removed - updated,
        updated=updated,
        before=None if old is None else _image(get, folder, old, left),
        after=None if new is None else _image(get, folder, new, right),
        schema_changed=related and old is not None and new is not None and old.schema != new.schema,
        rebuilt=old is not None and new is not None and not related,
    )


def _all_files(get: Get, state: TableObject | None) -> dict[int, DataFile]:
    return {} if state is None else {file.first_row_id: file for file in live_files(get, state)}


def _image(get: Get, folder: Path, state: TableObject, rows: Rows) -> ScanPlan:
    files = tuple(scan_file(get, folder, file, make_rowset(positions, keep=True)) for file, positions in rows.values())
    fields = schema_of(get, state.schema).fields
    return ScanPlan(fields=fields, files=files, row_ids=True, rows=sum(len(part) for _, part in rows.values()))
