"""gristmill: the data-engineering platform for machine learning.

    import gristmill as gm

    project = gm.Project()                     # definitions: sources, tables, steps, models
    store = gm.open("shop/.gristmill")         # the versioned store alone
    gm.check(frame, [gm.rules.not_null("id")]) # rules alone

Names are loaded at first use; importing the package loads no engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from gristmill._version import __version__

if TYPE_CHECKING:
    from gristmill.algebra import asof_join as asof_join
    from gristmill.algebra import cumulate as cumulate
    from gristmill.algebra import hash as hash
    from gristmill.algebra import hop as hop
    from gristmill.algebra import row_random as row_random
    from gristmill.algebra import run_time as run_time
    from gristmill.algebra import sessions as sessions
    from gristmill.algebra import split as split
    from gristmill.algebra import tumble as tumble
    from gristmill.api.checking import check as check
    from gristmill.api.expressions import ibis_connection as ibis_connection
    from gristmill.api.project import Project as Project
    from gristmill.api.stores import Store as Store
    from gristmill.api.stores import open as open
    from gristmill.api.tracking import track as track
    from gristmill.connect import files as files
    from gristmill.connect import frame as frame
    from gristmill.connect import http as http
    from gristmill.connect import kafka as kafka
    from gristmill.connect import push as push
    from gristmill.connect import query as query
    from gristmill.connect import redis_stream as redis_stream
    from gristmill.connect import replay as replay
    from gristmill.connect import tail as tail
    from gristmill.contracts import rules as rules
    from gristmill.define import changes as changes
    from gristmill.define import event_time as event_time
    from gristmill.define import late as late
    from gristmill.errors import GristmillError as GristmillError

_HOME = {
    "GristmillError": "gristmill.errors",
    "Project": "gristmill.api.project",
    "asof_join": "gristmill.algebra",
    "Store": "gristmill.api.stores",
    "changes": "gristmill.define",
    "check": "gristmill.api.checking",
    "cumulate": "gristmill.algebra",
    "event_time": "gristmill.define",
    "files": "gristmill.connect",
    "frame": "gristmill.connect",
    "hash": "gristmill.algebra",
    "hop": "gristmill.algebra",
    "http": "gristmill.connect",
    "ibis_connection": "gristmill.api.expressions",
    "kafka": "gristmill.connect",
    "late": "gristmill.define",
    "open": "gristmill.api.stores",
    "push": "gristmill.connect",
    "query": "gristmill.connect",
    "redis_stream": "gristmill.connect",
    "replay": "gristmill.connect",
    "row_random": "gristmill.algebra",
    "rules": "gristmill.contracts",
    "run_time": "gristmill.algebra",
    "sessions": "gristmill.algebra",
    "split": "gristmill.algebra",
    "tail": "gristmill.connect",
    "track": "gristmill.api.tracking",
    "tumble": "gristmill.algebra",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
