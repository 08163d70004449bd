"""Frozen values that every room above shares: schemas, names, refs, predicates, units, rules, events.

Nothing here reads or writes anything. Start with ``schema.py``; the other files each hold one idea.
Imports only ``gristmill.errors``.
"""
