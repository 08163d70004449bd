"""Executors: where compiled expressions run.

``kernel/`` compiles Ibis expressions and SQL text and runs them on DuckDB; every other folder here brings the
same kernel to a cluster. Nothing in this room commits: it hands over Arrow or SQL, the store writes.
Read ``kernel/__init__.py`` first. May import ``algebra``, ``model`` and ``errors``.
"""
