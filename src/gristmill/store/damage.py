"""Tell damaged data files from other errors of the engine, so that a reader learns which file and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from gristmill.errors import Corrupt

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
