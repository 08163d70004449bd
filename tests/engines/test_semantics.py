"""Every probe of the semantics table, on the kernel."""

import math

import ibis
import pyarrow as pa
import pytest

from gristmill import algebra, errors
from gristmill.algebra.arrow import to_arrow
from gristmill.algebra.semantics import RULES, Probe, Rule
from gristmill.engines.kernel import Kernel

PROBES = [(rule, probe) for rule in RULES for probe in rule.probes]


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=2) as kernel:
        yield kernel


def table_of(kernel: Kernel, probe: Probe) -> ibis.Table:
    size = len(probe.rows[0][2])
    schema = ibis.schema({"i_": "int64", **{name: dtype for name, dtype, _ in probe.rows}})
    columns = [pa.array(range(size), pa.int64())]
    for _name, dtype, values in probe.rows:
        target = to_arrow(ibis.dtype(dtype))
        raw = pa.array(values)
        columns.append(raw.cast(target) if not pa.types.is_null(raw.type) else pa.nulls(size, target))
    kernel.register("raw.probe", pa.table(columns, names=list(schema.names)))
    return ibis.table(schema, name="raw.probe")


def same(a: object, b: object) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        return (math.isnan(a) and math.isnan(b)) or a == b
    return a == b


@pytest.mark.parametrize(("rule", "probe"), PROBES, ids=[f"{r.name}: {p.expr}" for r, p in PROBES])
def test_probe(kernel: Kernel, rule: Rule, probe: Probe):
    t = table_of(kernel, probe)
    value = eval(probe.expr, {"t": t, "ibis": ibis, "gm": algebra, "_": ibis._})  # noqa: S307
    scalar = isinstance(value, ibis.expr.types.Scalar) and value.op().find(ibis.expr.operations.Reduction)
    expr = value.name("out").as_table() if scalar else t.select("i_", out=value).order_by("i_")
    if isinstance(probe.expect, str):
        with pytest.raises(getattr(errors, probe.expect)):
            kernel.query(expr).read_all()
        return
    table = kernel.query(expr).read_all()
    got = table.column("out").to_pylist()
    assert len(got) == len(probe.expect)
    assert all(same(a, b) for a, b in zip(got, probe.expect, strict=True)), got
    declared = to_arrow(algebra.normalise(expr).schema()["out"])
    assert table.schema.field("out").type == declared
