"""The catalog: small objects, refs, counters and records in one SQLite database.

Everything that changes state goes through `Catalog.write`, one short transaction under one file lock. Readers
never wait for it. Start with the tables below.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import apsw
import msgspec

from gristmill.errors import Corrupt, EngineError, NotFound, StoreError
from gristmill.store.locks import locked
from gristmill.store.objects import Object, Oid, decode, kind_of, name_of
from gristmill.store.places import is_read_only

FORMAT = 1

TABLES = """
create table meta(key text primary key, value any) without rowid, strict;
create table objects(id blob primary key, kind text not null, data blob not null) strict;
create table refs(kind text, name text, target blob not null, time_us integer not null,
                  reason text not null default '', primary key(kind, name)) without rowid, strict;
create table reflog(seq integer primary key, kind text not null, name text not null, before blob, after blob,
                    time_us integer not null, author text not null, reason text not null) strict;
create index reflog_by_name on reflog(kind, name, seq);
create table counters(lineage text, name text, next integer not null, primary key(lineage, name))
                      without rowid, strict;
create table field_ids(lineage text, parent integer, name text, type text, id integer,
                       primary key(lineage, parent, name, type, id)) without rowid, strict;
create table requests(branch text, key text, payload blob not null, target blob not null, undone blob,
                      primary key(branch, key)) without rowid, strict;
create table records(kind text, key text, value blob not null, primary key(kind, key)) without rowid, strict;
create table sidecars(id blob, kind text, version integer, value blob not null, primary key(id, kind, version))
                      without rowid, strict;
create table tombstones(kind text not null, name text primary key, time_us integer not null) without rowid, strict;
"""

Row = tuple[Any, ...]
_LIVE = "mode=ro"


def _open_read_only(path: Path) -> apsw.Connection:
    """Open a database that cannot be written to, with the commits that are still in its log.

    An ``immutable`` database is read without its log: an older state. SQLite reads the log where its index is there;
    where it is not, a copy of both is read.
    """

    def opened(place: Path, option: str) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        db = apsw.Connection(f"file:{quote(str(place))}?{option}", flags=flags)
        db.execute("select count(*) from meta").fetchall()
        return db

    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        return opened(path, "immutable=1")
    try:
        return opened(path, _LIVE)
    except apsw.Error:
        with tempfile.TemporaryDirectory(prefix="gristmill-") as folder:
            for file in (path, log):
                shutil.copyfile(file, Path(folder) / file.name)
            whole = apsw.Connection(str(Path(folder) / path.name))
            whole.execute("pragma wal_checkpoint(truncate); pragma journal_mode=delete")
            copied = apsw.Connection(":memory:")
            with copied.backup("main", whole, "main") as backup:
                backup.step()
            whole.close()
            return copied


class Catalog:
    """The database of one store.

    Args:
        folder: the store's folder.
        durable: whether a commit is on the disk before `write` returns.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = folder
        self.durable = durable
        self.read_only = (folder / "catalog.db").exists() and is_read_only(folder)
        self._local = threading.local()
        self._objects = _Cache(64 << 20)

    def create(self, store_id: str) -> None:
        """Make the tables of a new store."""
        with self.write() as db:
            db.execute(TABLES)
            db.execute("insert into meta values('format', ?), ('store', ?)", (FORMAT, store_id))

    def connection(self) -> apsw.Connection:
        """Return the connection of this thread of this process; a forked child gets its own."""
        local = self._local
        if getattr(local, "pid", None) != os.getpid():
            # A connection inherited over fork is kept, never closed: closing it would drop the parent's locks.
            local.kept = (getattr(local, "kept", None), getattr(local, "db", None))
            local.db = self._connect()
            local.pid, local.sync = os.getpid(), None
        return local.db  # type: ignore[no-any-return]

    def _connect(self) -> apsw.Connection:
        path = self.folder / "catalog.db"
        try:
            if self.read_only:
                return _open_read_only(path)
            db = apsw.Connection(str(path))
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            db.set_busy_timeout(60_000)
            db.execute("pragma mmap_size=0; pragma foreign_keys=0; pragma fullfsync=1; pragma checkpoint_fullfsync=1")
            db.execute("pragma wal_autocheckpoint=256; pragma journal_size_limit=1048576")
            if db.pragma("journal_mode") != "wal":
                with locked(self.folder / "catalog.lock"):
                    db.execute("pragma journal_mode=wal")
        except apsw.Error as error:
            raise _wrapped(error, path) from error
        return db

    @contextmanager
    def write(self, *, lasting: bool = True) -> Iterator[apsw.Connection]:
        """Run one write transaction; all of it happens or none.

        Args:
            lasting: whether it must be on the disk on return. What is not is on the disk at the latest with the
                next transaction that is, because the log is written in order.
        """
        if self.read_only:
            raise StoreError(
                "the store is on read-only media",
                code="GM-S017",
                where=str(self.folder),
                hint="copy it to a disk that can be written to",
            )
        db = self.connection()
        sync = "off" if not self.durable else "full" if lasting else "normal"
        try:
            with locked(self.folder / "catalog.lock"):
                if self._local.sync != sync:
                    db.execute(f"pragma synchronous={sync}")
                    self._local.sync = sync
                db.execute("begin immediate")
                try:
                    yield db
                except BaseException:
                    db.execute("rollback")
                    raise
                db.execute("commit")
        except apsw.Error as error:
            if db.in_transaction:
                db.execute("rollback")
            raise _wrapped(error, self.folder / "catalog.db") from error

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Return the rows of a query."""
        try:
            return list(self.connection().execute(sql, values))
        except apsw.Error as error:
            raise _wrapped(error, self.folder / "catalog.db") from error

    def one(self, sql: str, values: Sequence[object] = ()) -> Row | None:
        """Return the first row of a query, or None."""
        rows = self.rows(sql, values)
        return rows[0] if rows else None

    def get(self, oid: Oid) -> Object:
        """Return an object, verified against its name.

        Raises:
            NotFound: there is no such object.
            Corrupt: its bytes are not what was written.
        """
        known = self._objects.get(oid)
        if known is not None:
            return known
        value, size = self._load(oid)
        self._objects.put(oid, value, size)
        return value

    def _load(self, oid: Oid) -> tuple[Object, int]:
        row = self.one("select kind, data from objects where id = ?", (oid,))
        if row is None:
            raise NotFound(f"the store has no object {oid.hex()[:16]}", code="GM-S006")
        kind, data = row
        if name_of(kind, data) != oid:
            raise Corrupt(
                f"the {kind} object {oid.hex()[:16]} is damaged",
                where=oid.hex(),
                hint="gristmill doctor",
            )
        try:
            value = decode(data)
        except msgspec.MsgspecError as error:
            raise Corrupt(f"the {kind} object {oid.hex()[:16]} cannot be read: {error}", where=oid.hex()) from error
        return value, len(data)

    def fetch(self, oid: Oid) -> Object:
        """Return an object like `get`, without keeping it at hand: for walks over everything."""
        known = self._objects.get(oid)
        return known if known is not None else self._load(oid)[0]

    def forget(self, oids: Sequence[Oid]) -> None:
        """Drop objects from what is kept at hand, because they are no longer stored."""
        for oid in oids:
            self._objects.drop(oid)

    def remember(self, oid: Oid, value: Object, size: int) -> None:
        """Keep an object at hand that was just written."""
        self._objects.put(oid, value, size)

    def close(self) -> None:
        """Close this thread's connection."""
        if getattr(self._local, "pid", None) == os.getpid():
            self._local.db.close()
            self._local.pid = None


def insert_objects(db: apsw.Connection, objects: Sequence[tuple[Oid, Object, bytes]]) -> None:
    """Write objects; one that is there already is left as it is."""
    db.executemany(
        "insert or ignore into objects values(?, ?, ?)",
        [(oid, kind_of(value), payload) for oid, value, payload in objects],
    )


class _Cache:
    """Objects by name, the least recently used dropped above ``limit`` bytes of payload."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._held: OrderedDict[Oid, tuple[Object, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, oid: Oid) -> Object | None:
        with self._lock:
            held = self._held.get(oid)
            if held is None:
                return None
            self._held.move_to_end(oid)
            return held[0]

    def drop(self, oid: Oid) -> None:
        with self._lock:
            held = self._held.pop(oid, None)
            self._size -= held[1] if held is not None else 0

    def put(self, oid: Oid, value: Object, size: int) -> None:
        with self._lock:
            if oid in self._held:
                return
            self._held[oid] = (value, size)
            self._size += size
            while self._size > self._limit and len(self._held) > 1:
                self._size -= self._held.popitem(last=False)[1][1]


def _wrapped(error: apsw.Error, path: Path) -> Exception:
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return Corrupt(f"the catalog is damaged: {error}", where=str(path), hint="gristmill doctor")
    busy = isinstance(error, apsw.BusyError | apsw.LockedError)
    full = isinstance(error, apsw.FullError | apsw.IOError | apsw.CantOpenError)
    hint = "free some space, or check the disk, and try again" if full else "try again" if busy else None
    return EngineError(
        f"the catalog could not be used: {error}",
        code="GM-E010",
        where=str(path),
        hint=hint,
        retryable=busy or full,
    )
