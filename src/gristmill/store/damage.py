"""What to say where the disk fails: damaged data files told from other errors of the engine, and disks that refuse."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gristmill.errors import Corrupt, EngineError, UsageError

_FILE = re.compile(r"[^\s'\"]*[0-9a-f]{64}-[0-9a-f]{16}\.parquet")
_MISSING = re.compile(r"No files found|No such file|Cannot open file")
_UNREADABLE = re.compile(
    r"Failed to read file|magic bytes|TProtocolException|[Dd]ecompress|[Cc]orrupt|too small|metadata"
)


def damage(error: Exception) -> Corrupt | None:
    """Return an error of the engine as damage of a stored file; None where it is about something else.

    >>> found = damage(ValueError(f"No magic bytes found at end of file 'data/{64 * 'a'}-{16 * 'b'}.parquet'"))
    >>> (found.message, found.hint) if found else None
    ('a data file is damaged', 'gristmill doctor')
    """
    words = str(error)
    file = _FILE.search(words)
    if file is None and "TProtocolException" not in words:
        return None
    if _MISSING.search(words):
        state = "missing"
    elif _UNREADABLE.search(words):
        state = "damaged"
    else:
        return None
    return Corrupt(f"a data file is {state}", where=file[0] if file else None, hint="gristmill doctor")


@contextmanager
def reading() -> Iterator[None]:
    """Raise Corrupt where the engine finds a data file damaged or missing."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        found = damage(error)
        if found is None:
            raise
        raise found from error


@contextmanager
def asking() -> Iterator[None]:
    """Raise like `reading`, and UsageError where a condition does not suit the columns that it is about.

    For the store's own queries only: there, nothing but the condition can compare what cannot be compared.
    """
    import duckdb

    try:
        with reading():
            yield
    except (duckdb.ConversionException, duckdb.BinderException) as error:
        words = str(error).splitlines()[0].partition(": ")[2]
        raise UsageError(
            f"the condition does not suit its columns: {words}",
            code="GM-U020",
            hint="compare a column with a value of its own type",
        ) from error


def disk_error(error: Exception, path: Path) -> EngineError:
    """Return what to raise when the disk fails."""
    words, full = getattr(error, "strerror", None) or str(error), os.strerror(errno.ENOSPC)
    return EngineError(
        f"a file could not be written: {full if full in words else words}",
        code="GM-E011",
        where=str(path),
        hint="free some space, or check the permissions, and try again",
        retryable=True,
    )


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise a clear error where the disk refuses."""
    try:
        yield
    except OSError as error:
        raise disk_error(error, path) from error
