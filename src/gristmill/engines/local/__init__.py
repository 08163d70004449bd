"""The local executor: fresh Python processes on this machine that take messages and answer them, in order.

``executor.py`` runs specs on them; ``worker.py`` is what such a worker runs; ``pool.py`` starts processes, sends each
its next message, yields answers in the order of the questions, and gives the work of one that died to another. Imports
``protocol``, ``task`` and the kernel; importing it starts nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill._lazy import lazy

if TYPE_CHECKING:
    from gristmill.engines.local.executor import LocalPool as LocalPool
    from gristmill.engines.local.executor import shared_pool as shared_pool
    from gristmill.engines.local.pool import Pool as Pool
    from gristmill.engines.local.pool import serve as serve

_HOME = {"LocalPool": "executor", "Pool": "pool", "serve": "pool", "shared_pool": "executor"}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
