"""How a definition is cut into stages that are computed part by part, with the same rows as at once.

Read ``stages.py`` first (what comes out), then ``cutting.py`` (how each operation is cut), ``keys.py`` (by what rows
may be parted) and ``halves.py`` (group-bys that send partial results). Imports the rest of ``algebra``.
"""
