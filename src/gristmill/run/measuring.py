"""How much memory and disk a stage takes while it runs: a thread looks at it again and again.

Memory is what the kernel holds (not what it merely keeps of files that it read, which it gives up when asked), what
this process has grown by besides where the system tells that, and what worker processes held. Stages that run side by
side share what is seen, each in proportion to what was planned for it. A stage of a few hundredths of a second is not
seen at all.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from gristmill.engines.kernel import Kernel

_FIRST_S, _LONGEST_S, _SHARE = 0.02, 0.2, 0.05
"""The shortest and the longest time between two looks, and what share of a stage's age lies between."""
_LEAST_BYTES = 1_000_000
_STATM = Path("/proc/self/statm")


@dataclass(slots=True)
class Taken:
    """What a stage has taken so far, at the most.

    Args:
        planned_bytes: the memory that was planned for it.
        seen_bytes: held in memory in this process.
        spilled_bytes: on the disk for want of memory.
        exchanged_bytes: in files between pieces of work.
        workers: held by each worker process, by its name.
    """

    planned_bytes: int = 0
    seen_bytes: int = 0
    spilled_bytes: int = 0
    exchanged_bytes: int = 0
    workers: dict[str, int] = field(default_factory=dict)
    since: float = field(default_factory=time.monotonic)

    @property
    def peak_bytes(self) -> int:
        """Held in memory here and by workers."""
        return self.seen_bytes + sum(self.workers.values())

    @property
    def weight(self) -> int:
        """Its share of what is seen where stages run side by side."""
        return max(self.planned_bytes, _LEAST_BYTES)

    def worked(self, worker: str, peak_bytes: int) -> None:
        """Note what a worker process held."""
        self.workers[worker] = max(self.workers.get(worker, 0), peak_bytes)


class Meter:
    """Watches the stages of one run, in a thread that sleeps while none is at work; close it before the kernel.

    Args:
        kernel: what computes; its lanes share one memory.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._cursor = kernel.connection.cursor()
        self._change = threading.Condition()
        self._at_work: list[Taken] = []
        self._closed, self._sleeps = False, False
        self._before, self._kernel_bytes = (0, 0), 0
        self._thread = threading.Thread(target=self._watch, name="gristmill-meter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        with self._change:
            self._closed = True
            self._change.notify_all()
        self._thread.join()
        self._cursor.close()

    @contextmanager
    def stage(self, planned_bytes: int) -> Iterator[Taken]:
        """Watch one stage while the context is open.

        Args:
            planned_bytes: the memory that was planned for it.
        """
        taken = Taken(planned_bytes)
        with self._change:
            if not self._at_work:
                self._before = (resident_bytes(), self._kernel_bytes)
            self._at_work.append(taken)
            if self._sleeps:
                self._change.notify_all()
        try:
            yield taken
        finally:
            with self._change:
                self._at_work = [other for other in self._at_work if other is not taken]

    def _watch(self) -> None:
        import duckdb

        try:
            while self._waited():
                self._look()
        except duckdb.Error:  # the kernel is gone, or has failed for good: the stage says so itself
            return

    def _waited(self) -> bool:
        """Wait until it is time to look again; False when there is nothing more to look at."""
        with self._change:
            while not self._closed:
                self._sleeps = True
                self._change.wait_for(lambda: self._closed or self._at_work)
                self._sleeps = False
                watched = {id(taken) for taken in self._at_work}
                age = min((time.monotonic() - taken.since for taken in self._at_work), default=0.0)
                self._change.wait_for(lambda: self._closed, min(max(_FIRST_S, age * _SHARE), _LONGEST_S))
                if any(id(taken) in watched for taken in self._at_work):
                    break
            return not self._closed

    def _look(self) -> None:
        held, kept, spilled = kernel_bytes(self._cursor)
        resident = resident_bytes()
        with self._change:
            at_work: Sequence[Taken] = self._at_work
        self._kernel_bytes = held + kept
        resident_before, kernel_before = self._before
        grown = resident - resident_before - max(0, held + kept - kernel_before)
        total = sum(taken.weight for taken in at_work)
        for taken in at_work:
            taken.seen_bytes = max(taken.seen_bytes, (held + max(0, grown)) * taken.weight // total)
            taken.spilled_bytes = max(taken.spilled_bytes, spilled * taken.weight // total)


def kernel_bytes(cursor: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    """Return the bytes that a DuckDB instance holds, keeps of files that it read, and has spilled."""
    held = "memory_usage_bytes) FILTER (tag <> 'EXTERNAL_FILE_CACHE')"
    kept = "memory_usage_bytes) FILTER (tag = 'EXTERNAL_FILE_CACHE')"
    found = cursor.execute(f"SELECT sum({held}, sum({kept}, sum(temporary_storage_bytes) FROM duckdb_memory()")
    (row,) = found.fetchall()
    return int(row[0] or 0), int(row[1] or 0), int(row[2] or 0)


def resident_bytes() -> int:
    """Return the resident memory of this process now; 0 where the system does not tell."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
