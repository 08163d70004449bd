"""What users hold: projects, stores, branches, snapshots, tables. Thin skins over the rooms below, no logic.

Read ``project.py`` for defining and running, ``stores.py`` for reading and writing tables without a project.

May import every room below: ``lineage``, ``run``, ``define``, ``contracts``, ``connect``, ``engines``,
``algebra``, ``store``, ``model``, ``errors``.
"""
