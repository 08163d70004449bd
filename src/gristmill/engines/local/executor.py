"""The executor of this machine: worker processes, each with a kernel of its own."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from gristmill.engines.local.pool import Pool
from gristmill.engines.protocol import Manifest, Spec, sent, taken

MODULE = "gristmill.engines.local.worker"
TRIES = 3


class LocalPool:
    """Runs specs on worker processes of this machine, which start with the first of them.

    A worker that dies is replaced, and its piece of work is done again, three times at most.

    Args:
        workers: how many processes.
        memory_bytes: what all of them together may hold in memory; the engine's own choice where None.
        threads: threads of each.
        module: what a worker runs.
        arguments: of the module, after memory and threads.
    """

    def __init__(
        self,
        workers: int,
        *,
        memory_bytes: int | None = None,
        threads: int | None = 1,
        module: str = MODULE,
        arguments: Sequence[str] = (),
    ) -> None:
        self.workers = workers
        share = str((memory_bytes or 0) // workers)
        self.pool = Pool(module, [share, str(threads or 0), *arguments], workers=workers, tries=TRIES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def map(self, specs: Sequence[Spec]) -> Iterator[Manifest]:
        """Run specs, several at once; see `gristmill.engines.protocol.Executor.map`."""
        places = [f"{spec.place}" for spec in specs]
        for spec, reply in zip(specs, self.pool.map(sent(specs), places=places), strict=True):
            yield taken(spec, reply)

    def close(self) -> None:
        """Stop the workers; a second call does nothing."""
        self.pool.close()


_kept: dict[tuple[int, int | None, int | None], LocalPool] = {}
_lock = threading.Lock()


def shared_pool(workers: int, *, memory_bytes: int | None, threads: int | None) -> LocalPool:
    """Return this process's pool with these settings, which lives as long as the process."""
    key = (workers, memory_bytes, threads)
    with _lock:
        if key not in _kept:
            _kept[key] = LocalPool(workers, memory_bytes=memory_bytes, threads=threads)
            atexit.register(_kept[key].close)
        return _kept[key]
