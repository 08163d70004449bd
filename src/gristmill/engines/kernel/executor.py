"""The executor in this process: one piece of work after the other, on a kernel that is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gristmill.engines.kernel.kernel import Kernel
from gristmill.engines.protocol import Manifest, Spec
from gristmill.engines.task import work


@dataclass(frozen=True, slots=True)
class InProcess:
    """Runs specs on one kernel, so that only one piece of work is in memory at a time.

    Args:
        kernel: what runs them; nothing else may use it meanwhile.
    """

    kernel: Kernel
    workers: int = 1

    def map(self, specs: Sequence[Spec]) -> Iterator[Manifest]:
        """Run specs one after the other; see `gristmill.engines.protocol.Executor.map`."""
        for spec in specs:
            yield work(self.kernel, spec)
