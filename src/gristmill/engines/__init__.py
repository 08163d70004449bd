"""Executors: where compiled expressions run.

``kernel/`` compiles Ibis expressions and SQL text and runs them on DuckDB; every other folder here brings the same
kernel to more processes or machines. ``protocol.py`` is what all of them speak (specs out, manifests back),
``task.py`` is one piece of work wherever it runs, ``job.py`` drives a definition that is cut into stages. Nothing in
this room commits: it hands over Arrow, SQL or files, the store writes.
Read ``kernel/__init__.py`` first, then ``protocol.py``. May import ``store`` (to read scans), ``algebra``, ``model``
and ``errors``.
"""
