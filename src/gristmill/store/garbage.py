"""Garbage: objects and files that nothing leads to any more.

What a branch, a tag, a hold or a young entry of the reflog leads to is marked. The rest gets a tombstone; what has
had one for the grace period, and still is not marked when looked at again inside the write transaction, is removed.
A data file carries the lease of the process that wrote it in its name: while that process lives, its files may be
on their way into a commit and are left alone, however old they are.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import apsw
import msgspec

from gristmill.store.digests import drop_loose
from gristmill.store.files import content_path
from gristmill.store.leases import live_leases
from gristmill.store.objects import PARQUET, Manifest, MapNode, Object, Oid, Tree, references

if TYPE_CHECKING:
    from gristmill.store.store import Store

REFLOG_S = 30 * 86_400.0
OBJECT = "object"
FILE = "file"


class Collected(msgspec.Struct, frozen=True):
    """What a collection found.

    Args:
        objects: objects removed from the catalog.
        files: files removed.
        size_bytes: the size of those files.
        waiting: objects and files that nothing leads to, kept until their grace is over.
    """

    objects: int
    files: int
    size_bytes: int
    waiting: int


class Marks:
    """Everything that some commits lead to: objects by name, and files by their path in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.objects: set[Oid] = set()
        self.files: set[str] = set()

    def add(self, oids: Iterable[Oid]) -> None:
        """Mark objects and whatever they lead to."""
        waiting = [(oid, "") for oid in oids]
        while waiting:
            oid, role = waiting.pop()
            if oid in self.objects:
                continue
            self.objects.add(oid)
            value = self._store.catalog.fetch(oid)
            if isinstance(value, Manifest):
                self.files.update(file.path for file in value.files if file.kind == PARQUET)
            if isinstance(value, MapNode) and role == "contents":
                self.files.update(content_path(entry[8:].hex()) for entry in value.entries.values())
            waiting += list(below(value, role))


def below(value: Object, space: str) -> Iterator[tuple[Oid, str]]:
    """Yield the objects that one leads to, each with what the entries of a map under it are."""
    if isinstance(value, Tree):
        for name in ("tables", "documents", "units", "files"):
            root = getattr(value, name)
            if root:
                yield root, name
    elif isinstance(value, MapNode):
        yield from ((child, space) for child in value.children.values())
        if space in ("tables", "documents"):
            yield from ((entry, "") for entry in value.entries.values())
        elif space == "files":
            yield from ((entry, "contents") for entry in value.entries.values() if entry)
    else:
        yield from ((oid, "") for oid in references(value))


def roots(db: apsw.Connection, since_us: int) -> list[Oid]:
    """Return the commits that are kept for their own sake."""
    found = {bytes(row[0]) for row in db.execute("select target from refs")}
    for before, after in db.execute("select before, after from reflog where time_us >= ?", (since_us,)):
        found |= {bytes(oid) for oid in (before, after) if oid is not None}
    return sorted(found)


def collect(store: Store, *, grace_s: float) -> Collected:
    """Give tombstones to what nothing leads to, and remove what has had one for ``grace_s`` seconds."""
    now = time.time()
    since_us = int((now - min(REFLOG_S, max(grace_s, 0.0) * 30)) * 1e6)
    marks = Marks(store)
    marks.add(_present(store, roots(store.catalog.connection(), since_us)))
    doomed = _doomed(store, marks, now, grace_s)
    with store.catalog.write() as db:
        marks.add(_present(store, roots(db, since_us)))
        objects = [oid for oid in doomed.objects if oid not in marks.objects]
        files = [path for path in doomed.files if path not in marks.files]
        db.executemany("delete from objects where id = ?", [(oid,) for oid in objects])
        size = sum(_remove(store.path / path, doomed.known[path]) for path in files)
        db.executemany("delete from tombstones where name = ?", [(oid.hex(),) for oid in objects])
        db.executemany("delete from tombstones where name = ?", [(path,) for path in files])
        hashes = (bytes.fromhex(Path(path).stem.split("-")[0]) for path in marks.files if path.startswith("data/"))
        drop_loose(db, {*marks.objects, *hashes})
        db.execute("delete from reflog where time_us < ?", (since_us,))
        waiting = db.execute("select count(*) from tombstones").fetchone()
    store.catalog.forget(objects)
    return Collected(len(objects), len(files), size, int(waiting[0]) if waiting else 0)


def _present(store: Store, oids: Iterable[Oid]) -> list[Oid]:
    """Return the commits among these that are still stored; the reflog may name older ones."""
    return [oid for oid in oids if store.catalog.one("select 1 from objects where id = ?", (oid,))]


class _Doomed(msgspec.Struct):
    objects: list[Oid]
    files: list[str]
    known: dict[str, float]


def _doomed(store: Store, marks: Marks, now: float, grace_s: float) -> _Doomed:
    """Write down what nothing leads to, and return what has waited long enough."""
    unmarked = [bytes(row[0]) for row in store.catalog.rows("select id from objects")]
    unmarked = [oid for oid in unmarked if oid not in marks.objects]
    loose = dict(_loose_files(store, marks))
    names = [(OBJECT, oid.hex()) for oid in unmarked] + [(FILE, path) for path in loose]
    with store.catalog.write(lasting=False) as db:
        db.execute("create temp table if not exists loose(name text primary key)")
        db.execute("delete from loose")
        db.executemany("insert into loose values(?)", [(name,) for _, name in names])
        db.execute("delete from tombstones where name not in (select name from loose)")
        db.executemany("insert or ignore into tombstones values(?, ?, ?)", [(k, n, int(now * 1e6)) for k, n in names])
    due = int((now - grace_s) * 1e6)
    rows = store.catalog.rows("select kind, name from tombstones where time_us <= ?", (due,))
    return _Doomed(
        [bytes.fromhex(name) for kind, name in rows if kind == OBJECT],
        [name for kind, name in rows if kind == FILE and name in loose],
        loose,
    )


def _loose_files(store: Store, marks: Marks) -> Iterator[tuple[str, float]]:
    """Yield the path and modification time of files that are not marked and whose writer no longer lives."""
    alive = live_leases(store.path)
    for path in all_files(store.path):
        name = path.relative_to(store.path).as_posix()
        if name in marks.files or lease_of(path) in alive:
            continue
        try:
            yield name, path.stat().st_mtime
        except FileNotFoundError:
            continue


def all_files(folder: Path) -> Iterator[Path]:
    """Yield every file of a store but the catalog and the locks."""
    for part in ("data", "files", "tmp"):
        yield from (path for path in sorted((folder / part).rglob("*")) if path.is_file())


def lease_of(path: Path) -> str:
    """Return the lease under which a data file or temporary file was written; empty for content-named files."""
    if path.suffix == ".parquet" and "-" in path.stem:
        return path.stem.rsplit("-", 1)[1][:8]
    return path.name.split("-", 1)[0] if "tmp" in path.parts and "-" in path.name else ""


def _remove(path: Path, known: float) -> int:
    """Remove a file unless it was touched since it was found loose, and return its size."""
    try:
        stat = path.stat()
        if stat.st_mtime != known:
            return 0
        path.unlink()
    except FileNotFoundError:
        return 0
    return stat.st_size
