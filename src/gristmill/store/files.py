"""Opaque files by content: models, images, documents."""

from __future__ import annotations

import shutil
from pathlib import Path

import blake3

from gristmill.errors import Corrupt, UsageError
from gristmill.store.datafiles import Output, disk_error
from gristmill.store.view import FilesState, pack_entry


def content_path(digest: str) -> str:
    """Return where content of that hash lies, relative to the store."""
    return f"files/{digest[:2]}/{digest}"


def put_folder(out: Output, folder: Path) -> dict[str, bytes]:
    """Take every file below a folder into the store and return their entries by path."""
    if not folder.is_dir():
        raise UsageError(f"`{folder}` is not a folder", code="GM-U116")
    entries = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise UsageError(f"`{path}` leads out of the folder", code="GM-U116", hint="copy the file into it")
        if path.is_file():
            entries[path.relative_to(folder).as_posix()] = put_file(out, path)
    return entries


def put_file(out: Output, path: Path) -> bytes:
    """Take one file into the store and return its entry; the bytes that were hashed are those that are kept."""
    copy = out.temporary()
    try:
        shutil.copyfile(path, copy)
        digest = blake3.blake3(max_threads=blake3.blake3.AUTO).update_mmap(copy).digest()
        size = copy.stat().st_size
        target = out.folder / content_path(digest.hex())
        if not target.exists():
            out.place(copy, target)
    except OSError as error:
        raise disk_error(error, path) from error
    finally:
        copy.unlink(missing_ok=True)
    return pack_entry(digest, size)


def checkout(store: Path, state: FilesState, folder: Path) -> None:
    """Write a tree of files into a folder, which may exist; other files in it stay.

    Raises:
        Corrupt: stored bytes are not what was written; names the path.
    """
    for path, (digest, size) in state.entries.items():
        source = store / content_path(digest)
        target = folder / path
        if not target.resolve().is_relative_to(folder.resolve()):
            raise Corrupt(f"a stored path leads out of the folder: {path!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, target)
        except FileNotFoundError:
            raise Corrupt(f"the content of `{path}` is missing", where=str(source), hint="gristmill doctor") from None
        if target.stat().st_size != size:
            raise Corrupt(f"the content of `{path}` is damaged", where=str(source), hint="gristmill doctor")
