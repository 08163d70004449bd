"""SQL as relations: the rows of the text, and changes that follow as those of any definition do."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from contextlib import suppress

import pyarrow as pa
import pytest

from gristmill.engines.kernel import Kernel
from gristmill.errors import DataError
from tests.engines.following import Following
from tests.programs import TABLES, arrow, bag, bits, edited, rows_of, schema_of
from tests.sql_programs import sql_program

SCHEMAS = {name: schema_of(name) for name in TABLES}


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        yield kernel


def one_zero(rows: Counter[tuple[Hashable, ...]]) -> Counter[tuple[Hashable, ...]]:
    """Return rows with one zero: which one the text shows of two that are equal depends on the order of rows."""
    found: Counter[tuple[Hashable, ...]] = Counter()
    for row, count in rows.items():
        found[tuple(bits(0.0) if value == bits(-0.0) else value for value in row)] += count
    return found


def followed(kernel: Kernel, seed: int) -> str:
    """Hold one random SELECT against its text over three edits, and return the last mode."""
    rng = random.Random(seed)
    text = sql_program(rng)
    found = kernel.check_sql(text, SCHEMAS)
    assert found.expression is not None, (text, found.in_full)
    world = Following(kernel, found.expression, {name: rows_of(rng, name) for name in TABLES})
    mode = ""
    for _ in range(3):
        for name in found.inputs:
            kernel.register(name, arrow(name, world.tables.get(name, [])))
        one, two = (one_zero(bag(kernel.query(what).read_all())) for what in (found.sql, found.expression))
        assert one == two, (text, one - two, two - one)
        changed = {}
        for name, rows in world.tables.items():
            kind = rng.choice(["inserts", "any", "any"])
            changed[name] = (kind, edited(rng, name, rows, kind)[1])
        mode = world.follow(changed).mode
    return mode


@pytest.mark.parametrize("first", range(0, 80, 8))
def test_random_selects_give_their_text_and_follow_changes(kernel: Kernel, first: int):
    for seed in range(first, first + 8):
        with suppress(DataError):
            followed(kernel, seed)


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("select k, sum(n) as t, avg(n) as m from raw.b group by k", "touched"),
        ("select k, sum(x) as t, avg(x) as m, count(*) as n from raw.b group by all", "delta"),
        ("select a.k, c.n from raw.a a left join raw.c c using (k) where a.x > 1", "touched"),
        ("with one as (select distinct k from raw.a) select * from one where k in (select k from raw.b)", "touched"),
        ("select *, rank() over w as r from raw.c window w as (partition by k order by n) qualify r = 1", "touched"),
        ("select k from raw.a union select n from raw.b", "delta"),
        ("select k, list_transform([n, k], lambda v: v + 1) as l, {'k': k} as s from raw.b", "delta"),
        ("select q.t + 1 as u from (select s, sum(k) as t from raw.a group by s having count(*) > 1) q", "delta"),
    ],
)
def test_what_people_write_follows(kernel: Kernel, text: str, mode: str):
    from gristmill import algebra

    found = kernel.check_sql(text, SCHEMAS)
    assert found.expression is not None, found.in_full
    assert algebra.maintain(found.expression, dict.fromkeys(found.inputs, "any")).mode == mode


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("select k, first(s order by n) as s from raw.c group by k", "order of rows"),
        ("select k, sum(x) over (partition by k) as s from raw.a", "order of rows"),
        ("select k, count(*) as n from raw.a group by rollup (k)", "several ways"),
        ("select distinct on (k) k, s from raw.a order by k, s", "DISTINCT ON"),
        ("select k from raw.a a where exists (select 1 from raw.c c where c.k = a.k)", "EXISTS"),
        ("select unnest([k, n]) as u from raw.b", "several values"),
        ("with recursive r as (select 1 as i union all select i + 1 from r where i < 3) select * from r", "RECURSIVE"),
        ("select a.k from raw.a a asof join raw.b b on a.k = b.k and a.t >= b.t", "join"),
        ("select * from (values (1)) v(a)", "takes rows from"),
        ("select product(n) as p from raw.b", "one value of one row"),
        ("select k, histogram(k) as p from raw.b group by k", "one value of one row"),
        ("select k, generate_subscripts([1, 2], 1) as p from raw.b", "one value of one row"),
        ("select k, regexp_split_to_table(s, ',') as p from raw.a", "one value of one row"),
        ("select a.k from raw.a a join raw.b b join raw.c c on b.k = c.k on a.k = b.k", "joined already"),
        ("select a.k, c.n from raw.a a, raw.b b right join raw.c c on b.k = c.k", "before a comma"),
        ("select a.k, c.n from raw.a a, raw.b b full join raw.c c on b.k = c.k", "before a comma"),
        ("select k, n from raw.b order by k, n limit 10%", "no number of rows"),
        ("select k, n from raw.b order by k, n limit 10 percent", "no number of rows"),
        ("select 'gm_arg_0_' || s as p from raw.a", "stands for something else"),
    ],
)
def test_what_could_differ_from_its_text_is_computed_in_full_and_says_why(kernel: Kernel, text: str, why: str):
    found = kernel.check_sql(text, SCHEMAS)
    assert found.expression is None
    assert why in found.in_full


def test_a_window_is_computed_before_qualify_drops_rows(kernel: Kernel):
    text = "select k, lead(k, 1, -1) over (order by k) as w from raw.c qualify row_number() over (order by k) = 1"
    found = kernel.check_sql(text, SCHEMAS)
    kernel.register("raw.c", arrow("raw.c", [(1, "a", 1), (2, "a", 1)]))
    assert found.expression is not None
    assert kernel.query(found.expression).read_all().to_pylist() == [{"k": 1, "w": 2}]


MOMENTS = [
    "stddev(x)",
    "stddev_pop(k)",
    "variance(d)",
    "var_pop(x)",
    "corr(x, k)",
    "covar_samp(x, k)",
    "covar_pop(k, x)",
]
MOMENTS += ["sum(x) filter (where k > 1)", "avg(x) filter (where k > 1)", "stddev(x) filter (where k > 1)"]


@pytest.mark.parametrize("call", MOMENTS)
def test_what_the_engine_rounds_by_the_order_of_rows_is_exact(kernel: Kernel, call: str):
    rng = random.Random(call)
    rows = [{"k": rng.randrange(5), "x": rng.gauss(0, 1e3), "d": rng.randrange(100)} for _ in range(2000)]
    found = kernel.check_sql(f"select {call} as s from raw.a", SCHEMAS)
    assert found.expression is not None
    results = set()
    for _ in range(3):
        rng.shuffle(rows)
        given = pa.Table.from_pylist([{**row, **dict.fromkeys("stb")} for row in rows], SCHEMAS["raw.a"])
        kernel.register("raw.a", given)
        results.add(kernel.query(found.expression).read_all()["s"][0].as_py())
    (text,) = kernel.query(found.sql).read_all()["s"].to_pylist()
    (exact,) = results
    assert exact == pytest.approx(text, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "select try_cast(s as bigint) as a, try_cast(x as integer) as b, try_cast(d as smallint) as c from raw.a",
        "select a.k from raw.a a, raw.b b left join raw.c c on b.k = c.k",
    ],
)
def test_rows_are_those_of_the_text(kernel: Kernel, text: str):
    found = kernel.check_sql(text, SCHEMAS)
    assert found.expression is not None, found.in_full
    rng = random.Random(5)
    for name in TABLES:
        kernel.register(name, arrow(name, rows_of(rng, name)))
    assert bag(kernel.query(found.sql).read_all()) == bag(kernel.query(found.expression).read_all())


def test_trying_to_cast_cuts_fractions_off_as_casting_does(kernel: Kernel):
    found = kernel.check_sql("select try_cast(x as integer) as b from raw.a", SCHEMAS)
    kernel.register("raw.a", pa.table({"x": [2.5, -1.5, 1e300, None]}))
    assert kernel.query(found.sql).read_all().column("b").to_pylist() == [2, -1, None, None]
