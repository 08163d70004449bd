"""Rules on tables: how they are written, checked in one scan, and what happens to rows that break them.

Read ``rules.py`` (how a user writes one), then ``kinds.py`` (what each kind means in SQL) and ``check.py`` (the
fused scan and the second passes). Values live in ``model.rules`` and ``model.findings``.

May import ``connect``, ``engines``, ``algebra``, ``stats``, ``store``, ``model``, ``errors``.
"""

from gristmill.contracts import rules
from gristmill.contracts.check import CheckResult, check
from gristmill.contracts.kinds import describe

__all__ = ["CheckResult", "check", "describe", "rules"]
