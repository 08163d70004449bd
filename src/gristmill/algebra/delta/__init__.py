"""The delta algebra: how a derived table follows the changes of its inputs, without computing all of it anew.

Read ``maintained.py`` first (the names and shapes of what comes out), then ``rules.py`` (which rule for which
operation), ``work.py`` (what rules share) and the rules themselves: ``linear.py``, ``joins.py``, ``asof.py``,
``aggregates.py`` with ``partial.py``, ``windows.py``; ``touched.py`` limits a relation to touched keys. ``plain.py``
writes a definition with few kinds of operations first, ``pruned.py`` without idle columns; ``cost.py`` estimates,
``table.py`` is the documentation. Imports the rest of ``algebra`` and ``errors``; knows neither
the store nor the engine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill._lazy import lazy

if TYPE_CHECKING:
    from gristmill.algebra.delta.cost import Estimate as Estimate
    from gristmill.algebra.delta.cost import estimate as estimate
    from gristmill.algebra.delta.maintained import WEIGHT as WEIGHT
    from gristmill.algebra.delta.maintained import Change as Change
    from gristmill.algebra.delta.maintained import Maintained as Maintained
    from gristmill.algebra.delta.maintained import OpRule as OpRule
    from gristmill.algebra.delta.maintained import State as State
    from gristmill.algebra.delta.maintained import Step as Step
    from gristmill.algebra.delta.rules import maintain as maintain

_HOME = {
    "Change": "maintained",
    "Estimate": "cost",
    "estimate": "cost",
    "Maintained": "maintained",
    "OpRule": "maintained",
    "State": "maintained",
    "Step": "maintained",
    "WEIGHT": "maintained",
    "maintain": "rules",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
