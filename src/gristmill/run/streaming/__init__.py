"""Streams: micro-batches that land, compute and commit as one; what is late; what leaves through sinks.

Read ``batches.py`` first (one batch into a source's table), then ``loop.py`` (batch after batch until stopped).
``event_times`` judges rows by event time, ``deciding`` says which message of a key holds, ``state`` is what a commit
keeps of a stream, ``outbox`` sends a table's changes through sinks, ``control`` pauses and resumes, ``metrics``
serves Prometheus text.

May import what ``run`` may.
"""
