"""The semantics table: dates and times."""

from __future__ import annotations

from gristmill.algebra.rule import Probe, Rule, ints, one

TIME: tuple[Rule, ...] = (
    Rule(
        "week",
        "truncate('W'), bucket, day_of_week, week_of_year",
        "weeks start on Monday; week numbers are ISO 8601's",
        "",
        "Flink truncates to Sunday",
        (
            Probe("t.a.truncate('W').cast('string')", ("2026-11-16",), one("date", "2026-11-22")),
            Probe("t.a.day_of_week.index()", (6, 0), one("date", "2026-11-22", "2026-11-23")),
        ),
    ),
    Rule(
        "date_result",
        "a date plus days or months, truncate on a date",
        "a date; a day that the month does not have becomes its last",
        "CAST({a} AS DATE)",
        "DuckDB answers with a timestamp",
        (
            Probe("(t.a + ibis.interval(months=1)).cast('string')", ("2026-02-28",), one("date", "2026-01-31")),
            Probe("(t.a - ibis.interval(days=1)).cast('string')", ("2026-01-30",), one("date", "2026-01-31")),
        ),
    ),
    Rule(
        "epoch_seconds",
        "epoch_seconds()",
        "whole seconds since 1970 UTC, rounded down, 64 bits",
        "(epoch_us({a}) // 1000000 - CAST(epoch_us({a}) % 1000000 < 0 AS BIGINT))",
        "fails on fractions on DuckDB, and 32 bits end in 2038",
        (
            Probe(
                "t.a.epoch_seconds()",
                (1767225600, -1),
                one("timestamp", "2026-01-01 00:00:00.5", "1969-12-31 23:59:59.5"),
            ),
            Probe("t.a.epoch_seconds()", (4102444800,), one("timestamp", "2100-01-01")),
        ),
    ),
    Rule(
        "text_to_timestamp",
        "cast of text to a timestamp",
        "ISO 8601; an offset is applied, the result is UTC",
        "CAST(CAST({a} AS TIMESTAMPTZ) AS TIMESTAMP)",
        "DuckDB drops the offset of '2020-01-01 00:00:00+02' without a word",
        (
            Probe(
                "t.a.cast('timestamp').cast('string')",
                ("2019-12-31 22:00:00",),
                one("string", "2020-01-01 00:00:00+02"),
            ),
        ),
    ),
    Rule(
        "text_to_timestamp_try",
        "try_cast of text to a timestamp",
        "null where a cast would raise",
        "CAST(TRY_CAST({a} AS TIMESTAMPTZ) AS TIMESTAMP)",
        "see above",
    ),
    Rule(
        "integer_to_timestamp",
        "cast of a number to a timestamp",
        "seconds since 1970 UTC",
        "make_timestamp({a} * 1000000)",
        "",
        (Probe("t.a.cast('timestamp').cast('string')", ("1970-01-01 00:00:01",), ints(a=(1,))),),
    ),
    Rule(
        "float_to_timestamp",
        "cast of a float to a timestamp",
        "seconds since 1970 UTC, to the nearest microsecond",
        "make_timestamp(CAST(round_even({a} * 1000000, 0) AS BIGINT))",
        "",
    ),
    Rule(
        "zone",
        "timestamps with a time zone",
        "an instant in microseconds; parts of it (hour, day, week) are those of UTC",
        "",
        "a session's zone would change the answer",
        (Probe("t.a.hour()", (22,), one("timestamp('UTC')", "2019-12-31 22:00:00+00")),),
    ),
    Rule(
        "date_difference",
        "a - b on dates",
        "an interval of days",
        "to_days(CAST({a} - {b} AS INTEGER))",
        "DuckDB answers with an integer",
    ),
    Rule(
        "delta",
        "a.delta(b, unit)",
        "how many boundaries of the unit lie between b and a",
        "",
        "Polars has none, others count whole units",
        (
            Probe(
                "t.a.delta(t.b, unit='hour')",
                (1,),
                (("a", "timestamp", ("2026-01-01 01:00:01",)), ("b", "timestamp", ("2026-01-01 00:59:59",))),
            ),
        ),
    ),
)
