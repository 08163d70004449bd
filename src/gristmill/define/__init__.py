"""What a project defines: its settings, sources, tables, steps, SQL, models, and the graph they make.

Read ``nodes.py`` first (the values), then ``graph.py`` (how they hang together). ``settings.py`` reads
``gristmill.toml``, ``load.py`` imports the project's modules, ``signatures.py`` checks decorated functions,
``code.py`` fingerprints source code, ``streams.py`` holds what sources say of time and change. Nothing here computes
a table.

May import ``contracts``, ``connect``, ``engines``, ``algebra``, ``store``, ``model``, ``errors``.
"""

from gristmill.define.code import CodeState, code_state
from gristmill.define.graph import Graph
from gristmill.define.load import find_root, load_modules
from gristmill.define.nodes import Node, Place, place_of, place_of_caller
from gristmill.define.settings import Settings, read_settings
from gristmill.define.signatures import check_signature
from gristmill.define.streams import Changes, EventTime, Late, Sink, changes, event_time, late

__all__ = [
    "Changes",
    "CodeState",
    "EventTime",
    "Graph",
    "Late",
    "Node",
    "Place",
    "Settings",
    "Sink",
    "changes",
    "check_signature",
    "code_state",
    "event_time",
    "find_root",
    "late",
    "load_modules",
    "place_of",
    "place_of_caller",
    "read_settings",
]
