"""The tree of a table's files: at most 256 entries a node, sorted by key, with statistics on the way down.

New files go to a tail of at most 32 that hangs beside the tree, so that a small commit rewrites little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain

from gristmill.store.maps import Get, Put
from gristmill.store.objects import Child, ColumnStats, DataFile, Manifest, Oid, Parts, Scalar

FAN_OUT = 256
TAIL = 32
MANY = 16
"""Of how many specs and schemas a node says which partitions are under it; of more it says nothing."""

Wanted = Callable[[DataFile | Child], bool]
"""Whether rows of a file, or under a node, may be asked for."""


def files_of(get: Get, root: Oid | None, wanted: Wanted | None = None) -> Iterator[DataFile]:
    """Yield the files below a node in key order, leaving out what cannot be wanted."""
    if root is None:
        return
    node = manifest(get, root)
    for file in node.files:
        if wanted is None or wanted(file):
            yield file
    for child in node.children:
        if wanted is None or wanted(child):
            yield from files_of(get, child.id, wanted)


def manifest(get: Get, oid: Oid) -> Manifest:
    """Return a node."""
    node = get(oid)
    assert isinstance(node, Manifest), oid.hex()
    return node


def find_file(get: Get, root: Oid | None, key: int) -> DataFile | None:
    """Return the file of that key, or None."""
    while root is not None:
        node = manifest(get, root)
        if not node.children:
            return next((file for file in node.files if file.first_row_id == key), None)
        below = [child for child in node.children if child.first <= key]
        root = below[-1].id if below else None
    return None


def update(get: Get, put: Put, root: Oid | None, changes: Mapping[int, DataFile | None]) -> Oid | None:
    """Return the root with these files set, or removed where the value is None."""
    if not changes:
        return root
    nodes = _update(get, put, None if root is None else manifest(get, root), dict(changes))
    while len(nodes) > 1:
        nodes = [_inner(put, part) for part in _chunks(nodes)]
    if not nodes:
        return None
    return nodes[0].id


def _update(get: Get, put: Put, node: Manifest | None, changes: dict[int, DataFile | None]) -> list[Child]:
    if node is None or not node.children:
        files = {file.first_row_id: file for file in (node.files if node else ())}
        for key, file in changes.items():
            if file is None:
                files.pop(key, None)
            else:
                files[key] = file
        return [_leaf(put, part) for part in _chunks([files[key] for key in sorted(files)])]
    below = _by_child(node.children, changes)
    children: list[Child] = []
    for index, child in enumerate(node.children):
        if index in below:
            children += _update(get, put, manifest(get, child.id), below[index])
        else:
            children.append(child)
    if len(children) <= 1:
        return children
    return [_inner(put, part) for part in _chunks(children)]


def _by_child(
    children: tuple[Child, ...], changes: dict[int, DataFile | None]
) -> dict[int, dict[int, DataFile | None]]:
    parts: dict[int, dict[int, DataFile | None]] = {}
    index = 0
    for key in sorted(changes):
        while index + 1 < len(children) and children[index + 1].first <= key:
            index += 1
        parts.setdefault(index, {})[key] = changes[key]
    return parts


def _chunks(items: list) -> list[list]:  # type: ignore[type-arg]
    return [items[start : start + FAN_OUT] for start in range(0, len(items), FAN_OUT)]


def _leaf(put: Put, files: list[DataFile]) -> Child:
    return Child(
        first=files[0].first_row_id,
        id=put(Manifest(files=tuple(files))),
        files=len(files),
        rows=sum(file.rows for file in files),
        live=sum(file.live for file in files),
        stats=merge_stats([file.stats for file in files]),
        parts=_merge_parts([_parts(file) for file in files]) if any(file.spec for file in files) else (),
    )


def _inner(put: Put, children: list[Child]) -> Child:
    if len(children) == 1:
        return children[0]
    return Child(
        first=children[0].first,
        id=put(Manifest(children=tuple(children))),
        files=sum(child.files for child in children),
        rows=sum(child.rows for child in children),
        live=sum(child.live for child in children),
        stats=merge_stats([child.stats for child in children]),
        parts=_merge_parts([child.parts for child in children]),
    )


def _parts(file: DataFile) -> tuple[Parts, ...]:
    values = tuple(value if type(value) is int else None for value in file.partition)
    return (Parts(file.spec, file.schema, values, values),)


def _merge_parts(sides: Sequence[tuple[Parts, ...]]) -> tuple[Parts, ...]:
    """Return which partitions are under nodes together; nothing where nothing is known of one of them."""
    if not all(sides):
        return ()
    found: dict[tuple[int, Oid], list[Parts]] = {}
    for part in chain.from_iterable(sides):
        found.setdefault((part.spec, part.schema), []).append(part)
    if len(found) > MANY:
        return ()
    return tuple(
        Parts(
            *key,
            tuple(_bound_of(values, min) for values in zip(*(part.lower for part in found[key]), strict=True)),
            tuple(_bound_of(values, max) for values in zip(*(part.upper for part in found[key]), strict=True)),
        )
        for key in sorted(found)
    )


def _bound_of(values: Sequence[int | None], choose: Callable[[Iterator[int]], int]) -> int | None:
    whole = [value for value in values if value is not None]
    return choose(iter(whole)) if whole else None


def merge_stats(parts: list[dict[int, ColumnStats]]) -> dict[int, ColumnStats]:
    """Return the statistics of all rows together; a column that a part says nothing about is left out."""
    shared = set(parts[0]).intersection(*parts[1:])
    return {field_id: _merge_column([part[field_id] for part in parts]) for field_id in sorted(shared)}


def _merge_column(parts: list[ColumnStats]) -> ColumnStats:
    return ColumnStats(
        nulls=-1 if any(part.nulls < 0 for part in parts) else sum(part.nulls for part in parts),
        lower=_bound([part.lower for part in parts], min),
        upper=_bound([part.upper for part in parts], max),
        nans=-1 if any(part.nans < 0 for part in parts) else sum(part.nans for part in parts),
        size=sum(part.size for part in parts),
    )


def _bound(values: list[Scalar], choose: Callable[..., Scalar]) -> Scalar:
    kinds = {type(value) for value in values}
    if len(kinds) != 1 or None in values:
        return None
    return choose(values)
