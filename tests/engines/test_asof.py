import datetime as dt
import random

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.errors import DefinitionError

L = ibis.table({"id": "int64", "k": "string", "t": "int64"}, name="raw.l")
R = ibis.table({"k": "string", "t": "int64", "v": "int64"}, name="raw.r")


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=2) as kernel:
        yield kernel


def run(kernel, left, right, **options):
    kernel.register(
        "raw.l",
        pa.table(
            {"id": list(range(len(left))), "k": [r[0] for r in left], "t": [r[1] for r in left]},
            schema=pa.schema([("id", pa.int64()), ("k", pa.string()), ("t", pa.int64())]),
        ),
    )
    kernel.register(
        "raw.r",
        pa.table(
            {"k": [r[0] for r in right], "t": [r[1] for r in right], "v": [r[2] for r in right]},
            schema=pa.schema([("k", pa.string()), ("t", pa.int64()), ("v", pa.int64())]),
        ),
    )
    joined = algebra.asof_join(L, R, on="t", by="k", **options)
    found = kernel.query(joined).read_all().sort_by("id").to_pylist()
    return [row["id"] for row in found], [row["v"] for row in found]


def brute(left, right, direction, within):
    answers = []
    for k, t in left:
        best = None
        for rk, rt, v in right:
            if None in (k, t, rk, rt) or k != rk:
                continue
            ahead = rt - t
            if (direction == "backward" and ahead > 0) or (direction == "forward" and ahead < 0):
                continue
            if within is not None and abs(ahead) > within:
                continue
            rank = (-abs(ahead), ahead <= 0, v is not None, v)
            if best is None or rank > best:
                best = rank
        answers.append(best[-1] if best else None)
    return answers


keys = st.sampled_from(["a", "b", None])
times = st.one_of(st.integers(0, 12), st.none())


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(keys, times), max_size=12),
    st.lists(st.tuples(keys, times, st.one_of(st.integers(0, 3), st.none())), max_size=14),
    st.sampled_from(["backward", "forward", "nearest"]),
    st.sampled_from([None, 0, 2]),
)
def test_it_is_the_brute_force_answer(kernel, left, right, direction, within):
    ids, values = run(kernel, left, right, direction=direction, within=within)
    assert ids == list(range(len(left)))
    assert values == brute(left, right, direction, within)


def test_ties_do_not_depend_on_order(kernel):
    right = [("a", 1, v) for v in range(50)]
    random.Random(1).shuffle(right)
    assert run(kernel, [("a", 1)], right)[1] == [49]


def test_a_named_tie_breaker_comes_first(kernel):
    r = ibis.table({"t": "int64", "v": "int64", "version": "int64"}, name="raw.r")
    kernel.register("raw.l", pa.table({"id": [0], "k": ["a"], "t": [5]}))
    kernel.register("raw.r", pa.table({"t": [5, 5], "v": [9, 1], "version": [1, 2]}))
    joined = algebra.asof_join(L, r, on="t", ties=["version"])
    assert kernel.query(joined).read_all().column("v").to_pylist() == [1]


def test_a_table_joins_itself_and_keeps_both_names(kernel):
    kernel.register("raw.l", pa.table({"id": [0, 1], "k": ["a", "a"], "t": [1, 2]}))
    joined = algebra.asof_join(L, L, on="t", by="k")
    assert joined.columns == ("id", "k", "t", "id_right")
    assert kernel.query(joined.order_by("id")).read_all().column("id_right").to_pylist() == [0, 1]


def test_it_composes(kernel):
    kernel.register("raw.l", pa.table({"id": [0, 1], "k": ["a", "b"], "t": [1, 2]}))
    kernel.register("raw.r", pa.table({"k": ["a"], "t": [0], "v": [7]}))
    joined = algebra.asof_join(L.filter(L.t > 0), R.mutate(v=R.v * 2), on="t", by="k")
    again = (
        algebra.asof_join(joined, R, on="t", by="k", suffix="_2")
        .group_by("k")
        .agg(n=ibis._.v.sum(), m=ibis._.v_2.sum())
    )
    found = kernel.query(again.order_by("k")).read_all().to_pylist()
    assert found == [{"k": "a", "n": 14, "m": 7}, {"k": "b", "n": None, "m": None}]


def test_within_counts_in_time(kernel):
    left = ibis.table({"t": "timestamp('UTC')"}, name="raw.l")
    right = ibis.table({"t": "timestamp('UTC')", "v": "int64"}, name="raw.r")
    noon = dt.datetime(2013, 1, 1, 12, tzinfo=dt.UTC)
    kernel.register(
        "raw.l",
        pa.table({"t": pa.array([noon, noon + dt.timedelta(microseconds=1)], pa.timestamp("us", "UTC"))}),
    )
    kernel.register(
        "raw.r",
        pa.table({"t": pa.array([noon - dt.timedelta(hours=2)], pa.timestamp("us", "UTC")), "v": [1]}),
    )
    joined = algebra.asof_join(left, right, on="t", within="2h").order_by("t")
    assert kernel.query(joined).read_all().column("v").to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"on": "tt"}, "no column `tt`"),
        ({"on": "t", "by": "kk"}, "no column `kk`"),
        ({"on": ("t", "k")}, "left `t` is a number"),
        ({"on": "t", "within": "2h"}, "does not measure"),
        ({"on": "t", "within": -1}, "does not measure"),
        ({"on": "t", "direction": "sideways"}, "sideways"),
    ],
)
def test_mistakes_are_named(options, word):
    with pytest.raises(DefinitionError, match=word):
        algebra.asof_join(L, R, **options)


def test_every_flight_stays_one_row(kernel, nycflights):
    flights, weather = nycflights
    kernel.register("raw.flights", flights)
    kernel.register("raw.weather", weather)
    f = algebra.input_table("raw.flights", flights.schema)
    w = algebra.input_table("raw.weather", weather.schema)
    joined = algebra.asof_join(f, w, on="time_hour", by="origin", within="2h")
    counted = kernel.query(joined.agg(n=ibis._.count(), matched=ibis._.wind_speed.count())).read_all().to_pylist()[0]
    assert counted["n"] == 336_776
    assert 330_000 < counted["matched"] <= 336_776
