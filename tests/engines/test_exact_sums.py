"""Sums, means and moments: correctly rounded, whatever the order of rows, the threads and the files."""

import math
import random
import statistics
from fractions import Fraction
from pathlib import Path

import ibis
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.errors import DataError

T = ibis.table({"g": "int64", "x": "float64", "y": "float64"}, name="raw.t")
SUMS = T.group_by("g").agg(
    s=ibis._.x.sum(),
    m=ibis._.x.mean(),
    v=ibis._.x.var(),
    c=ibis._.x.cov(ibis._.y),
    r=ibis._.x.corr(ibis._.y, how="pop"),
    f=ibis._.x.sum(where=ibis._.y > 0),
)
finite = st.floats(allow_nan=False, allow_infinity=False)
anything = st.one_of(
    finite,
    st.floats(-1e6, 1e6),
    st.floats(-1e-6, 1e-6),
    st.integers(-(10**9), 10**9).map(lambda i: i / 100),
    st.sampled_from([0.1, -0.1, 1e16, -1e16, 1e300, -1e300, 5e-324, 0.0, -0.0, 2.0**53, 2.0**63, 2.0**-72]),
)


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        yield kernel


def exact(values: list[float]) -> float:
    total = sum(map(Fraction, values))
    try:
        return total.numerator / total.denominator
    except OverflowError:
        return math.inf if total > 0 else -math.inf


def rows(kernel: Kernel, xs: list[float], ys: list[float] | None = None, expr: ibis.Table = SUMS) -> list[dict]:
    table = pa.table(
        {
            "g": pa.array([0] * len(xs), pa.int64()),
            "x": pa.array(xs, pa.float64()),
            "y": pa.array(ys or [1.0] * len(xs), pa.float64()),
        }
    )
    kernel.register("raw.t", table)
    return kernel.query(expr).read_all().to_pylist()


@settings(max_examples=150, deadline=None)
@given(st.lists(anything, min_size=1, max_size=30))
def test_a_sum_is_the_correctly_rounded_sum(kernel: Kernel, xs: list[float]):
    (row,) = rows(kernel, xs, expr=T.group_by("g").agg(s=ibis._.x.sum(), m=ibis._.x.mean()))
    assert row["s"] == exact(xs)
    assert row["m"] == exact(xs) / len(xs)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20), st.sampled_from([0.0, 1e9, -1.7e9]))
def test_a_variance_is_correctly_rounded(kernel: Kernel, xs: list[float], shift: float):
    xs = [x + shift for x in xs]
    (row,) = rows(kernel, xs, expr=T.group_by("g").agg(v=ibis._.x.var(), p=ibis._.x.var(how="pop")))
    true = statistics.variance([Fraction(x) for x in xs])
    assert row["v"] == pytest.approx(float(true), rel=1e-12, abs=1e-18 * len(xs))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), anything, anything), min_size=1, max_size=60), st.randoms())
def test_order_and_splits_change_no_bit(kernel: Kernel, data: list[tuple[int, float, float]], rng: random.Random):
    def run(parts: list[list[tuple[int, float, float]]]) -> list[tuple[object, ...]]:
        tables = [
            pa.table(
                {"g": [r[0] for r in p], "x": [r[1] for r in p], "y": [r[2] for r in p]},
                schema=pa.schema([("g", pa.int64()), ("x", pa.float64()), ("y", pa.float64())]),
            )
            for p in parts
        ]
        kernel.register("raw.t", pa.concat_tables(tables))
        found = kernel.query(SUMS).read_all().sort_by("g").to_pylist()
        return [tuple(v.hex() if isinstance(v, float) else v for v in row.values()) for row in found]

    first = run([data])
    shuffled = data[:]
    rng.shuffle(shuffled)
    cut = rng.randrange(len(data) + 1)
    assert run([shuffled[:cut], shuffled[cut:]]) == first


def test_threads_and_files_change_no_bit(tmp_path: Path):
    rng = random.Random(7)
    n = 400_000
    table = pa.table(
        {
            "g": [i * 7919 % 50 for i in range(n)],
            "x": [rng.gauss(0, 1) * 10 ** rng.uniform(-8, 8) for _ in range(n)],
            "y": [rng.gauss(5, 1) for _ in range(n)],
        }
    )
    order = list(range(n))
    rng.shuffle(order)
    results = []
    for threads, files, rows_ in ((1, 1, table), (4, 1, table), (4, 9, table.take(order)), (2, 4, table)):
        folder = tmp_path / f"{threads}-{files}"
        folder.mkdir()
        size = -(-n // files)
        for i in range(files):
            pq.write_table(rows_.slice(i * size, size), folder / f"{i}.parquet", row_group_size=17_000)
        with Kernel(threads=threads) as kernel:
            kernel.register("raw.t", f"SELECT * FROM read_parquet('{folder}/*.parquet')")
            results.append(kernel.query(SUMS).read_all().sort_by("g"))
    assert all(result.equals(results[0]) for result in results)


def test_windows_are_exact_too(kernel: Kernel):
    expr = T.mutate(s=T.x.sum().over(group_by="g"), m=T.x.mean().over(group_by="g"), c=T.x.cumsum(order_by="y"))
    xs = [1e16, 1.0, 1.0, -1e16]
    found = sorted(rows(kernel, xs, [1.0, 2.0, 3.0, 4.0], expr), key=lambda r: r["y"])
    assert [r["s"] for r in found] == [2.0] * 4
    assert [r["m"] for r in found] == [0.5] * 4
    assert [r["c"] for r in found] == [1e16, 1e16, 1e16 + 2, 2.0]


def test_a_window_inside_a_filter_is_exact(kernel: Kernel):
    expr = T.filter(T.x.sum().over(group_by="g") == 2.0)
    assert len(rows(kernel, [1e16, 1.0, 1.0, -1e16], None, expr)) == 4


def test_a_grid_counts_steps(kernel: Kernel):
    grids = {("raw.t", "x"): algebra.Grid(low=0, high=1e6, resolution=0.01)}
    plain = T.group_by("g").agg(s=ibis._.x.sum())
    expr = algebra.normalise(plain, grids=grids)
    assert algebra.fingerprint(expr) != algebra.fingerprint(plain)
    xs = [0.1] * 1001 + [0.7, 19.99]
    assert rows(kernel, xs, None, expr)[0]["s"] == 120.79
    trusted = {key: msgspec.structs.replace(grid, trusted=True) for key, grid in grids.items()}
    assert rows(kernel, xs, None, algebra.normalise(plain, grids=trusted))[0]["s"] == 120.79
    with pytest.raises(DataError, match="off its declared grid"):
        rows(kernel, [0.105], None, expr)
    with pytest.raises(DataError):
        rows(kernel, [math.nan], None, expr)
    assert rows(kernel, [], None, algebra.normalise(T.agg(s=T.x.sum()), grids=grids)) == [{"s": None}]


def test_sums_of_float32_and_decimals_and_booleans(kernel: Kernel):
    t = ibis.table({"f": "float32", "d": "decimal(10,2)", "b": "boolean"}, name="raw.u")
    kernel.register(
        "raw.u",
        pa.table(
            {
                "f": pa.array([0.1, 0.2], pa.float32()),
                "d": pa.array(["1.10", "2.20"]).cast(pa.decimal128(10, 2)),
                "b": [True, True],
            }
        ),
    )
    (row,) = (
        kernel.query(t.agg(f=t.f.sum(), d=t.d.sum(), b=t.b.sum(), m=t.d.mean(), n=t.b.mean())).read_all().to_pylist()
    )
    assert row["f"] == exact([float(v) for v in pa.array([0.1, 0.2], pa.float32()).to_pylist()])
    assert (str(row["d"]), row["b"], row["n"]) == ("3.30", 2, 1.0)
    assert float(row["m"]) == 1.65
