"""Where a store lies: refusing network disks, opening read-only media, noticing that a store was copied."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path

from gristmill.errors import StoreError

NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse"})
"""File systems on which locks and shared memory between machines cannot be relied on."""
FOLDERS = ("data", "files", "tmp", "locks")
"""The folders in a store's folder."""
CLONE = 1 << 40
"""How far the row ids of a copied store are moved on, so that its new rows share no id with the original's."""


def refuse_network(path: Path) -> None:
    """Refuse a folder on a network file system; raises StoreError."""
    kind = file_system(path)
    if kind in NETWORK:
        raise StoreError(
            f"{path} is on a network file system ({kind}), where a store cannot be kept safely",
            code="GM-S016",
            where=str(path),
            hint="put it on a local disk",
        )


def file_system(path: Path, mounts: str | None = None) -> str:
    """Return the type of the file system that holds a path, as Linux calls it; empty where that is not known.

    >>> file_system(Path("/a/b"), "x / ext4 rw 0 0\\nsrv:/ /a nfs4 rw 0 0\\n")
    'nfs4'
    """
    if mounts is None:
        if not sys.platform.startswith("linux"):
            return ""
        try:
            mounts = Path("/proc/self/mounts").read_text()
        except OSError:
            return ""
    found, longest = "", -1
    for line in mounts.splitlines():
        parts = line.split()
        if len(parts) < 3:
            continue
        point = parts[1].replace("\\040", " ")
        inside = point == "/" or str(path) == point or str(path).startswith(point + "/")
        if inside and len(point) >= longest:
            found, longest = parts[2], len(point)
    return found


def is_read_only(path: Path) -> bool:
    """Whether nothing can be written where the store lies."""
    flags = os.statvfs(path).f_flag
    return bool(flags & os.ST_RDONLY) or not (os.access(path, os.W_OK) and os.access(path / "catalog.db", os.W_OK))


def identity(path: Path) -> str:
    """Return what is different wherever the store is copied to: host, device and inode of its catalog."""
    stat = (path / "catalog.db").stat()
    return f"{socket.gethostname()}/{stat.st_dev}/{stat.st_ino}"


def clone_offset() -> int:
    """Return a number of row ids to skip that no other copy of a store skips, but by a chance of 1 in 4 million."""
    return CLONE * (1 + secrets.randbelow(1 << 22))
