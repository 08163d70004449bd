"""From definitions to published tables: plan, land, compute, check, train, publish, and the record of it all.

Read ``execute.py`` first: it is one run from start to end. ``plan.py`` says what a run would do and why,
``derivation.py`` what makes a table out of date, ``landing.py`` reads sources, ``tables.py`` computes tables,
``models.py`` trains and predicts, ``checking.py`` applies rules and sets rows aside (``sightings.py``:
since when there are such rows), ``records.py`` keeps runs.

May import ``define``, ``contracts``, ``connect``, ``engines``, ``algebra``, ``stats``, ``store``, ``model``,
``errors``.
"""
