"""Opaque files by content: models, images, documents."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.errors import Corrupt, UsageError
from gristmill.store.damage import disk_error, writing
from gristmill.store.datafiles import Output
from gristmill.store.view import FilesState, pack_entry

if TYPE_CHECKING:
    from gristmill.store.store import Store


def content_path(digest: str) -> str:
    """Return where content of that hash lies, relative to the store."""
    return f"files/{digest[:2]}/{digest}"


Known = dict[str, tuple[tuple[int, int, int, int], bytes]]
"""By absolute path: size, modification and change time, inode; and the entry the file had then."""

RACY_NS = 2_000_000_000


def put_folder(out: Output, folder: Path, known: Known | None = None) -> dict[str, bytes]:
    """Take every file below a folder into the store and return their entries by path.

    A file whose stat is what ``known`` says is not read again; what is learned is added to it. A file that was changed
    in the last two seconds is not remembered, as it may change again within one tick of the clock.
    """
    known = {} if known is None else known
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", code="GM-U116")
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"`{path}` leads out of the folder", code="GM-U116", hint="copy the file into it")
        if path.is_file():
            entries[path.relative_to(folder).as_posix()] = _known_or_put(out, path, known)
    return entries


def put_remembered(store: Store, folder: Path) -> dict[str, bytes]:
    """Take a folder into a store like `put_folder`, with what the store remembers of it."""
    kind, key = "stat", str(folder.resolve())
    data = store.records.get(kind, key)
    known = msgspec.msgpack.decode(data, type=Known) if data else {}
    before = dict(known)
    entries = put_folder(store.output, folder, known)
    if known != before:
        store.records.put(kind, key, msgspec.msgpack.encode(known))
    return entries


def _known_or_put(out: Output, path: Path, known: Known) -> bytes:
    name = str(path.resolve())
    stat = path.stat()
    seen = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    before = known.get(name)
    if before is not None and before[0] == seen and (out.folder / content_path(before[1][8:].hex())).exists():
        return before[1]
    entry = put_file(out, path)
    known.pop(name, None)
    if max(stat.st_mtime_ns, stat.st_ctime_ns) < time.time_ns() - RACY_NS:
        known[name] = (seen, entry)
    return entry


def put_file(out: Output, path: Path) -> bytes:
    """Take one file into the store and return its entry; the bytes that were hashed are those that are kept."""
    copy = out.temporary()
    try:
        shutil.copyfile(path, copy)
        digest = blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(copy).digest()
        size = copy.stat().st_size
        target = out.folder / content_path(digest.hex())
        if target.exists():
            os.utime(target)
        else:
            copy.chmod(0o444)
            out.place(copy, target)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        with suppress(OSError):
            copy.unlink(missing_ok=True)
    return pack_entry(digest, size)


def checkout(store: Path, state: FilesState, folder: Path, *, link: bool = False) -> None:
    """Write a tree of files into a folder, which may exist; other files in it stay.

    Where the disk can share blocks between files, nothing is copied. With ``link`` files that are only read may be
    hard links into the store otherwise, which are read-only.

    Raises:
        Corrupt: stored bytes are not what was written; names the path.
    """
    for path, (digest, size) in state.entries.items():
        source = store / content_path(digest)
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise Corrupt(f"a stored path leads out of the folder: {path!r}")
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                target.unlink(missing_ok=True)
                _give(source, target, link)
            except FileNotFoundError:
                missing = f"the content of `{path}` is missing"
                raise Corrupt(missing, where=str(source), hint="gristmill doctor") from None
        if target.stat().st_size != size:
            raise Corrupt(f"the content of `{path}` is damaged", where=str(source), hint="gristmill doctor")


FICLONE = 0x40049409
"""The Linux call that makes a file share another one's blocks until either is written to."""


def _give(source: Path, target: Path, link: bool) -> None:
    if _cloned(source, target):
        return
    if link:
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
        else:
            return
    shutil.copyfile(source, target)


def _cloned(source: Path, target: Path) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:
            return False
    return True
