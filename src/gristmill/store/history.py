"""Finding commits: addresses, ancestors, the log, common ancestors."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from gristmill.errors import NotFound, UsageError, did_you_mean
from gristmill.model.commits import Commit
from gristmill.model.refs import Ref, parse_ref
from gristmill.store.maps import map_get
from gristmill.store.objects import CommitObject, Oid
from gristmill.store.tables import same_content, table_object

if TYPE_CHECKING:
    from gristmill.store.store import Store


def resolve(store: Store, text: str) -> Oid:
    """Return the commit an address means.

    Raises:
        NotFound: nothing of that name, or nothing that old; suggests the nearest name.
        UsageError: the start of more than one commit's hash.
    """
    ref = parse_ref(text)
    oid = _base(store, ref)
    if ref.before_us is not None:
        oid = _before(store, oid, ref.before_us, text)
    if ref.steps:
        value = store.commit_object(oid)
        if ref.steps > value.depth:
            raise NotFound(f"`{text}` goes back before the first commit", hint=f"the most is ~{value.depth}")
        depth = value.depth - ref.steps
        oid = ancestor(store, oid, lambda commit: commit.depth >= depth)
    return oid


def _base(store: Store, ref: Ref) -> Oid:
    for kind in ("branch", "tag", "hold"):
        oid = store.ref(kind, ref.base)
        if oid is not None:
            return oid
    if 4 <= len(ref.base) <= 64 and not set(ref.base) - set("0123456789abcdef"):
        low = bytes.fromhex(ref.base.ljust(64, "0"))
        high = bytes.fromhex(ref.base.ljust(64, "f"))
        rows = store.catalog.rows(
            "select id from objects where id between ? and ? and kind = 'commit' limit 3", (low, high)
        )
        if len(rows) == 1:
            return bytes(rows[0][0])
        if rows:
            raise UsageError(
                f"`{ref.base}` is the start of several commits",
                code="GM-U119",
                examples=[row[0].hex() for row in rows],
                hint="give more digits",
            )
    known = [row[0] for row in store.catalog.rows("select distinct name from refs order by name")]
    hint = did_you_mean(ref.base, known) or f"there are {', '.join(known[:10])}"
    raise NotFound(f"there is no branch, tag or commit `{ref.base}`", hint=hint)


def _before(store: Store, oid: Oid, before_us: int, text: str) -> Oid:
    found = ancestor(store, oid, lambda commit: commit.time_us >= before_us)
    if store.commit_object(found).time_us < before_us:
        return found
    parents = store.commit_object(found).parents
    if not parents:
        raise NotFound(f"`{text}` is before the first commit")
    return parents[0]


def ancestor(store: Store, oid: Oid, holds: Callable[[CommitObject], bool]) -> Oid:
    """Return the oldest first-parent ancestor for which a condition holds that once false stays false."""
    while True:
        value = store.commit_object(oid)
        if value.jump is not None and holds(store.commit_object(value.jump)):
            oid = value.jump
        elif value.parents and holds(store.commit_object(value.parents[0])):
            oid = value.parents[0]
        else:
            return oid


def log(store: Store, ref: str, *, table: str | None, limit: int | None) -> Iterator[Commit]:
    """Yield commits along first parents, newest first; only those that changed ``table``, if given."""
    oid: Oid | None = resolve(store, ref)
    count = 0
    while oid is not None and (limit is None or count < limit):
        value = store.commit_object(oid)
        parent = value.parents[0] if value.parents else None
        if table is None or not _same_table(store, table_at(store, oid, table), table_at(store, parent, table)):
            count += 1
            yield store.commit_value(oid)
        oid = parent


def _same_table(store: Store, left: Oid | None, right: Oid | None) -> bool:
    if left == right or left is None or right is None:
        return left == right
    return same_content(table_object(store.catalog.get, left), table_object(store.catalog.get, right))


def table_at(store: Store, oid: Oid | None, table: str) -> Oid | None:
    """Return the state of a table at a commit, or None."""
    return None if oid is None else map_get(store.catalog.get, store.tree_of(oid).tables, table)


def common_ancestors(store: Store, left: Oid, right: Oid) -> list[Oid]:
    """Return the best common ancestors of two commits: those that are no ancestor of another one.

    Walks down by generation and colours what each side reaches, as Git does.
    """
    colours = {left: 1}
    colours[right] = colours.get(right, 0) | 2
    queue = [(-store.commit_object(oid).generation, oid) for oid in colours]
    heapq.heapify(queue)
    found: list[Oid] = []
    seen: set[Oid] = set()
    while queue and any(colours[oid] & 4 == 0 for _, oid in queue):
        _, oid = heapq.heappop(queue)
        if oid in seen:
            continue
        seen.add(oid)
        colour = colours[oid]
        if colour & 3 == 3 and not colour & 4:
            found.append(oid)
            colour |= 4
        for parent in store.commit_object(oid).parents:
            if parent not in colours:
                heapq.heappush(queue, (-store.commit_object(parent).generation, parent))
            colours[parent] = colours.get(parent, 0) | colour
    return [oid for oid in found if not colours[oid] & 4]
