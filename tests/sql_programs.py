"""Random SELECTs over the tables of ``programs.py``, in the SQL that people write: the same for the same seed.

No text has two answers: windows by position are ordered by all columns, limits by the columns that are shown.
"""

from __future__ import annotations

import random

from tests.programs import TABLES

NUMBERS, TEXTS = ("k", "n"), ("s",)


def sql_program(rng: random.Random) -> str:
    """Return a random SELECT."""
    kind = rng.choice([_rows, _rows, _groups, _groups, _groups, _joined, _joined, _window, _sets, _with, _top, _nested])
    return kind(rng)


def _table(rng: random.Random) -> tuple[str, tuple[str, ...]]:
    name = rng.choice(list(TABLES))
    return name, TABLES[name]


def _condition(rng: random.Random, columns: tuple[str, ...], alias: str = "") -> str:
    dot = f"{alias}." if alias else ""
    known = {
        "k": ["{c} > 0", "{c} in (1, 2)", "{c} is null", "{c} % 2 = 1", "{c} between 1 and 2", "not ({c} = 1)"],
        "n": ["{c} >= 1", "abs({c}) < 3", "{c} // 2 = 1", "coalesce({c}, 0) <> 2"],
        "s": ["{c} like 'a%'", "{c} <> 'b'", "length({c}) = 1", "{c} || 'x' = 'ax'"],
        "x": ["{c} > 0", "not isnan({c})", "{c} is not null"],
        "t": ["{c} > timestamp '2026-01-31 12:01:00'", "{c} is not null"],
        "d": ["{c} < 1.0", "{c} is not null"],
        "b": ["{c}", "{c} is not true"],
    }
    parts = []
    for column in rng.sample(columns, rng.choice([1, 1, 2])):
        parts.append(rng.choice(known[column]).format(c=f"{dot}{column}"))
    return rng.choice([" and ", " or "]).join(parts)


def _value(rng: random.Random, columns: tuple[str, ...], alias: str = "") -> str:
    dot = f"{alias}." if alias else ""
    column = rng.choice(columns)
    known = {
        "k": [
            "{c} + 1",
            "{c} // 2",
            "{c} % 2",
            "case when {c} > 1 then 'big' else 'small' end",
            "cast({c} as varchar)",
        ],
        "n": ["-{c}", "{c} * 2", "coalesce({c}, 7)", "{c} / 2"],
        "s": ["upper({c})", "{c} || '!'", "substr({c}, 1, 1)", "coalesce({c}, '?')"],
        "x": ["{c} * 2", "{c} > 0", "round({c}, 1)"],
        "t": ["date_trunc('hour', {c})", "{c} + interval 5 minute", "extract(minute from {c})", "cast({c} as date)"],
        "d": ["{c} + 1", "-{c}"],
        "b": ["not {c}", "case {c} when true then 1 end"],
    }
    return rng.choice(known[column]).format(c=f"{dot}{column}")


def _rows(rng: random.Random) -> str:
    name, columns = _table(rng)
    where = f" where {_condition(rng, columns)}" if rng.random() < 0.7 else ""
    shown = rng.choice(["*", ", ".join(columns[:2]), f"{columns[0]}, {_value(rng, columns)} as v"])
    distinct = "distinct " if rng.random() < 0.25 else ""
    extra = ""
    if rng.random() < 0.2 and not where:
        other, theirs = _table(rng)
        extra = f" where k {rng.choice(['in', 'in', 'not in'])} (select k from {other} where {_condition(rng, theirs)})"
    if rng.random() < 0.1:
        shown += ", (select max(k) from raw.b) as most"
    return f"select {distinct}{shown} from {name}{where}{extra}"


def _aggregates(rng: random.Random, columns: tuple[str, ...], alias: str = "") -> list[str]:
    dot = f"{alias}." if alias else ""
    known = {
        "k": [
            "sum({c})",
            "avg({c})",
            "min({c})",
            "count(distinct {c})",
            "median({c})",
            "sum({c}) filter (where {c} > 1)",
        ],
        "n": ["sum({c})", "max({c})", "count({c})", "quantile_cont({c}, 0.5)", "sum({c}) + count(*)"],
        "s": ["min({c})", "max({c})", "count({c})", "list({c} order by {c})", "string_agg({c}, ',' order by {c})"],
        "x": ["sum({c})", "avg({c})", "min({c})", "max({c})", "median({c})", "sum({c}) / count(*)"],
        "t": ["min({c})", "max({c})", "count(distinct {c})"],
        "d": ["sum({c})", "avg({c})", "max({c})"],
        "b": ["bool_or({c})", "bool_and({c})", "count({c})", "count(*) filter (where {c})"],
    }
    found = ["count(*)"] if rng.random() < 0.5 else []
    found += [rng.choice(known[c]).format(c=f"{dot}{c}") for c in rng.sample(columns, rng.randint(1, 3))]
    return found


def _groups(rng: random.Random) -> str:
    name, columns = _table(rng)
    keys = [rng.choice([c for c in columns if c != "x"]) for _ in range(rng.choice([0, 1, 1, 1, 2]))]
    keys = [rng.choice([key, key, _value(rng, (key,))]) for key in dict.fromkeys(keys)]
    shown = [f"{key} as g{i}" for i, key in enumerate(keys)]
    shown += [f"{a} as a{i}" for i, a in enumerate(_aggregates(rng, columns))]
    group = f" group by {rng.choice([', '.join(map(str, range(1, len(keys) + 1))), ', '.join(keys)])}" if keys else ""
    having = rng.choice(["", "", " having count(*) > 1", " having min(k) is not null"]) if keys else ""
    where = f" where {_condition(rng, columns)}" if rng.random() < 0.4 else ""
    return f"select {', '.join(shown)} from {name}{where}{group}{having}"


def _joined(rng: random.Random) -> str:
    (one, mine), (two, theirs) = _table(rng), _table(rng)
    how = rng.choice(["join", "left join", "right join", "full join", "semi join", "anti join"])
    on = rng.choice(["l.k = r.k", "l.k = r.k", "l.k = r.k and " + _condition(rng, theirs, "r")])
    if "s" in mine and "s" in theirs and rng.random() < 0.3:
        on = "l.s = r.s"
    only = how in ("semi join", "anti join")
    shown = [f"l.{c}" for c in mine[:2]] + ([] if only else [f"r.{c} as r{c}" for c in theirs[:3]])
    where = f" where {_condition(rng, mine, 'l')}" if rng.random() < 0.3 else ""
    if not only and rng.random() < 0.35:
        return f"select l.k, {', '.join(f'{a} as c{i}' for i, a in enumerate(_aggregates(rng, theirs, 'r')))} " + (
            f"from {one} l {how} {two} r on {on}{where} group by l.k"
        )
    return f"select {', '.join(shown)} from {one} l {how} {two} r on {on}{where}"


def _window(rng: random.Random) -> str:
    name, columns = _table(rng)
    key, order = rng.choice(["k", "s" if "s" in columns else "k"]), rng.choice(columns)
    every = ", ".join([order, *(c for c in columns if c != order)])
    made = rng.choice(
        [
            f"row_number() over (partition by {key} order by {every})",
            f"rank() over (partition by {key} order by {order} desc)",
            f"lag({order}) over (partition by {key} order by {every})",
            f"lead(k, 1, -1) over (partition by {key} order by {every})",
            f"count(*) over (partition by {key})",
            f"sum(k) over (partition by {key} order by {order})",
            f"max({order}) over (partition by {key} order by {every} rows between 1 preceding and current row)",
        ]
    )
    qualify = f" qualify row_number() over (partition by {key} order by {every}) <= 2" if rng.random() < 0.3 else ""
    return f"select {', '.join(columns)}, {made} as w from {name}{qualify}"


def _sets(rng: random.Random) -> str:
    kind = rng.choice(["union all", "union", "except", "intersect", "except all", "intersect all"])
    (one, _), (two, theirs) = _table(rng), _table(rng)
    left = f"select k, count(*) as n from {one} group by k" if rng.random() < 0.3 else f"select k, 1 as n from {one}"
    return f"{left} {kind} select k, {'n' if 'n' in theirs else '2'} from {two} where {_condition(rng, theirs)}"


def _with(rng: random.Random) -> str:
    other, theirs = _table(rng)
    made = ", ".join(f"{a} as a{i}" for i, a in enumerate(_aggregates(rng, theirs)))
    name, columns = _table(rng)
    return (
        f"with per as (select k, {made} from {other} group by k), some as (select * from {name} "
        f"where {_condition(rng, columns)}) select some.k, some.{columns[1]}, per.a0 from some "
        f"{rng.choice(['join', 'left join'])} per on some.k = per.k"
    )


def _top(rng: random.Random) -> str:
    name, columns = _table(rng)
    order = rng.sample(columns, 2)
    words = ", ".join(f"{c} {rng.choice(['', 'desc', 'desc nulls first', 'nulls first'])}" for c in order)
    return f"select {', '.join(columns)} from {name} order by {words} limit {rng.randint(1, 4)}"


def _nested(rng: random.Random) -> str:
    inner = _groups(rng)
    return f"select q.*, coalesce(q.a0 is null, false) as missing from ({inner}) as q where q.a0 is not null"
