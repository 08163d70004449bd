"""Leases: each process that writes files holds the lock of a file of its own, for as long as it lives.

The lease's name is part of the name of every file the process writes, so that a file nothing refers to is known to
be garbage as soon as its writer is gone, and never before.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import threading
from pathlib import Path

from gristmill.store.damage import writing

_held: dict[Path, tuple[int, str]] = {}
_lock = threading.Lock()


def lease(store: Path) -> str:
    """Return the name of this process's lease on a store, 8 hex digits; it ends with the process."""
    with _lock:
        known = _held.get(store)
        if known is not None:
            return known[1]
        folder = store / "locks" / "leases"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            while True:
                name = secrets.token_hex(4)
                with contextlib.suppress(FileExistsError):
                    handle = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
                    break
        fcntl.flock(handle, fcntl.LOCK_EX)
        _held[store] = (handle, name)
        return name


def live_leases(store: Path) -> set[str]:
    """Return the leases whose holders live; removes the files of the others."""
    alive: set[str] = set()
    own = _held.get(store)
    for path in (store / "locks" / "leases").glob("*"):
        if own is not None and path.name == own[1]:
            alive.add(path.name)
            continue
        if _taken(path):
            alive.add(path.name)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return alive


def _taken(path: Path) -> bool:
    handle = -1
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if handle < 0:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
