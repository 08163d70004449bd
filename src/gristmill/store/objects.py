"""The small immutable objects of a store, their encoding and their names.

An object's payload is MessagePack in canonical form: fields in the order of the struct, those that hold their
default left out, maps sorted by key, integers as short as they go. Its name is ``blake3("gristmill/1/" + kind
+ NUL + payload)``, 32 bytes. ``docs/format.md`` says the same in more words.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias, TypeVar

import blake3
import msgspec

from gristmill.model.partitions import PartitionSpec
from gristmill.model.schema import Schema

Oid: TypeAlias = bytes
"""The name of an object: 32 bytes."""

Scalar: TypeAlias = bool | int | float | str | None
"""A bound as stored: dates and times in microseconds, decimals as floats rounded outward, bytes as Latin-1."""

INLINE = "inline"
PARQUET = "parquet"


class ColumnStats(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one file holds in one leaf column.

    ``nans`` is the number of NaNs, -1 where not known. Bounds never count nulls and NaNs; text bounds are cut.
    """

    nulls: int = 0
    lower: Scalar = None
    upper: Scalar = None
    nans: int = 0
    size: int = 0


class DataFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """Rows of a table: a Parquet file, or a few rows inlined in the catalog.

    ``first_row_id`` is unique in the table's lineage and is the file's key in the manifest. The bytes of a
    Parquet file lie at ``data/<first two digits>/<hash>-<nonce>.parquet``.

    Args:
        first_row_id: id of row 0 where ids are not stored; also the file's key.
        hash: blake3 of the file's bytes, or the `Rows` object's name.
        rows: rows in it, dead ones too.
        schema: the `Schema` object it was written with.
        sequence: when its rows were set; grows with every edit of the table's lineage.
        nonce: tells apart files of the same content.
        size: bytes.
        kind: ``parquet`` or ``inline``.
        stored_ids: whether it stores row ids and sequence numbers.
        spec: the partition spec it was written under.
        partition: its partition's values, in the order of the spec.
        stats: by field id.
        dead: rows that were deleted or replaced.
        vectors: `Vector` objects whose union is the dead positions, at most 8.
    """

    first_row_id: int
    hash: Oid
    rows: int
    schema: Oid
    sequence: int
    nonce: bytes = b""
    size: int = 0
    kind: str = PARQUET
    stored_ids: bool = False
    spec: int = 0
    partition: tuple[Scalar, ...] = ()
    stats: dict[int, ColumnStats] = {}
    dead: int = 0
    vectors: tuple[Oid, ...] = ()

    @property
    def path(self) -> str:
        """Where its bytes lie, relative to the data folder."""
        return data_path(self.hash, self.nonce)

    @property
    def live(self) -> int:
        """Rows that are not dead."""
        return self.rows - self.dead


def data_path(digest: bytes, nonce: bytes) -> str:
    """Return the path of a Parquet file relative to the store."""
    name = digest.hex()
    return f"data/{name[:2]}/{name}-{nonce.hex()}.parquet"


class Vector(msgspec.Struct, frozen=True, tag="vector"):
    """Dead positions of one file, as a roaring bitmap in the portable format."""

    positions: bytes


class Rows(msgspec.Struct, frozen=True, tag="rows"):
    """Inlined rows, as an Arrow IPC stream."""

    stream: bytes


class Text(msgspec.Struct, frozen=True, tag="text"):
    """The content of a document."""

    content: bytes


class SchemaObject(msgspec.Struct, frozen=True, tag="schema"):
    """A schema, shared by the states and files that use it."""

    schema: Schema


class Parts(msgspec.Struct, frozen=True, array_like=True):
    """Partitions under a node, of the files written under one spec and one schema.

    ``lower`` and ``upper`` hold, per field of the spec, the least and the greatest value; None where all are null or
    not whole numbers.
    """

    spec: int
    schema: Oid
    lower: tuple[int | None, ...] = ()
    upper: tuple[int | None, ...] = ()


class Child(msgspec.Struct, frozen=True, omit_defaults=True):
    """A manifest node below another, with what is known of everything under it.

    ``parts`` is empty where nothing is known of the partitions, or where files are not divided.
    """

    first: int
    id: Oid
    files: int
    rows: int
    live: int
    stats: dict[int, ColumnStats] = {}
    parts: tuple[Parts, ...] = ()


class Manifest(msgspec.Struct, frozen=True, tag="manifest", omit_defaults=True):
    """A node of the tree of a table's files: at most 256 files, or at most 256 nodes, sorted by key."""

    files: tuple[DataFile, ...] = ()
    children: tuple[Child, ...] = ()


class TableObject(msgspec.Struct, frozen=True, tag="table", omit_defaults=True):
    """Everything that is true of a table at a commit.

    Args:
        uuid: the table's lineage; what shares it shares ids.
        schema: the `SchemaObject`.
        root: the `Manifest` tree, or None.
        tail: a `Manifest` leaf of at most 32 files that are not in the tree yet, or None.
        key: field ids of the key.
        cluster_by: field ids that files should be sorted by.
        rows: live rows.
        files: files, inlined ones too.
        properties: what the rooms above note about it.
        tokens: per top-level field, 16 bytes that change whenever its values may have changed.
        used: every field id that this state or one before it has had, as sorted (first, last) runs.
        spec: the partition spec of new files; 0 divides by nothing.
        specs: the specs that files may have been written under.
    """

    uuid: str
    schema: Oid
    root: Oid | None = None
    tail: Oid | None = None
    key: tuple[int, ...] = ()
    cluster_by: tuple[int, ...] = ()
    rows: int = 0
    files: int = 0
    properties: dict[str, str] = {}
    tokens: dict[int, bytes] = {}
    used: tuple[tuple[int, int], ...] = ()
    spec: int = 0
    specs: tuple[PartitionSpec, ...] = ()


class MapNode(msgspec.Struct, frozen=True, tag="map", omit_defaults=True):
    """A node of a persistent map from text to a value: a bucket of entries, or 32 children by hash."""

    entries: dict[str, bytes] = {}
    children: dict[int, Oid] = {}
    count: int = 0


class Tree(msgspec.Struct, frozen=True, tag="tree", omit_defaults=True):
    """The state of everything: four persistent maps.

    ``tables``: name to `TableObject`. ``documents``: path to `Text`. ``units``: source, NUL, unit name to the
    unit itself. ``files``: name to the root of a map from path to size and content hash.
    """

    tables: Oid | None = None
    documents: Oid | None = None
    units: Oid | None = None
    files: Oid | None = None


class CommitObject(msgspec.Struct, frozen=True, tag="commit", omit_defaults=True):
    """A commit.

    ``depth`` counts first parents to the first commit; ``jump`` is a far ancestor on that line, chosen so that
    any ancestor is reached in a logarithmic number of steps (Myers, *An applicative random-access stack*, 1983).
    ``generation`` is one more than the largest of all parents.
    """

    tree: Oid
    parents: tuple[Oid, ...]
    time_us: int
    author: str
    message: str
    depth: int
    generation: int
    jump: Oid | None = None
    meta: dict[str, str] = {}


Object: TypeAlias = Vector | Rows | Text | SchemaObject | Manifest | TableObject | MapNode | Tree | CommitObject

Kind = TypeVar("Kind", bound=Object)

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Object] = msgspec.msgpack.Decoder(Object)


def encode(value: Object) -> tuple[Oid, bytes]:
    """Return the name and the canonical payload of an object."""
    payload = _ENCODER.encode(_sorted(value))
    return name_of(kind_of(value), payload), payload


def _sorted(value: Object) -> Object:
    """Return the object with its maps in order; those inside files and nodes are made in order."""
    replace = msgspec.structs.replace
    if isinstance(value, MapNode):
        return replace(value, entries=_in_order(value.entries), children=_in_order(value.children))
    if isinstance(value, TableObject):
        return replace(value, properties=_in_order(value.properties), tokens=_in_order(value.tokens))
    if isinstance(value, CommitObject):
        return replace(value, meta=_in_order(value.meta))
    return value


_Key = TypeVar("_Key", int, str)
_Value = TypeVar("_Value")


def _in_order(entries: dict[_Key, _Value]) -> dict[_Key, _Value]:
    return {key: entries[key] for key in sorted(entries)}


def kind_of(value: Object) -> str:
    """Return the tag of an object."""
    return str(value.__struct_config__.tag)


def name_of(kind: str, payload: bytes) -> Oid:
    """Return the name of an object of this kind and payload."""
    return blake3.blake3(b"gristmill/1/" + kind.encode() + b"\0" + payload).digest()


def decode(payload: bytes) -> Object:
    """Return the object of a payload; raises msgspec.MsgspecError if it is none."""
    return _DECODER.decode(payload)


def references(value: Object) -> Iterator[Oid]:
    """Yield the names of the objects that one refers to; data files and opaque files are not objects."""
    if isinstance(value, CommitObject):
        yield value.tree
        yield from value.parents
    elif isinstance(value, Tree):
        yield from (root for root in (value.tables, value.documents, value.units, value.files) if root)
    elif isinstance(value, TableObject):
        yield value.schema
        yield from (root for root in (value.root, value.tail) if root)
    elif isinstance(value, Manifest):
        yield from (child.id for child in value.children)
        for file in value.files:
            yield file.schema
            yield from file.vectors
            if file.kind == INLINE:
                yield file.hash
    elif isinstance(value, MapNode):
        yield from value.children.values()
