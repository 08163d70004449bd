import math

import pyarrow as pa
import pytest

from gristmill.engines.kernel import Kernel
from gristmill.errors import DefinitionError

FLIGHTS = pa.schema([("carrier", pa.string()), ("delay", pa.float64()), ("n", pa.int64())])
TABLES = {
    "clean.flights": FLIGHTS,
    "ref.airlines": pa.schema([("carrier", pa.string()), ("name", pa.string())]),
}


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=2) as kernel:
        yield kernel


@pytest.mark.parametrize("name", ["clean.flights", '"clean.flights"', '"clean"."flights"'])
def test_inputs_are_found_however_they_are_quoted(kernel: Kernel, name: str):
    found = kernel.check_sql(f"with c as (select * from {name} f) select c.carrier, n from c", TABLES)
    assert found.inputs == ("clean.flights",)
    assert found.columns == ("carrier", "n")
    kernel.register("clean.flights", FLIGHTS.empty_table())
    assert kernel.query(found.sql).read_all().num_rows == 0


def test_joins_windows_and_subqueries_keep_their_meaning(kernel: Kernel):
    text = """
        select f.carrier, a.name, avg(delay) as mean, sum(delay) / count(*) as other
        from clean.flights as f left join ref.airlines a using (carrier)
        where n in (select max(n) from clean.flights) and a.name is not null
        group by all order by carrier
    """
    found = kernel.check_sql(text, TABLES)
    assert found.inputs == ("clean.flights", "ref.airlines")
    assert found.columns == ("carrier", "name", "mean", "other")
    kernel.register("clean.flights", pa.table([["AA", "AA"], [0.1, 0.2], [1, 1]], schema=FLIGHTS))
    kernel.register("ref.airlines", pa.table({"carrier": ["AA"], "name": ["x"]}))
    (row,) = kernel.query(found.sql).read_all().to_pylist()
    assert row["mean"] == math.fsum([0.1, 0.2]) / 2 == row["other"]


def test_floor_division_modulo_casts_and_sums_follow_the_table(kernel: Kernel):
    found = kernel.check_sql(
        "select n // 2 as q, n % 2 as r, cast(delay as int) as i, (select sum(delay) from clean.flights) as s"
        " from clean.flights",
        TABLES,
    )
    kernel.register("clean.flights", pa.table([["AA"], [2.5], [-7]], schema=FLIGHTS))
    assert kernel.query(found.sql).read_all().to_pylist() == [{"q": -4, "r": 1, "i": 2, "s": 2.5}]
    assert found.notes == ()


def test_what_text_cannot_carry_is_said(kernel: Kernel):
    found = kernel.check_sql("select stddev(delay) as s from clean.flights", TABLES)
    assert "engine's own" in found.notes[0]


def test_a_limit_cuts_ties_the_same_way_every_time(kernel: Kernel):
    found = kernel.check_sql("select * from clean.flights order by carrier limit 1", TABLES)
    for delays in ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]):
        kernel.register("clean.flights", pa.table([["AA"] * 3, delays, [1] * 3], schema=FLIGHTS))
        assert kernel.query(found.sql).read_all()["delay"].to_pylist() == [1.0]


def test_a_window_by_position_is_warned_of(kernel: Kernel):
    found = kernel.check_sql("select row_number() over (order by carrier) as i from clean.flights", TABLES)
    assert "ties may swap" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("select 1; select 2", "exactly one SELECT"),
        ("drop table clean.flights", "exactly one SELECT"),
        ("copy clean.flights to 'x'", "exactly one SELECT"),
        ("select * from read_csv('x.csv')", "read_csv"),
        ("select * from 'x.parquet'", "x.parquet"),
        ("select * from clean.fligths", "fligths"),
        ("select now() as t from clean.flights", "now"),
        ("select age(scheduled) as t from clean.flights", "as of today"),
        ("select ago(interval 1 day) as t from clean.flights", "ago"),
        ("select current_query() as t from clean.flights", "current_query"),
        ("select current_date as t from clean.flights", "current_date"),
        ("select random() as t from clean.flights", "ran"),
        ("select hash(n) as t from clean.flights", "hash"),
        ("select first(n) as t from clean.flights", "order of rows"),
        ("select any_value(n) as t from clean.flights", "any_value"),
        ("select * from clean.flights limit 3", "LIMIT"),
        ("select * from clean.flights using sample 3", "sample"),
        ("select missing from clean.flights", "missing"),
        ("select getenv('HOME') as h from clean.flights", "getenv"),
        ("select * from glob('*')", "glob"),
        ("select * from duckdb_secrets()", "duckdb_secrets"),
        ("select )", "parse"),
        ("", "exactly one SELECT"),
    ],
)
def test_what_is_refused_says_so(kernel: Kernel, text: str, word: str):
    with pytest.raises(DefinitionError) as caught:
        kernel.check_sql(text, TABLES)
    assert word in str(caught.value)


@pytest.mark.parametrize("name", ["Id", 'x "q" y', "a;", "<img>", "select", '"', "a.b", "-- x"])
def test_a_name_keeps_its_spelling(kernel, name):
    tables = {"raw.w": pa.schema([(name, pa.int64()), ("Other", pa.int64())])}
    assert kernel.check_sql("SELECT * FROM raw.w", tables).columns == (name, "Other")
    assert kernel.check_sql("SELECT w.* EXCLUDE (other) FROM raw.w AS W", tables).columns == (name,)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("SELECT id, sum(amount) AS Total FROM raw.w GROUP BY ID ORDER BY total", ("Id", "Total")),
        ("WITH Big AS (SELECT ID AS Key FROM raw.w) SELECT key FROM BIG", ("Key",)),
        ("SELECT Columns(*) FROM raw.w", ("Id", "AMOUNT")),
        ("SELECT a.id FROM raw.w A JOIN raw.w b USING (ID)", ("Id",)),
    ],
)
def test_a_name_is_found_whatever_its_case(kernel, text, columns):
    tables = {"raw.w": pa.schema([("Id", pa.int64()), ("AMOUNT", pa.float64())])}
    made = kernel.check_sql(text, tables)
    assert made.columns == columns
    assert not any("could not be told" in note for note in made.notes)


def test_a_question_asked_once_may_be_cut_anywhere(kernel):
    tables = {"raw.w": pa.schema([("a", pa.int64())])}
    assert kernel.check_sql("SELECT *, now() AS t FROM raw.w LIMIT 3", tables, once=True).columns == ("a", "t")
    with pytest.raises(DefinitionError, match="LIMIT without ORDER BY"):
        kernel.check_sql("SELECT *, a AS t FROM raw.w LIMIT 3", tables)
    for text in ("SELECT getenv('HOME')", "SELECT current_setting('threads')"):
        with pytest.raises(DefinitionError, match="reads no table"):
            kernel.check_sql(text, tables, once=True)
