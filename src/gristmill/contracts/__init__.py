"""Rules on tables: how they are written, checked in one scan, and what happens to rows that break them.

Read ``rules.py`` (how a user writes one), then ``kinds.py`` and its four neighbours (what each kind means in SQL)
and ``scan.py`` (one check: ``proofs.py`` spares rules that statistics prove, ``masks.py`` is the fused scan,
``figures.py`` takes figures, ``passes.py`` and ``uniqueness.py`` have the second passes). ``odcs.py`` reads
contracts and ``compile.py`` turns them into rules; ``quarantine.py`` holds rows set aside. Values live
in ``model.rules`` and ``model.findings``.

May import ``connect``, ``engines``, ``algebra``, ``stats``, ``store``, ``model``, ``errors``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.contracts import rules as rules
    from gristmill.contracts.kinds import describe as describe
    from gristmill.contracts.odcs import load as load
    from gristmill.contracts.odcs import parse as parse
    from gristmill.contracts.outcomes import CheckResult as CheckResult
    from gristmill.contracts.scan import Surroundings as Surroundings
    from gristmill.contracts.scan import check as check
    from gristmill.contracts.values import Contract as Contract
    from gristmill.contracts.values import TableContract as TableContract

_HOMES = {
    "CheckResult": "outcomes",
    "Contract": "values",
    "Surroundings": "scan",
    "TableContract": "values",
    "check": "scan",
    "describe": "kinds",
    "load": "odcs",
    "parse": "odcs",
}

__all__ = [*sorted(_HOMES), "rules"]


def __getattr__(name: str) -> object:
    if name == "rules":
        return import_module(f"{__name__}.rules")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
