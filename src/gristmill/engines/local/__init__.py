"""The local executor: fresh Python processes on this machine that take messages and answer them, in order.

``pool.py`` is all there is: it starts workers, sends each its next message, and yields answers in the order of the
questions. Imports ``errors`` only; what a worker does is told by the module that it runs.
"""

from gristmill.engines.local.pool import Pool, serve

__all__ = ["Pool", "serve"]
