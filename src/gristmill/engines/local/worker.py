"""A worker process of the local executor: specs in, manifests out, on a kernel of its own.

Started as ``python -m gristmill.engines.local.worker MEMORY_BYTES THREADS`` (0 for the engine's own choice). It loads
no project and runs no code but the kernel's.
"""

from __future__ import annotations

import sys

from gristmill.engines.kernel import Kernel
from gristmill.engines.local.pool import serve
from gristmill.engines.task import answer


def main() -> None:
    """Serve until the pool closes."""
    memory, threads = (int(argument) or None for argument in sys.argv[1:3])
    with Kernel(memory_limit_bytes=memory, threads=threads) as kernel:
        serve(lambda message: answer(kernel, message))


if __name__ == "__main__":
    main()
