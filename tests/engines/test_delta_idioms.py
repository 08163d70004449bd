"""Everything that ``test_idioms`` writes, followed through edits of its inputs instead of computed anew."""

import datetime as dt

import pyarrow as pa
import pytest

from gristmill import algebra
from gristmill.engines.kernel import Kernel, run_changes
from gristmill.errors import DefinitionError
from tests.engines.test_idioms import IDIOMS, ROWS, SCHEMA
from tests.programs import bag

MORE = [
    {**ROWS[0], "id": 9, "k": None, "x": -0.0, "ts": ROWS[0]["ts"] + dt.timedelta(days=1), "arr": [], "st": None},
    {**ROWS[1], "id": 10, "n": None, "b": None, "dec": None, "d": None, "tm": None},
    {**ROWS[2], "k": "b", "x": float("inf"), "f": None, "bin": None},
]
OLD = {"raw.t": [*ROWS[:5], ROWS[3]], "raw.t2": [*ROWS[1:], MORE[0]]}
WENT = {"raw.t": [ROWS[0], ROWS[3]], "raw.t2": [ROWS[1], MORE[0]]}
CAME = {"raw.t": [*MORE, ROWS[5], ROWS[4]], "raw.t2": [MORE[1], ROWS[2]]}


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        for name, old in OLD.items():
            new = list(old)
            for row in WENT[name]:
                new.remove(row)
            new += CAME[name]
            changes = [*((row, -1) for row in WENT[name]), *((row, 1) for row in CAME[name])]
            delta = pa.Table.from_pylist([row for row, _ in changes], SCHEMA)
            kernel.register(f"{name}@delta", delta.append_column("_w", pa.array([w for _, w in changes], pa.int64())))
            kernel.register(f"{name}@old", pa.Table.from_pylist(old, SCHEMA))
            kernel.register(f"{name}@new", pa.Table.from_pylist(new, SCHEMA))
        yield kernel


def whole(kernel, text, version, names=tuple(OLD)):
    """Run SQL over one version of the inputs."""
    for name in names:
        kernel.register(name, f'SELECT * FROM "{name}@{version}"')
    return kernel.query(text).read_all()


@pytest.mark.parametrize("name", IDIOMS)
@pytest.mark.parametrize("changed", [("raw.t",), ("raw.t", "raw.t2")], ids=["one input", "both"])
def test_it_follows(kernel, name, changed):
    try:
        expr = IDIOMS[name]().as_table()
        maintained = algebra.maintain(expr, dict.fromkeys(changed, "any"))
    except DefinitionError as error:
        pytest.skip(str(error))
    if maintained.changes is None:
        pytest.skip(maintained.why)
    rest = [name for name in OLD if name not in changed]
    for unchanged in rest:
        kernel.register(unchanged, f'SELECT * FROM "{unchanged}@old"')
    for state in maintained.states:
        kernel.register(f"out{state.suffix}@old", whole(kernel, kernel.text(state.build), "old"))
    output = bag(whole(kernel, kernel.sql(expr), "old"))
    with run_changes(kernel, maintained) as found:
        table = kernel.query(found.sql).read_all()
    for row, weight in bag(table, "_w").items():
        output[row] += weight
    expect = bag(whole(kernel, kernel.sql(expr), "new", changed))
    assert +output == expect, (maintained.mode, +output - expect, expect - +output)
