"""The semantics table: what is ours."""

from __future__ import annotations

from gristmill.algebra.rule import Probe, Rule, one

OWN: tuple[Rule, ...] = (
    Rule(
        "declared_type",
        "every column of a result",
        "has exactly the declared type; a value that does not fit raises",
        "CAST({a} AS {t0})",
        "DuckDB gives lengths and parts of dates as 64-bit integers, and sums as 128-bit ones",
        (
            Probe("t.a.length()", (2,), one("string", "ab")),
            Probe("t.a.year()", (2026,), one("date", "2026-01-01")),
        ),
    ),
    Rule(
        "hash",
        "gm.hash(...)",
        "see gristmill.algebra.hashing",
        "CAST(md5_number_upper({a}) >> 1 AS BIGINT)",
        "the engine's hash() changes with its version and has collisions by design",
    ),
    Rule("hash_null", "gm.hash: null", "", "'_;'", ""),
    Rule(
        "hash_boolean",
        "gm.hash: booleans",
        "",
        "CASE WHEN {a} THEN 'b1;' WHEN NOT {a} THEN 'b0;' ELSE '_;' END",
        "",
    ),
    Rule("hash_integer", "gm.hash: integers", "", "COALESCE('n' || CAST({a} AS VARCHAR) || ';', '_;')", ""),
    Rule(
        "hash_decimal",
        "gm.hash: decimals",
        "",
        r"COALESCE('n' || regexp_replace(regexp_replace(CAST({a} AS VARCHAR), "
        r"'(\.\d*?)0+$', '\1'), '\.$', '')"
        " || ';', '_;')",
        "",
    ),
    Rule(
        "hash_float",
        "gm.hash: floats",
        "",
        "COALESCE('f' || replace(printf('%.16e', CAST({a} AS DOUBLE) + 0.0::DOUBLE), '-nan', 'nan') || ';', '_;')",
        "",
    ),
    Rule("hash_text", "gm.hash: text", "", "COALESCE('s' || strlen({a}) || ':' || {a} || ';', '_;')", ""),
    Rule("hash_binary", "gm.hash: binary", "", "COALESCE('x' || hex({a}) || ';', '_;')", ""),
    Rule("hash_timestamp", "gm.hash: timestamps", "", "COALESCE('t' || epoch_us({a}) || ';', '_;')", ""),
    Rule(
        "hash_date",
        "gm.hash: dates",
        "",
        "COALESCE('d' || (epoch_us(CAST({a} AS TIMESTAMP)) // 86400000000) || ';', '_;')",
        "",
    ),
    Rule("hash_time", "gm.hash: times of day", "", "COALESCE('c' || epoch_us({a}) || ';', '_;')", ""),
    Rule("hash_uuid", "gm.hash: uuid", "", "COALESCE('u' || CAST({a} AS VARCHAR) || ';', '_;')", ""),
    Rule(
        "unit_interval",
        "gm.row_random(seed)",
        "the upper 53 bits of a hash over 2^53",
        "CAST({a} >> 10 AS DOUBLE) / 9007199254740992.0::DOUBLE",
        "random() changes with every run",
    ),
)
