"""Random definitions over random tables under random edits: what follows changes equals what is computed anew."""

import os
import random

import ibis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.errors import DataError, DefinitionError
from tests import programs
from tests.engines.following import Following

CASES = int(os.environ.get("GRISTMILL_RANDOM_CASES", "100"))
A, B, C = (programs.inputs()[name] for name in ("raw.a", "raw.b", "raw.c"))
BY_K = ibis.window(group_by="k", order_by="x")
KEPT = {
    "filter and arithmetic": A.filter(A.x > 0).mutate(y=A.x * 2),
    "join": A.select("k", "s", "x").join(B.select("k", "n"), "k"),
    "left join": A.select("k", "s").left_join(B.select("k", "x"), "k"),
    "outer join": A.select("k", "s").outer_join(C.select("k", "n"), "k"),
    "group by": A.group_by("s").agg(c=A.count(), x=A.x.sum(), m=A.x.mean(), d=A.d.sum(), b=A.b.any(), t=A.t.max()),
    "moments": A.group_by("b").agg(v=A.x.var(), s=A.x.std(how="pop")),
    "touched": A.group_by("s").agg(m=A.x.median(), u=A.k.nunique(), l=A.k.last(order_by=A.t)),
    "as-of": algebra.asof_join(A.select("k", "t"), B.select("k", "t", "x"), on="t", by="k", within="6min"),
    "window": A.mutate(r=ibis.row_number().over(BY_K), p=A.x.lag().over(BY_K)),
    "difference": A.select("k", "t").difference(B.select("k", "t")),
    "all at once": A.join(C, "k").group_by("s").agg(x=lambda t: t.x.sum()).filter(lambda t: t.x.notnull()),
}


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        yield kernel


def follow_seed(kernel, seed, rounds=2):
    """Follow random edits of a random definition."""
    rng = random.Random(seed)
    expr = programs.program(rng)
    follower = Following(kernel, expr, {name: programs.rows_of(rng, name) for name in programs.TABLES})
    for _ in range(rounds):
        follower.follow(random_edits(rng, follower.tables))


def random_edits(rng, tables):
    """Return random changes of some of the tables."""
    changed = {}
    for name, rows in tables.items():
        kind = rng.choice(["none", "any", "any", "inserts"])
        if kind != "none":
            changed[name] = (kind, programs.edited(rng, name, rows, kind)[1])
    return changed


@pytest.mark.parametrize("seed", range(CASES))
def test_random_definitions(kernel, seed):
    try:
        follow_seed(kernel, seed)
    except (DefinitionError, DataError) as error:
        pytest.skip(f"the definition does not run: {error}")


def rows(name):
    """Rows of a table, as Hypothesis draws and shrinks them."""
    return st.lists(
        st.tuples(*(st.sampled_from(programs.POOLS[column]) for column in programs.TABLES[name])), max_size=6
    )


@pytest.mark.parametrize("name", KEPT)
@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_kept_definitions(kernel, name, data):
    expr = KEPT[name]
    used = list(algebra.reads(expr))
    follower = Following(kernel, expr, {table: data.draw(rows(table), label=table) for table in used})
    for _ in range(2):
        changed = {}
        for table in used:
            have = follower.tables[table]
            which = data.draw(st.sets(st.integers(0, max(len(have) - 1, 0)), max_size=3), label=f"{table} goes")
            went = [have[i] for i in which if i < len(have)]
            came = data.draw(rows(table), label=f"{table} comes")
            changed[table] = ("any", [*((row, -1) for row in went), *((row, 1) for row in came)])
        follower.follow(changed)
