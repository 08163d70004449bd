"""Tables at hand: what small files and inlined rows hold, kept in this process for as long as there is room.

Files never change, so what was read or written once is right for ever; a file that was touched on the disk since this
process wrote it is read again, so that damage shows.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

KEPT = 128 << 20
WRITTEN_ROWS = 16_384
"""Files of at most so many rows are kept at hand when they are written."""
ASKED = 4096
"""How many files are remembered as asked for."""


class _Kept:
    """Tables by what they were made of, the least recently used dropped above `KEPT` bytes."""

    def __init__(self) -> None:
        self._held: OrderedDict[object, tuple[pa.Table, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def find(self, key: object) -> pa.Table | None:
        """Return a table that is here, or None."""
        with self._lock:
            held = self._held.get(key)
            if held is None:
                return None
            self._held.move_to_end(key)
            return held[0]

    def put(self, key: object, table: pa.Table, size: int | None = None) -> None:
        """Keep a table; ``size`` is how many bytes it holds, where that is known (asking costs as much as a row)."""
        size = (table.nbytes if size is None else size) + 512
        with self._lock:
            if key not in self._held:
                self._held[key] = (table, size)
                self._size += size
            while self._size > KEPT and len(self._held) > 1:
                self._size -= self._held.popitem(last=False)[1][1]

    def get(self, key: object, make: Callable[[], pa.Table], size: int | None = None) -> pa.Table:
        """Return a table, made where it is not here."""
        found = self.find(key)
        if found is None:
            found = make()
            self.put(key, found, size)
        return found


kept = _Kept()
_asked: OrderedDict[str, None] = OrderedDict()
_asked_lock = threading.Lock()


def keep_written(path: Path, table: pa.Table) -> None:
    """Keep what a file holds that was just written, in the types that it was written with."""
    if table.num_rows <= WRITTEN_ROWS:
        kept.put(_written(str(path)), table)


def asked_before(path: str) -> bool:
    """Whether a file was asked for before, of late: what is read again and again is worth holding."""
    with _asked_lock:
        before = path in _asked
        _asked[path] = None
        _asked.move_to_end(path)
        if len(_asked) > ASKED:
            _asked.popitem(last=False)
        return before


def written(path: str) -> pa.Table | None:
    """Return what this process wrote into a file, where that is at hand and the file is as it was left."""
    try:
        return kept.find(_written(path))
    except OSError:
        return None


def _written(path: str) -> tuple[object, ...]:
    found = Path(path).stat()
    return "written", path, found.st_size, found.st_mtime_ns
