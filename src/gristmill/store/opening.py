"""Opening a store, and making one."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

from gristmill.errors import NotFound, UsageError
from gristmill.store.catalog import Catalog, insert_objects
from gristmill.store.committing import default_author, set_ref
from gristmill.store.datafiles import Output
from gristmill.store.locks import locked
from gristmill.store.objects import CommitObject, Tree, encode
from gristmill.store.places import FOLDERS, refuse_network
from gristmill.store.store import MAIN, Compact, Durability, Store


def open_store(
    url: str | os.PathLike[str],
    create: bool = False,
    *,
    data: str | None = None,
    durability: Durability = "full",
    compact: Compact = "auto",
) -> Store:
    """Open a store.

    Args:
        url: the store's folder.
        create: whether to make it if there is none.
        data: where data files go, if not into the folder.
        durability: ``full``: what is committed is on the disk; ``none``: it is in the hands of the operating
            system. The order data before refs holds in both.
        compact: whether commits tidy up small files by themselves.

    Raises:
        NotFound: there is no store and ``create`` is false.
        StoreError: the store was written by a newer version.
    """
    if data is not None or "://" in os.fspath(url):
        raise UsageError("a store is a local folder", code="GM-U117", hint="give the path of a folder")
    path = Path(url).absolute()
    refuse_network(path)
    if not (path / "catalog.db").exists():
        if not create:
            raise NotFound(f"there is no store at {path}", code="GM-S012", hint="create it with create=True")
        _create(path)
    return Store(path, durability=durability, compact=compact)


def _create(path: Path) -> None:
    """Make a store beside its place and move it there whole, so that nobody sees half of one."""
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file", code="GM-U117", hint="give the path of a folder")
    path.mkdir(parents=True, exist_ok=True)
    for name in FOLDERS:
        (path / name).mkdir(exist_ok=True)
    with locked(path / "locks" / "create"):
        if (path / "catalog.db").exists():
            return
        half = path / "tmp" / f"new-{uuid.uuid4().hex}"
        half.mkdir(exist_ok=True)
        catalog = Catalog(half)
        catalog.create(uuid.uuid4().hex)
        _first_commit(catalog)
        catalog.connection().execute("pragma wal_checkpoint(truncate); pragma journal_mode=delete")
        catalog.close()
        Output(path, durable=True).place(half / "catalog.db", path / "catalog.db")
        for rest in half.iterdir():
            rest.unlink()
        half.rmdir()


def _first_commit(catalog: Catalog) -> None:
    tree_id, tree = encode(Tree())
    value = CommitObject(
        tree=tree_id,
        parents=(),
        time_us=time.time_ns() // 1000,
        author=default_author(),
        message="create the store",
        depth=0,
        generation=0,
    )
    oid, payload = encode(value)
    with catalog.write() as db:
        insert_objects(db, [(tree_id, Tree(), tree), (oid, value, payload)])
        set_ref(db, "branch", MAIN, None, oid, value.author, value.message)
