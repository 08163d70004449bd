"""The semantics table: integers, floats, decimals."""

from __future__ import annotations

from gristmill.algebra.rule import INF, NAN, Probe, Rule, ints, one

_SIGNS_DIFFER = "({a} % {b} <> 0) AND (({a} < 0) <> ({b} < 0))"

INTEGERS: tuple[Rule, ...] = (
    Rule(
        "integer_arithmetic",
        "a + b, a - b, a * b, -a, abs(a)",
        "computed in 64 bits; what does not fit raises",
        "",
        "other engines wrap silently, and narrow columns would overflow at their own width",
        (
            Probe("t.a + t.b", (2**62 + 5,), ints(a=(2**62,), b=(5,))),
            Probe("t.a + t.b", "DataError", ints(a=(2**63 - 1,), b=(1,))),
            Probe("t.a * t.a", "DataError", ints(a=(2**40,))),
            Probe("-t.a", "DataError", ints(a=(-(2**63),))),
            Probe("t.a.abs()", "DataError", ints(a=(-(2**63),))),
            Probe("t.a + t.a", (254,), one("int8", 127)),
            Probe("t.a - t.a * 2", (-255,), one("uint8", 255)),
        ),
    ),
    Rule(
        "integer_floor_divide",
        "a // b on integers",
        "the floor of the exact quotient, in 64-bit integers; b = 0 raises",
        f"({{a}} // {{b}} - CAST({_SIGNS_DIFFER} AS BIGINT))",
        "FLOOR(a / b) goes through a double and loses bits above 2^53; DuckDB's // truncates",
        (
            Probe("t.a // t.b", (-4, 3, -4, 3), ints(a=(-7, 7, 7, -7), b=(2, 2, -2, -2))),
            Probe("t.a // t.b", (2**60 + 1,), ints(a=(2**60 + 1,), b=(1,))),
            Probe("t.a // t.b", (-1, 0), ints(a=(-1, 1), b=(2**60, 2**60))),
            Probe("t.a // t.b", "DataError", ints(a=(1,), b=(0,))),
            Probe("t.a // t.b", (None, None), ints(a=(None, 1), b=(1, None))),
        ),
    ),
    Rule(
        "integer_modulo",
        "a % b on integers",
        "a - b * (a // b): it has the sign of b; b = 0 raises",
        f"({{a}} % {{b}} + CASE WHEN {_SIGNS_DIFFER} THEN {{b}} ELSE 0 END)",
        "DuckDB and Spark truncate (-7 % 2 = -1), Polars floors (1)",
        (
            Probe("t.a % t.b", (1, 1, -1, -1), ints(a=(-7, 7, 7, -7), b=(2, 2, -2, -2))),
            Probe("t.a % t.b", (0,), ints(a=(-(2**63),), b=(-1,))),
            Probe("t.a % t.b", "DataError", ints(a=(1,), b=(0,))),
        ),
    ),
)

FLOATS: tuple[Rule, ...] = (
    Rule(
        "divide",
        "a / b",
        "in doubles, as IEEE 754 says: x / 0 is an infinity or NaN, never null and never an error",
        "",
        "Spark raises, Flink gives null",
        (
            Probe("t.a / t.b", (2.5, INF, -INF), ints(a=(5, 5, -5), b=(2, 0, 0))),
            Probe("t.a / t.a", (NAN,), one("float64", 0.0)),
        ),
    ),
    Rule(
        "float_floor_divide",
        "a // b on floats",
        "the floor of the exact quotient, as an integer; b = 0 and what does not fit raise",
        f"(CAST(round(({{a}} - {{a}} % {{b}}) / {{b}}) AS BIGINT) - CAST({_SIGNS_DIFFER} AS BIGINT))",
        "1.0 / 0.1 rounds up to 10, though nine tenths fit into one",
        (
            Probe("t.a // 0.1", (9,), one("float64", 1.0)),
            Probe("t.a // 2.0", (-4, 3), one("float64", -7.5, 7.5)),
            Probe("t.a // 0.0", "DataError", one("float64", 1.0)),
        ),
    ),
    Rule(
        "float_modulo",
        "a % b on floats",
        "the exact remainder with the sign of b; NaN for b = 0",
        f"({{a}} % {{b}} + CASE WHEN {_SIGNS_DIFFER} THEN {{b}} ELSE 0 END)",
        "same as for integers",
        (Probe("t.a % 2.0", (0.5, 1.5), one("float64", -7.5, 7.5)),),
    ),
    Rule(
        "decimal_modulo",
        "a % b on decimals",
        "the exact remainder with the sign of b; b = 0 raises",
        f"CAST({{a}} % {{b}} + CASE WHEN {_SIGNS_DIFFER} THEN {{b}} ELSE 0 END AS {{t0}})",
        "same as for integers",
        (Probe("(t.a.cast('decimal(5,2)') % 2).cast('string')", ("0.50", "1.50"), one("float64", -7.5, 7.5)),),
    ),
    Rule(
        "float_to_integer",
        "cast of a float or decimal to an integer",
        "the fraction is cut off; NaN, infinities and what does not fit raise",
        "CAST(trunc({a}) AS {t0})",
        "DuckDB rounds half to even (2.5 and 1.5 both give 2), other engines truncate",
        (
            Probe("t.a.cast('int64')", (2, 1, -2), one("float64", 2.5, 1.5, -2.7)),
            Probe("t.a.cast('int64')", "DataError", one("float64", NAN)),
            Probe("t.a.cast('int64')", "DataError", one("float64", 1e19)),
            Probe("t.a.cast('int8')", "DataError", one("float64", 128.0)),
            Probe("t.a.cast('decimal(3,1)').cast('int64')", (2, -2), one("float64", 2.5, -2.5)),
        ),
    ),
    Rule(
        "float_to_integer_try",
        "try_cast of a float or decimal to an integer",
        "null where a cast would raise",
        "TRY_CAST(trunc({a}) AS {t0})",
        "see above",
        (Probe("t.a.try_cast('int64')", (2, None), one("float64", 2.5, NAN)),),
    ),
    Rule(
        "round_float",
        "round(x, d) on floats",
        "to the nearest decimal, half to even, as Python rounds",
        "round_even({a}, {b})",
        "Polars and Python round half to even, DuckDB half away from zero",
        (
            Probe("t.a.round()", (2, 2, 4, -2), one("float64", 2.5, 1.5, 3.5, -2.5)),
            Probe("t.a.round(1)", (0.2, 0.3), one("float64", 0.25, 0.35)),
            Probe("t.a.round(-2)", (1200.0,), one("float64", 1250.0)),
        ),
    ),
    Rule(
        "round_to_integer",
        "round(x) on floats",
        "half to even, as an integer",
        "CAST(round_even({a}, 0) AS BIGINT)",
        "",
    ),
    Rule(
        "decimal_arithmetic",
        "a + b, a - b, a * b on decimals",
        "exact; what does not fit 38 digits raises",
        "CAST({a} {t0} {b} AS {t1})",
        "Ibis declares fewer digits than a product has",
        (
            Probe(
                "(t.a.cast('decimal(10,2)') * t.a.cast('decimal(10,2)')).cast('string')",
                ("1.5625",),
                one("float64", 1.25),
            ),
        ),
    ),
    Rule(
        "decimal_steps",
        "a // b on decimals",
        "the floor of the exact quotient",
        "CAST(CAST({a} AS {t1}) * {t0} AS HUGEINT)",
        "DuckDB divides decimals as doubles",
        (Probe("t.a.cast('decimal(10,2)') // t.a.cast('decimal(10,2)')", (1,), one("float64", 1.25)),),
    ),
    Rule(
        "round_decimal",
        "round(x, d) on decimals",
        "half away from zero, as in bookkeeping; so do casts to fewer places",
        "",
        "Polars rounds decimals half to even",
        (
            Probe(
                "t.a.cast('decimal(5,3)').round(2).cast('string')",
                ("0.13", "-0.13"),
                one("float64", 0.125, -0.125),
            ),
            Probe(
                "t.a.cast('decimal(5,3)').cast('decimal(5,2)').cast('string')",
                ("0.13",),
                one("float64", 0.125),
            ),
        ),
    ),
    Rule(
        "nan_order",
        "comparison, order, min, max, greatest",
        "NaN equals itself and is greater than every number; null is last unless asked otherwise",
        "",
        "max with a NaN is NaN, infinity or null depending on the engine",
        (
            Probe("t.a.max()", (NAN,), one("float64", 1.0, NAN, INF)),
            Probe("t.a.min()", (1.0,), one("float64", 1.0, NAN, INF)),
            Probe("t.a == t.a", (True, True), one("float64", NAN, 1.0)),
            Probe("t.a > float('inf')", (True,), one("float64", NAN)),
            Probe("t.a.nunique()", (2,), one("float64", NAN, NAN, 1.0)),
        ),
    ),
    Rule(
        "canonical_float",
        "floats as group keys, in distinct and set operations, min, max, median",
        "-0.0 becomes 0.0 and every NaN the same NaN",
        "CASE WHEN isnan({a}) THEN CAST('nan' AS {t0}) ELSE {a} + CAST(0 AS {t0}) END",
        "they are equal, so which of them is shown would depend on the order of rows",
        (Probe("1 / t.a.max()", (INF,), one("float64", -0.0)),),
    ),
)
