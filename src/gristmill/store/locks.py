"""Locks between processes on one machine, by the kernel: they end with their holder, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blake3

from gristmill.store.damage import writing


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of that file; waits for whoever holds it. Also excludes other threads."""
    with writing(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def branch_lock(store: Path, branch: str) -> Path:
    """Return the lock file that whoever moves a branch holds while doing so."""
    return store / "locks" / blake3.blake3(branch.encode()).hexdigest()[:24]
