"""A test kit for projects: a script of deliveries, edits, runs, a clock and crashes, and parity after it all.

Read ``script.py``; it is all there is. May import ``api`` and everything below; nothing imports it.
"""

from gristmill.testing.script import Script

__all__ = ["Script"]
