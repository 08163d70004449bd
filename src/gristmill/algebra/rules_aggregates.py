"""The semantics table: aggregates."""

from __future__ import annotations

from gristmill.algebra.rule import INF, NAN, Probe, Rule, ints, one

TWO_62 = "4611686018427387904"
SCALE_HIGH = "1024.0::DOUBLE"
SCALE_LOW = "4722366482869645213696.0::DOUBLE"
_HIGH = f"TRY_CAST({{a}} * {SCALE_HIGH} AS BIGINT)"
_REST = f"(({{a}} - CAST({_HIGH} AS DOUBLE) * 0.0009765625::DOUBLE) * {SCALE_LOW})"
_LOW = f"CAST({_REST} AS BIGINT)"
_ODD = "list_bool_or(list_transform({c}, lambda v: NOT isfinite(v)))"
_SQUARE = "({a} * {b})"
_SPLIT = "134217729.0::DOUBLE"


AGGREGATES: tuple[Rule, ...] = (
    Rule(
        "limb_high",
        "sum(x) on floats",
        "the correctly rounded sum of the values, whatever their order, threads, files or increments; "
        "NaN and infinities as IEEE 754 says; null over no value",
        _HIGH,
        "a naive sum differs in its last bits in 93 % of groups when rows are reordered",
        (
            Probe("t.a.sum()", (1e16 + 2,), one("float64", 1e16, 1.0, 1.0)),
            Probe("t.a.sum()", (1.0,), one("float64", *[0.1] * 10)),
            Probe("t.a.sum()", (1e-30,), one("float64", 1e300, 1e-30, -1e300)),
            Probe("t.a.sum()", (NAN,), one("float64", INF, -INF)),
            Probe("t.a.sum()", (None,), one("float64", None)),
            Probe("t.a.mean()", (2.0,), one("float64", 1.0, 3.0, None)),
        ),
    ),
    Rule("limb_low", "sum(x) on floats, second limb", "the next 62 bits", _LOW, "see above"),
    Rule(
        "limb_flag",
        "sum(x) on floats, residual flag",
        "true where the two limbs do not hold the value: it is then kept whole",
        f"{_HIGH} IS NULL OR {_REST} <> CAST({_LOW} AS DOUBLE)",
        "see above",
    ),
    Rule(
        "exact_sum",
        "sum(x) on floats, the result",
        "both limbs in one 128-bit integer, rounded once; the values kept whole are added exactly",
        f"CASE WHEN {{c}} IS NULL AND abs({{a}}) < 9223372036854775808 "
        f"THEN CAST({{a}} * {TWO_62} + {{b}} AS DOUBLE) / {SCALE_LOW} "
        f"WHEN {_ODD} THEN list_sum(list_filter({{c}}, lambda v: NOT isfinite(v))) "
        "WHEN {a} IS NOT NULL OR {c} IS NOT NULL THEN gm_exact_sum({a}, {b}, {c}) END",
        "see above",
    ),
    Rule(
        "grid_unit",
        "sum(x) on floats with a declared range and resolution",
        "the exact sum of the grid's points, rounded once; a value off the grid raises",
        "CAST({a} {t0} AS BIGINT)",
        "a tenth is no binary fraction: with a resolution, ten of them are one to the last bit",
    ),
    Rule(
        "grid_off",
        "sum(x) with a grid, the check",
        "true where the value is not a point of the grid",
        "CAST({b} AS DOUBLE) {t1} <> {a}",
        "see above",
    ),
    Rule(
        "grid_sum",
        "sum(x) with a grid, the result",
        "the number of grid steps times the resolution",
        "CASE WHEN {b} THEN error('a value of {t2} is off its declared grid') "
        "ELSE CAST({a} * {t0} AS DOUBLE) / {t1}::DOUBLE END",
        "see above",
    ),
    Rule(
        "grid_sum_trusted",
        "sum(x) with a grid that a contract enforces, the result",
        "the number of grid steps times the resolution",
        "CAST({a} * {t0} AS DOUBLE) / {t1}::DOUBLE",
        "see above",
    ),
    Rule(
        "square",
        "variance, covariance",
        "from exact sums of values and of exact products, in one final division",
        _SQUARE,
        "one-pass formulas in floats depend on the order of rows and lose digits when the mean is large",
        (
            Probe("t.a.var()", (1.0,), one("float64", 1e9 + 1, 1e9 + 2, 1e9 + 3)),
            Probe("t.a.var(how='pop')", (0.0,), one("float64", 3.0)),
            Probe("t.a.var()", (None,), one("float64", 3.0)),
            Probe("t.a.std()", (1.0,), one("float64", 1.0, 2.0, 3.0)),
        ),
    ),
    Rule(
        "square_error",
        "variance, covariance: what the product in doubles leaves out",
        "the exact error of a product, in units of 2^-62 (Dekker 1971)",
        "TRY_CAST((({h} * {k} - {a} * {b} + {h} * ({b} - {k}) + ({a} - {h}) * {k})"
        " + ({a} - {h}) * ({b} - {k}))"
        f" * {TWO_62}.0::DOUBLE AS HUGEINT)".replace("{h}", f"({_SPLIT} * {{a}} - ({_SPLIT} * {{a}} - {{a}}))").replace(
            "{k}", f"({_SPLIT} * {{b}} - ({_SPLIT} * {{b}} - {{b}}))"
        ),
        "see above",
    ),
    Rule(
        "moment",
        "variance, covariance, the result",
        "computed in exact rationals and rounded once",
        "CASE WHEN {a} > {t0} AND ("
        + " OR ".join(f"COALESCE({_ODD.replace('{c}', '{' + p + '}')}, FALSE)" for p in ("d", "g", "j"))
        + ") THEN CAST('nan' AS DOUBLE) "
        "ELSE gm_moment({a}, {b}, {c}, {d}, {e}, {f}, {g}, {h}, {i}, {j}, {k}, {t0}) END",
        "",
    ),
    Rule(
        "integer_sum",
        "sum(x) on integers",
        "exact; a result that does not fit 64 bits raises",
        "CAST({a} AS {t0})",
        "DuckDB answers in 128 bits, others wrap",
        (
            Probe("t.a.sum()", (2**63 - 1,), ints(a=(2**63 - 2, 1))),
            Probe("t.a.sum()", "DataError", ints(a=(2**63 - 1, 1))),
        ),
    ),
    Rule(
        "integer_mean",
        "mean(x) on integers",
        "the exact sum and the count, each as a double, divided once",
        "CAST({a} AS DOUBLE) / CAST({b} AS DOUBLE)",
        "",
        (Probe("t.a.mean()", (1.5,), ints(a=(1, 2, None))),),
    ),
    Rule(
        "mode",
        "mode(x)",
        "the most frequent value; among several the least",
        "list_sort(list_transform(map_entries({a}), lambda e: {'n': -CAST(e.value AS BIGINT), 'v': e.key}))[1].v",
        "DuckDB takes the one it saw first",
        (Probe("t.a.mode()", (1,), ints(a=(2, 1, 2, 1, 3))),),
    ),
    Rule(
        "count_distinct",
        "nunique(x)",
        "null does not count, NaN counts once",
        "",
        "Polars counts null",
        (Probe("t.a.nunique()", (2,), ints(a=(1, 2, 2, None))),),
    ),
)
