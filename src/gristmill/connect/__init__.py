"""The outside world as sources of units and as places to export to: files, databases, frames.

Start with ``values.py`` (what a source hands over), then ``file_source.py``. Delimited text goes through
``csv_text`` (bytes to records), ``csv_scan`` (where records start), ``csv_cells`` (records to typed columns),
``csv_read`` (rows, origin, rejects); ``csv_dialect`` and ``csv_infer`` guess what was not declared.
``json_*`` and ``columnar`` do the same for JSON, Parquet, Arrow and Feather; ``places`` opens and unpacks.
A query of a database is ``query_source``, with ``windows`` for cursors and ``databases`` for connections; ``pg_read``,
``arrow_read`` and ``row_read`` are the three ways in which results come.
Imports ``model``, ``errors``, and the store's content digest. Engines and drivers are imported when used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.connect.database_export import export_table_to_database, is_database
    from gristmill.connect.file_export import Exported, export
    from gristmill.connect.file_source import FilesSource, files
    from gristmill.connect.frame_source import FrameSource, frame
    from gristmill.connect.kafka_source import KafkaSource, kafka
    from gristmill.connect.push_source import PushSource, push
    from gristmill.connect.query_source import QuerySource, query
    from gristmill.connect.redis_source import RedisSource, redis_stream
    from gristmill.connect.replay_source import ReplaySource, replay
    from gristmill.connect.sinks import HttpSink, Outgoing, SinkTarget, SinkWriter, http
    from gristmill.connect.stream_values import Polled, Reader, StreamConnector
    from gristmill.connect.tail_source import TailSource, tail
    from gristmill.connect.values import Chunk, Column, Dialect, Found, Reject, Shape, UnitRows

_HOMES = {
    "Exported": "file_export",
    "export": "file_export",
    "export_table_to_database": "database_export",
    "is_database": "database_export",
    "FilesSource": "file_source",
    "files": "file_source",
    "FrameSource": "frame_source",
    "frame": "frame_source",
    "QuerySource": "query_source",
    "query": "query_source",
    **dict.fromkeys(("HttpSink", "Outgoing", "SinkTarget", "SinkWriter", "http"), "sinks"),
    "KafkaSource": "kafka_source",
    "kafka": "kafka_source",
    "PushSource": "push_source",
    "push": "push_source",
    "ReplaySource": "replay_source",
    "replay": "replay_source",
    "Polled": "stream_values",
    "Reader": "stream_values",
    "RedisSource": "redis_source",
    "redis_stream": "redis_source",
    "StreamConnector": "stream_values",
    "TailSource": "tail_source",
    "tail": "tail_source",
    **dict.fromkeys(("Chunk", "Column", "Dialect", "Found", "Reject", "Shape", "UnitRows"), "values"),
}

__all__ = [
    "Chunk",
    "Column",
    "Dialect",
    "Exported",
    "FilesSource",
    "Found",
    "FrameSource",
    "HttpSink",
    "KafkaSource",
    "Outgoing",
    "Polled",
    "PushSource",
    "QuerySource",
    "Reader",
    "RedisSource",
    "Reject",
    "ReplaySource",
    "Shape",
    "SinkTarget",
    "SinkWriter",
    "StreamConnector",
    "TailSource",
    "UnitRows",
    "export",
    "export_table_to_database",
    "files",
    "frame",
    "http",
    "is_database",
    "kafka",
    "push",
    "query",
    "redis_stream",
    "replay",
    "tail",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
