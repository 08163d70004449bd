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
        serve(lambda message: answered(kernel, message))


def answered(kernel: Kernel, message: bytes) -> bytes:
    """Answer one message, and let go of the rows that it read: a pool lives as long as the process that has it."""
    from gristmill.store import compute

    try:
        return answer(kernel, message)
    finally:
        compute.forget(kernel.connection)


if __name__ == "__main__":
    main()
