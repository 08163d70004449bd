import ibis
import pyarrow as pa

from gristmill import algebra
from gristmill.engines.kernel import Kernel


def test_an_expression_runs_over_a_registered_table():
    t = ibis.table({"a": "int64", "b": "string"}, name="raw.t")
    with Kernel(threads=1) as kernel:
        kernel.register("raw.t", pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
        rows = kernel.query(t.filter(t.a > 1).select("b")).read_all().to_pylist()
        assert sorted(r["b"] for r in rows) == ["y", "z"]
        assert kernel.schema(t.select("a")).names == ["a"]
    assert algebra.reads(t.filter(t.a > 1).select("b")) == {"raw.t": ("a", "b")}
    assert len(algebra.fingerprint(t)) == 64
