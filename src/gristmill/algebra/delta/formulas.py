"""The SQL of what only maintenance and parting need; ``semantics.py`` holds the templates of what users write."""

from __future__ import annotations

_BUCKET = "CAST((CAST({x} AS HUGEINT) - (CAST({x} AS HUGEINT) % {t0} + {t0}) % {t0}) // {t0} AS BIGINT)"

FORMULAS: dict[str, str] = {
    "delta_bucket": _BUCKET.replace("{x}", "{a}"),
    "delta_bucket_time": _BUCKET.replace("{x}", "epoch_us(CAST({a} AS TIMESTAMP))"),
    "delta_same": "{a}",
    "delta_minus_zero": "(signbit({a}) AND {a} = 0)",
    "delta_text": "CAST({a} AS VARCHAR)",
    "delta_copies": "range(abs({a}))",
    "delta_unit": "CAST(sign({a}) AS BIGINT)",
    "delta_total": "CAST(coalesce({a}, 0) AS BIGINT)",
    "delta_signed": "(CAST({a} AS HUGEINT) * {b})",
    "delta_signed_decimal": "CASE WHEN {b} < 0 THEN -{a} ELSE {a} END",
    "delta_sum": "CAST(coalesce({a}, 0) AS {t0})",
    "delta_plus": "CAST(coalesce({a}, 0) + coalesce({b}, 0) AS {t0})",
    "delta_plus_huge": "CAST(CAST(coalesce({a}, 0) AS HUGEINT) + CAST(coalesce({b}, 0) AS HUGEINT) AS DECIMAL(38,0))",
    "delta_rows": "CASE WHEN coalesce({a}, 0) + {b} < 0 "
    "THEN error('a hidden state does not fit the changes of its inputs') ELSE coalesce({a}, 0) + {b} END",
    "delta_sum_of": "CASE WHEN {b} > 0 THEN CAST({a} AS {t0}) END",
    "delta_any_of": "CASE WHEN {b} > 0 THEN {a} > 0 END",
    "delta_all_of": "CASE WHEN {b} > 0 THEN {a} = {b} END",
    "delta_sorted": "list_sort({a})",
    "delta_multiset": "CASE WHEN {b} IS NULL AND {c} IS NULL THEN {a} "
    "ELSE CAST(gm_multiset({a}, {b}, {c}) AS DOUBLE[]) END",
    "delta_reached": "({b} IS NOT NULL AND ({a} IS NULL OR {b} {t0} {a}))",
    "delta_extreme": "{t0}({a}, {b})",
    "delta_least_positive": "least({a}, {b})",
    "parted_hash": "hash({a})",
    "parted_hash_both": "hash({a}, {b})",
    "parted_huge": "CAST({a} AS HUGEINT)",
    "parted_flat": "flatten({a})",
    "delta_surplus": "greatest({a} - {b}, 0)",
}
"""Template by name, filled as ``gristmill.algebra.semantics.FORMULAS`` are."""
