"""Random definitions computed by pieces give the rows that computing them at once gives, bit for bit."""

import os
import random

import ibis
import pytest

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.engines.kernel.executor import InProcess
from gristmill.engines.local import LocalPool
from gristmill.errors import DataError, DefinitionError
from gristmill.store import compute
from tests import programs
from tests.engines.parting import by_pieces, scan_of

CASES = int(os.environ.get("GRISTMILL_RANDOM_CASES", "60"))
ON_POOL = range(10_000, 10_000 + max(CASES // 6, 1))
A, B = (programs.inputs()[name] for name in ("raw.a", "raw.b"))
BY_K = ibis.window(group_by="k", order_by="x")


@pytest.fixture(scope="module")
def pool():
    with LocalPool(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        yield kernel


@pytest.fixture(scope="module")
def here():
    with Kernel(threads=1) as kernel:
        yield InProcess(kernel)


def agree(executor, kernel, folder, rng, expr):
    """Compute a definition in both ways over random tables."""
    scans = {name: scan_of(programs.arrow(name, programs.rows_of(rng, name))) for name in programs.TABLES}
    for name, scan in scans.items():
        compute.register(kernel.connection, name, scan)
    wanted = kernel.query(expr).read_all()
    for number, small in enumerate(((), ("raw.b", "raw.c"))):
        place = folder / str(number)
        place.mkdir()
        found = kernel.query(by_pieces(executor, expr, scans, place, parts=3 - number, small=small).sql).read_all()
        assert found.schema.names == wanted.schema.names
        assert programs.bag(found) == programs.bag(wanted)


def agree_by_seed(executor, kernel, folder, seed):
    rng = random.Random(seed)
    expr = programs.program(rng)
    try:
        agree(executor, kernel, folder, rng, expr)
    except (DefinitionError, DataError) as error:
        pytest.skip(f"the definition does not run: {error}")


@pytest.mark.parametrize("seed", range(CASES))
def test_in_this_process(here, kernel, tmp_path, seed):
    agree_by_seed(here, kernel, tmp_path, seed)


@pytest.mark.parametrize("seed", ON_POOL)
def test_on_worker_processes(pool, kernel, tmp_path, seed):
    agree_by_seed(pool, kernel, tmp_path, seed)


KEPT = {
    "total": A.agg(n=A.count(), x=A.x.sum(), v=A.x.var(), d=A.d.max(), b=A.b.any()),
    "median of all": A.agg(m=A.x.median()),
    "float keys": A.group_by("x").agg(n=A.count()),
    "distinct": A.distinct(),
    "float join": A.join(B, A.x == B.x, rname="r_{name}"),
    "int and float join": A.join(B, A.x == B.k, rname="r_{name}"),
    "two joins on one key": A.join(B, "k", rname="r_{name}").group_by("k").agg(n=lambda t: t.count()),
    "window": A.mutate(r=ibis.row_number().over(BY_K)),
    "window over all": A.mutate(r=ibis.row_number().over(ibis.window(order_by="x"))),
    "first rows": A.order_by("x", "k").limit(5, offset=2),
    "list of structs": A.mutate(p=ibis.struct({"k": A.k, "s": A.s})).group_by("p").agg(n=lambda t: t.count()),
    "unbounded sum": A.agg(x=(A.x * 1e-300).sum()),
    "as-of by nothing": algebra.asof_join(A.select("t", "k"), B.select("t", "n"), on="t", within="6min"),
    "the same table thrice": A.join(A.view(), "k", rname="r_{name}").union(A.join(A.view(), "k", rname="r_{name}")),
}


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize("seed", range(2))
def test_kept_definitions(here, kernel, tmp_path, name, seed):
    agree(here, kernel, tmp_path, random.Random(f"{name} {seed}"), KEPT[name])
