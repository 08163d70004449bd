"""Random tables, random definitions over them, and random edits: the same for the same seed.

Plain functions over ``random.Random``, so that every test that compares two ways of computing one thing can use
them. Values come from small pools with nulls, NaN, both zeros, infinities, huge and tiny numbers, repeated rows and
equal moments, because that is where two ways part.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import random
import struct
from collections import Counter
from collections.abc import Callable, Hashable, Mapping

import ibis
import pyarrow as pa

from gristmill import algebra

NOON = dt.datetime(2026, 1, 31, 12)
POOLS: dict[str, list[object]] = {
    "k": [0, 1, 2, 3, None],
    "n": [-3, 0, 1, 2, 5, 2**31, None],
    "s": ["", "a", "b", "ß", None],
    "x": [0.1, -0.0, 0.0, 2.5, -1.5, float("nan"), math.inf, 1e300, -1e300, 1e-30, 1e16, None],
    "t": [*(NOON + dt.timedelta(minutes=m) for m in (0, 0, 1, 2, 5, 10, 11, 30)), None],
    "d": [decimal.Decimal(v) for v in ("0.10", "-7.25", "1.00")] + [None],
    "b": [True, False, None],
}
TYPES = {
    "k": pa.int64(),
    "n": pa.int64(),
    "s": pa.string(),
    "x": pa.float64(),
    "t": pa.timestamp("us"),
    "d": pa.decimal128(10, 2),
    "b": pa.bool_(),
}
TABLES: dict[str, tuple[str, ...]] = {
    "raw.a": ("k", "s", "x", "t", "d", "b"),
    "raw.b": ("k", "n", "x", "t"),
    "raw.c": ("k", "s", "n"),
}
Row = tuple[object, ...]
Rows = list[Row]


def schema_of(name: str) -> pa.Schema:
    """Return the schema of a table."""
    return pa.schema([(column, TYPES[column]) for column in TABLES[name]])


def inputs() -> dict[str, ibis.Table]:
    """Return the tables as definitions see them."""
    return {name: algebra.input_table(name, schema_of(name)) for name in TABLES}


def row_of(rng: random.Random, name: str) -> Row:
    """Return a random row."""
    return tuple(rng.choice(POOLS[column]) for column in TABLES[name])


def rows_of(rng: random.Random, name: str, most: int = 14) -> Rows:
    """Return a random table."""
    return [row_of(rng, name) for _ in range(rng.randint(0, most))]


def arrow(name: str, rows: Rows) -> pa.Table:
    """Return rows as an Arrow table."""
    schema = schema_of(name)
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)


def edited(rng: random.Random, name: str, rows: Rows, kind: str) -> tuple[Rows, list[tuple[Row, int]]]:
    """Return a table after some edits, and the rows that went (-1) and came (+1).

    Args:
        kind: ``inserts``, or ``any`` for inserts, updates and deletes.
    """
    rows, changes = list(rows), []
    for _ in range(rng.randint(0, 4)):
        act = "insert" if kind == "inserts" or not rows else rng.choice(["insert", "delete", "update", "update"])
        if act != "insert":
            gone = rows.pop(rng.randrange(len(rows)))
            changes.append((gone, -1))
        if act == "insert":
            rows.append(rng.choice(rows) if rows and rng.random() < 0.3 else row_of(rng, name))
            changes.append((rows[-1], 1))
        if act == "update":
            at = rng.randrange(len(gone))
            new = (*gone[:at], rng.choice(POOLS[TABLES[name][at]]), *gone[at + 1 :])
            rows.append(new)
            changes.append((new, 1))
    if kind == "any" and rng.random() < 0.08:
        changes += [(row, -1) for row in rows]
        rows = []
    return rows, changes


# -- definitions -------------------------------------------------------------------------------------------


def program(rng: random.Random, depth: int | None = None) -> ibis.Table:
    """Return a random definition over some of the tables."""
    depth = rng.randint(1, 4) if depth is None else depth
    if depth == 0:
        name = rng.choice(list(TABLES))
        return inputs()[name]
    if rng.random() < 0.4:
        below = rng.randint(0, depth - 1)
        return rng.choice(BINARY)(rng, program(rng, below), program(rng, rng.randint(0, min(1, depth - 1))))
    return rng.choice(UNARY)(rng, program(rng, depth - 1))


def of_type(t: ibis.Table, *kinds: str) -> list[str]:
    """Return the columns of certain kinds: ``int``, ``float``, ``text``, ``time``, ``decimal``, ``bool``."""
    found = []
    for name, dtype in t.schema().items():
        kind = {
            "int": dtype.is_integer(),
            "float": dtype.is_floating(),
            "text": dtype.is_string(),
            "time": dtype.is_timestamp(),
            "decimal": dtype.is_decimal(),
            "bool": dtype.is_boolean(),
        }
        if any(kind[k] for k in kinds):
            found.append(name)
    return found


def pick(rng: random.Random, names: list[str]) -> str | None:
    """Return one of some names, None where there are none."""
    return rng.choice(names) if names else None


def some(rng: random.Random, t: ibis.Table) -> list[str]:
    """Return one or two columns to group or to compare by."""
    names = of_type(t, "int", "text", "time", "bool", "float", "decimal")
    return rng.sample(names, min(len(names), rng.choice([1, 1, 2])))


def condition(rng: random.Random, t: ibis.Table) -> ibis.Value:
    """Return a random condition on a row."""
    name = rng.choice(t.columns)
    column, dtype = t[name], t.schema()[name]
    if dtype.is_integer():
        return rng.choice([column > 0, column != 1, column.isnull(), column.isin([1, 2])])
    if dtype.is_floating():
        return rng.choice([column >= 0, column.isnan(), column < 2])
    if dtype.is_string():
        return rng.choice([column != "a", column.length() == 1])
    if dtype.is_timestamp():
        return column > ibis.literal(NOON)
    return column.notnull()


def _filter(rng: random.Random, t: ibis.Table) -> ibis.Table:
    return t.filter(condition(rng, t))


def _mutate(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int", "float"))
    if name is None:
        return t.mutate(one=ibis.literal(1, "int64"))
    new = f"m{len(t.columns)}"
    return t.mutate(**{new: rng.choice([t[name] % 3, t[name] * 0.5, -t[name].cast("float64"), t[name].isnull()])})


def _select(rng: random.Random, t: ibis.Table) -> ibis.Table:
    return t.select(*rng.sample(t.columns, rng.randint(1, len(t.columns))))


def _distinct(rng: random.Random, t: ibis.Table) -> ibis.Table:
    return t.select(*some(rng, t)).distinct() if rng.random() < 0.7 and some(rng, t) else t.distinct()


def mergeables(rng: random.Random, t: ibis.Table, *, with_mode: bool = False) -> dict[str, ibis.Value]:
    """Return some aggregates to which changes can be added."""
    found: dict[str, ibis.Value] = {"c0": t.count()}
    for number, name in enumerate(rng.sample(t.columns, min(3, len(t.columns)))):
        column, dtype = t[name], t.schema()[name]
        where = condition(rng, t) if rng.random() < 0.2 else None
        if dtype.is_floating():
            kind = rng.choice(["sum", "mean", "var", "std", "min", "max", "count"])
        elif dtype.is_integer() or dtype.is_decimal():
            kind = rng.choice(["sum", "mean", "min", "max", "count"])
        elif dtype.is_boolean():
            kind = rng.choice(["any", "all", "sum", "count"])
        else:
            kind = rng.choice(["min", "max", "count"])
        found[f"c{number + 1}"] = getattr(column, kind)(where=where)
    numbers = of_type(t, "float")
    if len(numbers) > 1 and rng.random() < 0.5:
        found["cov"] = t[numbers[0]].cov(t[numbers[1]], how="pop")
        found["cor"] = t[numbers[0]].corr(t[numbers[1]], how="pop")
    if rng.random() < 0.3:
        return dict(list(found.items())[1:]) or found
    return found


def needy(rng: random.Random, t: ibis.Table) -> dict[str, ibis.Value]:
    """Return some aggregates that need all values of a group."""
    name = rng.choice(t.columns)
    found = {"nu": t[name].nunique()}
    other = pick(rng, of_type(t, "int", "text", "time"))
    if other is not None:
        key = rng.choice([c for c in t.columns if not t.schema()[c].is_array()] or [other])
        found["am"] = t[other].argmax(t[key])
        found["fi"] = t[other].first(order_by=t[key])
        found["co"] = t[other].collect(order_by=t[key].desc())
        found["mo"] = t[other].mode()
        found["ai"] = t[key].argmin(t[other])
        found["la"] = t[key].last(order_by=t[other])
    text = pick(rng, of_type(t, "text"))
    if text is not None:
        found["gc"] = t[text].group_concat(order_by=t[text])
    number = pick(rng, of_type(t, "float", "int"))
    if number is not None:
        found["me"] = t[number].median()
        found["qu"] = t[number].cast("float64").quantile(0.25)
        found["su"] = t[number].cast("float64").sum()
    kept = rng.sample(list(found), rng.randint(1, min(3, len(found))))
    return {name: found[name] for name in kept}


def _group(rng: random.Random, t: ibis.Table) -> ibis.Table:
    metrics = mergeables(rng, t) if rng.random() < 0.6 else needy(rng, t)
    keys = [key for key in some(rng, t) if key not in metrics]
    if not keys or rng.random() < 0.15:
        return t.aggregate(**metrics)
    return t.group_by(keys).aggregate(**metrics)


def _group_computed(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int", "float"))
    if name is None:
        return _group(rng, t)
    return t.group_by(g=(t[name] % 2)).aggregate(**mergeables(rng, t))


def _window(rng: random.Random, t: ibis.Table) -> ibis.Table:
    keys = some(rng, t)
    order = [t[name] for name in some(rng, t)]
    if not keys or not order:
        return t
    windows = [ibis.window(group_by=keys, order_by=order)]
    if rng.random() < 0.3:
        windows.append(ibis.window(group_by=some(rng, t), order_by=order))
    if rng.random() < 0.1:
        windows.append(ibis.window(order_by=order))
    if rng.random() < 0.3:
        windows.append(ibis.window(group_by=keys, order_by=order, preceding=1, following=0))
    if rng.random() < 0.3:
        windows.append(ibis.window(group_by=keys))
    value = t[rng.choice(t.columns)]
    made = {}
    for number, window in enumerate(windows):
        numbers = of_type(t, "float", "int")
        ordered = bool(window._order_by if hasattr(window, "_order_by") else getattr(window, "orderings", ()))
        kinds = [value.count()]
        if numbers:
            kinds += [t[rng.choice(numbers)].sum(), t[rng.choice(numbers)].max()]
        if ordered and number == 0:
            kinds += [ibis.row_number(), ibis.rank(), value.lag(), value.lead(), ibis.dense_rank(), ibis.ntile(2)]
            kinds += [ibis.percent_rank(), ibis.cume_dist(), value.first(), value.nth(1)]
        made[f"w{number}_{len(t.columns)}"] = rng.choice(kinds).over(window)
    return t.mutate(**made)


def _range(rng: random.Random, t: ibis.Table) -> ibis.Table:
    """A window over a range, mostly without partitions."""
    time, number = pick(rng, of_type(t, "time")), pick(rng, of_type(t, "int"))
    values, keys = of_type(t, "int", "float"), some(rng, t)
    if not values or (time is None and number is None):
        return t
    by = [] if rng.random() < 0.7 else keys
    order = t[time] if time is not None and (number is None or rng.random() < 0.6) else t[number]
    if order.type().is_timestamp():
        back, ahead = (ibis.interval(minutes=rng.choice([0, 1, 3, 20])) for _ in range(2))
    else:
        back, ahead = rng.choice([0, 1, 2]), rng.choice([0, 0, 3])
    order = order.desc() if rng.random() < 0.2 else order
    over = ibis.range_window(group_by=by, order_by=order, preceding=back, following=ahead)
    value = t[rng.choice(values)]
    made = rng.choice([value.sum(), value.max(), value.count(), t.count(), value.mean()]).over(over)
    return t.mutate(**{f"rw{len(t.columns)}": made})


def _over_groups(rng: random.Random, t: ibis.Table) -> ibis.Table:
    """Groups, and something that looks at all of them."""
    metrics = mergeables(rng, t)
    keys = [key for key in some(rng, t) if key not in metrics]
    if not keys:
        return t
    u = t.group_by(keys[0]).aggregate(**metrics)
    last = u.columns[-1]
    running = u[last].count().over(ibis.cumulative_window(order_by=u[keys[0]]))
    ranked = ibis.rank().over(ibis.window(order_by=u[last].desc()))
    return rng.choice(
        [
            u.order_by(u[last].desc()).limit(2),
            u.mutate(run=running),
            u.mutate(place=ranked),
            u.aggregate(md=u[last].nunique()),
            u.filter(u[keys[0]].notnull()).mutate(place=ranked),
        ]
    )


def _longer(rng: random.Random, t: ibis.Table) -> ibis.Table:
    """Columns turned into rows."""
    numbers = of_type(t, "int")
    if len(numbers) < 2:
        return _unnest(rng, t)
    u = t.select(**{f"p{i}": t[name].cast("int64") for i, name in enumerate(numbers[:3])})
    return u.pivot_longer(u.columns[1:], names_to="which", values_to="value") if len(u.columns) > 2 else u


def _top(rng: random.Random, t: ibis.Table) -> ibis.Table:
    keys, order = some(rng, t), some(rng, t)
    if not keys or not order:
        return t
    ranked = ibis.row_number().over(ibis.window(group_by=keys, order_by=[t[name].desc() for name in order]))
    return t.mutate(rn_=ranked).filter(lambda u: u.rn_ < 2).drop("rn_")


def _limit(rng: random.Random, t: ibis.Table) -> ibis.Table:
    order = some(rng, t)
    return t.order_by(order).limit(rng.randint(1, 4), offset=rng.choice([0, 0, 1])) if order else t


def _sessions(rng: random.Random, t: ibis.Table) -> ibis.Table:
    """Sessions of a key with a gap of three minutes, as people write them."""
    times, keys = of_type(t, "time"), of_type(t, "int", "text")
    if not times or not keys:
        return t
    time, key = rng.choice(times), rng.choice(keys)
    u = t.filter(t[time].notnull()).select(sk=t[key], st=t[time])
    w = ibis.window(group_by="sk", order_by="st")
    u = u.mutate(fresh=(u.st.lag().over(w).isnull() | (u.st > u.st.lag().over(w) + ibis.interval(minutes=3))))
    u = u.mutate(session=u.fresh.cast("int64").sum().over(ibis.cumulative_window(group_by="sk", order_by="st")))
    return u.group_by("sk", "session").aggregate(since=u.st.min(), till=u.st.max(), events=u.count())


def _unnest(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int"))
    if name is None:
        return t
    made = t.mutate(arr_=ibis.array([t[name], t[name] + 1]))
    return made.unnest("arr_", offset="at_" if rng.random() < 0.3 and "at_" not in t.columns else None)


def _member(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int"))
    if name is None:
        return t
    other = program(rng, rng.choice([0, 0, 1]))
    column = pick(rng, of_type(other, "int"))
    if column is None:
        return t
    test = t[name].isin(other[column])
    return t.filter(test if rng.random() < 0.6 else ~test)


def _statistic(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int", "float"))
    if name is None:
        return t
    other = inputs()["raw.c"]
    return t.filter(t[name] >= rng.choice([other.n.max(), other.n.mean(), other.n.min()]).as_scalar())


def _fill(rng: random.Random, t: ibis.Table) -> ibis.Table:
    name = pick(rng, of_type(t, "int"))
    if name is None:
        return t.drop_null(rng.sample(t.columns, 1))
    return rng.choice([t.fill_null({name: 7}), t.drop_null(how="all"), t.drop_null([name])])


def _pivot(rng: random.Random, t: ibis.Table) -> ibis.Table:
    texts, numbers, keys = of_type(t, "text"), of_type(t, "int", "float"), of_type(t, "int", "time")
    if not texts or not numbers or not keys:
        return t
    text, number, key = rng.choice(texts), rng.choice(numbers), rng.choice(keys)
    if key == number:
        return t
    u = t.select(pk=t[key], pt=t[text], pn=t[number].cast("float64"))
    return u.pivot_wider(names_from="pt", names=["a", "b"], values_from="pn", values_agg="sum")


def _match(rng: random.Random, t: ibis.Table, u: ibis.Table) -> list[tuple[str, str]]:
    """Return pairs of columns that may be compared."""
    pairs = [
        (a, b)
        for kinds in (("int",), ("text",), ("time",), ("float",))
        for a in of_type(t, *kinds)
        for b in of_type(u, *kinds)
    ]
    return rng.sample(pairs, min(len(pairs), rng.choice([1, 1, 1, 2])))


def _join(rng: random.Random, t: ibis.Table, u: ibis.Table) -> ibis.Table:
    u = u.view() if rng.random() < 0.5 else u
    u = u.rename({f"r{i}": name for i, name in enumerate(u.columns)})
    t = t.rename({f"l{i}": name for i, name in enumerate(t.columns)})
    pairs = _match(rng, t, u)
    how = rng.choice(["inner", "inner", "left", "left", "right", "outer", "semi", "anti"])
    if not pairs:
        return t.cross_join(u) if len(t.columns) + len(u.columns) < 20 else t
    tests = [t[a] == u[b] for a, b in pairs]
    if rng.random() < 0.2:
        a, b = pairs[0]
        tests = [*tests[1:], t[a] <= u[b]]
    return t.join(u, tests, how=how)


def _chain(rng: random.Random, t: ibis.Table, u: ibis.Table) -> ibis.Table:
    """A chain of three tables in one join."""
    v = inputs()["raw.c"].rename(vk="k", vs="s", vn="n")
    u = u.rename({f"r{i}": name for i, name in enumerate(u.columns)})
    t = t.rename({f"l{i}": name for i, name in enumerate(t.columns)})
    pairs, keys = _match(rng, t, u), of_type(t, "int")
    if not pairs or not keys:
        return t
    hows = ["inner", "left", "right", "outer"]
    first = t.join(u, [t[a] == u[b] for a, b in pairs], how=rng.choice(hows))
    return first.join(v, first[rng.choice(keys)] == v.vk, how=rng.choice([*hows, "semi", "anti"]))


def _asof(rng: random.Random, t: ibis.Table, u: ibis.Table) -> ibis.Table:
    times, others = of_type(t, "time"), of_type(u, "time")
    if not times or not others:
        return _join(rng, t, u)
    u = u.rename({f"r{i}": name for i, name in enumerate(u.columns)})
    times2, keys = of_type(u, "time"), [p for p in _match(rng, t, u) if p[0] in of_type(t, "int", "text")]
    return algebra.asof_join(
        t,
        u,
        on=(rng.choice(times), rng.choice(times2)),
        by=keys[:1] if rng.random() < 0.8 else [],
        within=rng.choice([None, "3min", "6min"]),
        direction=rng.choice(["backward", "backward", "forward", "nearest"]),
    )


def _set(rng: random.Random, t: ibis.Table, u: ibis.Table) -> ibis.Table:
    pairs = _match(rng, t, u)
    if not pairs:
        return t
    left = t.select(**{f"u{i}": t[a] for i, (a, _) in enumerate(pairs)})
    right = u.select(**{f"u{i}": u[b].cast(left.schema()[f"u{i}"]) for i, (_, b) in enumerate(pairs)})
    kind = rng.choice([left.union, left.union, left.intersect, left.difference])
    return kind(right, distinct=rng.random() < 0.5)


UNARY: list[Callable[[random.Random, ibis.Table], ibis.Table]] = [
    _filter,
    _mutate,
    _select,
    _distinct,
    _group,
    _group,
    _group,
    _group_computed,
    _window,
    _window,
    _range,
    _over_groups,
    _longer,
    _top,
    _limit,
    _sessions,
    _unnest,
    _member,
    _statistic,
    _fill,
    _pivot,
]
BINARY: list[Callable[[random.Random, ibis.Table, ibis.Table], ibis.Table]] = [
    _join,
    _join,
    _join,
    _chain,
    _asof,
    _set,
    _set,
]


# -- comparing ---------------------------------------------------------------------------------------------


def bits(value: object) -> Hashable:
    """Return a value by its bits, so that 0.0 and -0.0 differ and there is one NaN."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else struct.pack("<d", value)
    if isinstance(value, Mapping):
        return tuple((key, bits(item)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return tuple(bits(item) for item in value)
    return (type(value).__name__, value) if isinstance(value, Hashable) else repr(value)


def bag(table: pa.Table, weight: str | None = None) -> Counter[tuple[Hashable, ...]]:
    """Return the rows of a table with how often each occurs; by a weight column where one is named."""
    found: Counter[tuple[Hashable, ...]] = Counter()
    names = [name for name in table.schema.names if name != weight]
    columns = [table.column(name).to_pylist() for name in names]
    weights = table.column(weight).to_pylist() if weight else [1] * table.num_rows
    for number in range(table.num_rows):
        found[tuple(bits(column[number]) for column in columns)] += weights[number]
    return found
