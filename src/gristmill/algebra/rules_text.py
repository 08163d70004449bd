"""The semantics table: text, nulls and logic."""

from __future__ import annotations

from gristmill.algebra.rule import NAN, Probe, Rule, ints, one

_NUMBER = r"regexp_full_match({a}, '(?i)\s*[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|inf|infinity)\s*')"

TEXT: tuple[Rule, ...] = (
    Rule(
        "text_length",
        "length, substring, find, left, right, pad",
        "counted in Unicode code points",
        "",
        "Polars counts bytes",
        (
            Probe("t.a.length()", (1, 2, 3), one("string", "é", "e\u0301", "日本語")),
            Probe("t.a[1:3]", ("本語",), one("string", "日本語")),
            Probe("t.a.find('語')", (2,), one("string", "日本語")),
        ),
    ),
    Rule(
        "reverse",
        "reverse(x)",
        "by code points",
        "array_to_string(list_reverse(regexp_extract_all({a}, '(?s).')), '')",
        "DuckDB keeps grapheme clusters together, others reverse code points or bytes",
        (Probe("t.a.reverse()", ("\u0301ea", "", None), one("string", "ae\u0301", "", None)),),
    ),
    Rule(
        "text_order",
        "comparison and order of text",
        "by code point, no locale",
        "",
        "locales move with the operating system",
        (Probe("t.a < 'a'", (True, False), one("string", "Z", "b")),),
    ),
    Rule(
        "case_mapping",
        "upper(x), lower(x)",
        "simple mapping: one code point to one code point",
        "",
        "upper('ß') is SS or ẞ",
        (Probe("t.a.upper()", ("ẞ", "É"), one("string", "ß", "é")),),
    ),
    Rule(
        "text_to_integer",
        "cast of text to an integer",
        "an optional sign and digits, blanks around them; anything else raises (try_cast: null)",
        r"CASE WHEN {a} IS NULL OR regexp_full_match({a}, '\s*[+-]?[0-9]+\s*') THEN CAST({a} AS {t0}) "
        "ELSE error('cannot read ''' || {a} || ''' as {t0}') END",
        "DuckDB reads '1.5' as 2, '1e3' as 1000, '1_000' as 1000 and '0x1F' as 31",
        (
            Probe("t.a.cast('int64')", (12, -3, None), one("string", " 12 ", "-3", None)),
            *(Probe("t.a.cast('int64')", "DataError", one("string", s)) for s in ("1.5", "1e3", "1_000", "0x1F", "")),
            Probe("t.a.try_cast('int64')", (None, 7), one("string", "1.5", "7")),
        ),
    ),
    Rule(
        "text_to_integer_try",
        "try_cast of text to an integer",
        "null where a cast would raise",
        r"CASE WHEN regexp_full_match({a}, '\s*[+-]?[0-9]+\s*') THEN TRY_CAST({a} AS {t0}) END",
        "see above",
    ),
    Rule(
        "text_to_number",
        "cast of text to a float or decimal",
        "digits with an optional point and exponent, or nan, inf, infinity; decimals round half away",
        f"CASE WHEN {{a}} IS NULL OR {_NUMBER} THEN CAST({{a}} AS {{t0}}) "
        "ELSE error('cannot read ''' || {a} || ''' as {t0}') END",
        "DuckDB reads '1_0' as 10",
        (
            Probe("t.a.cast('float64')", (1.5, 1000.0, NAN), one("string", " 1.5", "1e3", "NaN")),
            Probe("t.a.cast('float64')", "DataError", one("string", "1_0")),
        ),
    ),
    Rule(
        "text_to_number_try",
        "try_cast of text to a float or decimal",
        "null where a cast would raise",
        f"CASE WHEN {_NUMBER} THEN TRY_CAST({{a}} AS {{t0}}) END",
        "see above",
    ),
    Rule(
        "regex",
        "re_search, re_extract, re_replace, re_split",
        "the RE2 dialect: no look-around, no back-references in patterns; \\d and \\w are ASCII",
        "",
        "Python's and Java's patterns mean something else, and can take for ever",
        (Probe("t.a.re_search('^.{3}$')", (True,), one("string", "aéb")),),
    ),
    Rule(
        "concat",
        "a + b on text",
        "null when either is null",
        "",
        "CONCAT skips nulls on some engines",
        (Probe("t.a + 'x'", ("ax", None), one("string", "a", None)),),
    ),
)

NULLS: tuple[Rule, ...] = (
    Rule(
        "least_greatest",
        "ibis.least, ibis.greatest",
        "nulls are passed over; null only when all are",
        "",
        "Flink gives null as soon as one is",
        (Probe("ibis.least(t.a, t.b)", (1, 2, None), ints(a=(None, 2, None), b=(1, 3, None))),),
    ),
    Rule(
        "logic",
        "&, |, ~, isin",
        "three-valued, as in SQL",
        "",
        "",
        (Probe("(t.a > 1) | (t.a <= 1)", (True, None), ints(a=(1, None))),),
    ),
)
