"""A persistent map from text to bytes, whose root has the same name whenever it holds the same entries.

A hash trie (Bagwell, *Ideal hash trees*, 2001) made canonical: a node holds up to 32 entries as a bucket and
otherwise 32 children by the next five bits of the key's hash, whatever the order in which they came.
A change copies one path; two maps are compared by looking only at nodes whose names differ.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import blake3

from gristmill.store.objects import MapNode, Object, Oid

BUCKET = 32

Get = Callable[[Oid], Object]
Put = Callable[[Object], Oid]


def map_get(get: Get, root: Oid | None, key: str) -> bytes | None:
    """Return the value of a key, or None."""
    depth = 0
    while root is not None:
        node = _node(get, root)
        if not node.children:
            return node.entries.get(key)
        root = node.children.get(_slot(key, depth))
        depth += 1
    return None


def map_items(get: Get, root: Oid | None) -> Iterator[tuple[str, bytes]]:
    """Yield all entries, in no order of use."""
    if root is None:
        return
    node = _node(get, root)
    yield from node.entries.items()
    for child in node.children.values():
        yield from map_items(get, child)


def map_count(get: Get, root: Oid | None) -> int:
    """Return the number of entries."""
    return 0 if root is None else _node(get, root).count


def map_update(get: Get, put: Put, root: Oid | None, changes: Mapping[str, bytes | None]) -> Oid | None:
    """Return the root with these entries set, or removed where the value is None."""
    return _update(get, put, root, dict(changes), 0) if changes else root


def _update(get: Get, put: Put, root: Oid | None, changes: dict[str, bytes | None], depth: int) -> Oid | None:
    node = MapNode() if root is None else _node(get, root)
    if not node.children:
        entries = dict(node.entries)
        for key, value in changes.items():
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        return _build(put, entries, depth)
    children, count = dict(node.children), node.count
    for slot, part in _by_slot(changes, depth).items():
        before = children.get(slot)
        child = _update(get, put, before, part, depth + 1)
        count += map_count(get, child) - map_count(get, before)
        if child is None:
            children.pop(slot, None)
        else:
            children[slot] = child
    if count > BUCKET:
        return put(MapNode(children=children, count=count))
    return _build(put, {k: v for child in children.values() for k, v in map_items(get, child)}, depth)


def _build(put: Put, entries: dict[str, bytes], depth: int) -> Oid | None:
    if not entries:
        return None
    if len(entries) <= BUCKET:
        return put(MapNode(entries=entries, count=len(entries)))
    children = {slot: _build(put, part, depth + 1) for slot, part in _by_slot(entries, depth).items()}
    return put(MapNode(children={s: c for s, c in children.items() if c}, count=len(entries)))


def _by_slot(entries: Mapping[str, bytes | None], depth: int) -> dict[int, dict]:  # type: ignore[type-arg]
    parts: dict[int, dict[str, bytes | None]] = {}
    for key, value in entries.items():
        parts.setdefault(_slot(key, depth), {})[key] = value
    return parts


def map_diff(get: Get, left: Oid | None, right: Oid | None) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Yield (key, left value, right value) for every key whose values differ; None where it is missing."""
    if left == right:
        return
    a = MapNode() if left is None else _node(get, left)
    b = MapNode() if right is None else _node(get, right)
    if a.children and b.children:
        for slot in sorted(a.children.keys() | b.children.keys()):
            yield from map_diff(get, a.children.get(slot), b.children.get(slot))
        return
    before, after = dict(map_items(get, left)), dict(map_items(get, right))
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield key, before.get(key), after.get(key)


def _slot(key: str, depth: int) -> int:
    digest = int.from_bytes(blake3.blake3(key.encode()).digest(), "big")
    return (digest >> (256 - 5 * (depth + 1))) & 31


def _node(get: Get, oid: Oid) -> MapNode:
    node = get(oid)
    assert isinstance(node, MapNode), oid.hex()
    return node
