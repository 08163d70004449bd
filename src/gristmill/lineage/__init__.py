"""Where rows come from and what they reached; which commit set a cell; which columns feed a column.

Read ``values.py`` first (what a trace is), then ``backward.py`` and ``reached.py``; ``stored.py`` reads what runs
have left behind, ``replaying.py`` computes a row again from only its traced rows, ``cells.py`` answers *blame*. A trace
needs no project code; only a replay does. May import ``run`` and everything below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gristmill._lazy import lazy

if TYPE_CHECKING:
    from gristmill.lineage.backward import trace as trace
    from gristmill.lineage.cells import Blame as Blame
    from gristmill.lineage.cells import blame as blame
    from gristmill.lineage.columns import project_columns as project_columns
    from gristmill.lineage.reached import forward as forward
    from gristmill.lineage.replaying import Replay as Replay
    from gristmill.lineage.replaying import replay as replay
    from gristmill.lineage.values import Forward as Forward
    from gristmill.lineage.values import Trace as Trace

_HOME = {
    "Blame": "cells",
    "Forward": "values",
    "Replay": "replaying",
    "Trace": "values",
    "blame": "cells",
    "forward": "reached",
    "project_columns": "columns",
    "replay": "replaying",
    "trace": "backward",
}

__all__ = sorted(_HOME)

__getattr__, __dir__ = lazy(__name__, _HOME)
