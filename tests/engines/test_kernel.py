import pathlib

import ibis
import pyarrow as pa
import pytest

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.errors import DataError, DefinitionError, EngineError, UsageError

T = ibis.table({"a": "int64", "b": "string"}, name="raw.t")
ROWS = pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]})


@pytest.fixture
def kernel():
    with Kernel(threads=1) as kernel:
        kernel.register("raw.t", ROWS)
        yield kernel


def test_an_expression_runs_over_a_registered_table(kernel: Kernel):
    rows = kernel.query(T.filter(T.a > 1).select("b")).read_all().to_pylist()
    assert sorted(r["b"] for r in rows) == ["y", "z"]


def test_sql_text_readers_and_tables_register_alike(kernel: Kernel):
    kernel.register("raw.t", "SELECT 7::BIGINT AS a, 'q' AS b")
    assert kernel.query(T).read_all().to_pylist() == [{"a": 7, "b": "q"}]
    kernel.register("raw.t", ROWS.to_reader())
    assert kernel.query(T).read_all().num_rows == 3
    kernel.register("raw.t", ROWS)
    kernel.unregister("raw.t")
    kernel.unregister("raw.t")
    with pytest.raises(DefinitionError, match=r"raw\.t"):
        kernel.query(T)


def test_a_hostile_table_name_is_only_a_name(kernel: Kernel):
    name = 'x"; DROP TABLE y; --'
    kernel.register(name, ROWS)
    assert kernel.query(ibis.table(T.schema(), name=name)).read_all().num_rows == 3


def test_the_sql_can_be_copied_to_a_file(kernel: Kernel, tmp_path: pathlib.Path):
    target = tmp_path / "out.parquet"
    kernel.connection.execute(f"COPY ({kernel.sql(T.mutate(c=T.a // 2))}) TO '{target}'")
    assert kernel.query(f"SELECT count(*) AS n FROM read_parquet('{target}')").read_all()[0][0].as_py() == 3


def test_compiling_twice_compiles_once(kernel: Kernel):
    assert kernel.sql(T.mutate(c=T.a + 1)) is kernel.sql(T.mutate(c=T.a + 1))


def test_schema_is_the_declared_one(kernel: Kernel):
    expr = T.select(n=T.b.length(), m=T.a.sum(), y=T.a.cast("int8"), z=T.b.upper())
    declared = algebra.arrow_schema(algebra.normalise(expr).schema())
    assert kernel.schema(expr).types == declared.types
    assert kernel.schema("SELECT 1::TINYINT AS x").types == [pa.int8()]


def test_run_time_has_a_value_in_a_run_only(kernel: Kernel):
    expr = T.select(t=algebra.run_time())
    assert str(kernel.query(expr, run_time_us=1_000_000).read_all()["t"][0]) == "1970-01-01 00:00:01+00:00"
    assert str(kernel.query(expr, run_time_us=2_000_000).read_all()["t"][0]) == "1970-01-01 00:00:02+00:00"
    with pytest.raises(UsageError, match="inside a run"):
        kernel.query(expr)


def test_an_unread_result_keeps_the_kernel_busy(kernel: Kernel):
    reader = kernel.query("SELECT * FROM range(1000000)")
    reader.read_next_batch()
    with pytest.raises(UsageError, match="unread"):
        kernel.query(T)
    reader.close()
    assert kernel.query(T).read_all().num_rows == 3


@pytest.mark.parametrize(
    ("text", "kind", "word"),
    [
        ("SELECT CAST('x' AS INTEGER)", DataError, "x"),
        ("SELECT 9223372036854775807 + 1::BIGINT", DataError, "verflow"),
        ("SELECT nothing FROM range(1)", DefinitionError, "nothing"),
        ("SELEKT 1", DefinitionError, "syntax"),
        ("SELECT * FROM read_parquet('/no/such/file.parquet')", EngineError, "file"),
    ],
)
def test_errors_are_ours(kernel: Kernel, text: str, kind: type[Exception], word: str):
    with pytest.raises(kind, match=word):
        kernel.query(text).read_all()


def test_settings_are_fixed_and_extensions_stay_out(kernel: Kernel):
    wanted = {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "TimeZone": "UTC",
        "ieee_floating_point_ops": "true",
        "default_null_order": "NULLS_LAST",
    }
    for name, value in wanted.items():
        text = f"SELECT current_setting('{name}')::VARCHAR AS v"
        assert kernel.query(text).read_all()["v"][0].as_py().lower() == value.lower()


def test_python_variables_are_not_tables(kernel: Kernel):
    secret = ROWS
    assert secret.num_rows
    with pytest.raises(DefinitionError):
        kernel.query("SELECT * FROM secret")


def test_it_spills_within_its_memory_and_cleans_up(tmp_path: pathlib.Path):
    with Kernel(threads=1, memory_limit_bytes=60_000_000, temp_dir=tmp_path / "spill") as kernel:
        n = kernel.query(
            "SELECT count(*) AS n FROM (SELECT DISTINCT i, i::VARCHAR || ' padding' FROM range(2000000) t(i))"
        )
        assert n.read_all()["n"][0].as_py() == 2_000_000
    with (
        Kernel(
            threads=1, memory_limit_bytes=20_000_000, temp_dir=tmp_path / "spill2", temp_limit_bytes=1_000_000
        ) as small,
        pytest.raises(EngineError) as caught,
    ):
        small.query("SELECT list(i::VARCHAR || 'padding') AS l FROM range(5000000) t(i)").read_all()
    assert caught.value.code == "GM-E002"


def test_closing_removes_what_was_made():
    kernel = Kernel(threads=1)
    folder = pathlib.Path(kernel.query("SELECT current_setting('temp_directory') AS d").read_all()["d"][0].as_py())
    kernel.close()
    kernel.close()
    assert not folder.exists()
    with pytest.raises(EngineError, match=r"[Cc]losed"):
        kernel.query("SELECT 1")
