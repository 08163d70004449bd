"""What the text of a SQL definition tells about its rows, and where it says that it does not know."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.engines.kernel import Kernel
from gristmill.engines.kernel.sql_witness import sql_columns, sql_witness

T = pa.table({"id": [1, 2, 3], "g": ["a", "a", "b"], "x": [1, 2, 5]})
U = pa.table({"g": ["a", "b"], "name": ["Ana", "Bo"]})
TABLES = {"raw.t": T, "raw.u": U}


def traced(sql: str, table: str, key: list[str]) -> list[tuple[object, ...]] | str:
    """Return (key, row id) pairs for one input, or why there are none."""
    with Kernel(threads=1) as kernel:
        checked = kernel.check_sql(sql, {name: rows.schema for name, rows in TABLES.items()})
        plain = {name: TABLES[name].schema.names for name in checked.inputs}
        _, found = sql_witness(checked.sql, plain, key=key)
        text, why = found[table]
        if text is None:
            return why
        for name, rows in TABLES.items():
            kernel.register(name, rows)
            kernel.register(f"{name}#rows", rows.append_column("_row_id", pa.array(range(100, 100 + len(rows)))))
        return sorted(tuple(row.values()) for row in kernel.query(text).read_all().to_pylist())


def test_groups_conditions_and_joins_are_inverted() -> None:
    groups = "select g, sum(x) as s from raw.t where x > 1 group by g having count(*) > 0"
    assert traced(groups, "raw.t", ["g"]) == [("a", 101), ("b", 102)]
    joined = "select t.id, u.name from raw.t t left join raw.u u on t.g = u.g and u.g = 'a'"
    assert traced(joined, "raw.t", ["id"]) == [(1, 100), (2, 101), (3, 102)]
    assert traced(joined, "raw.u", ["id"]) == [(1, 100), (2, 100)]


def test_a_group_by_number_or_by_name_is_a_group() -> None:
    assert traced("select upper(g) as k, count(*) as n from raw.t group by 1", "raw.t", ["k"]) == [
        ("A", 100),
        ("A", 101),
        ("B", 102),
    ]


@pytest.mark.parametrize(
    "sql",
    [
        "with a as (select * from raw.t) select id from a",
        "select id from raw.t order by id limit 1",
        "select distinct id from raw.t",
        "select id from raw.t where g in (select g from raw.u)",
        "select id from raw.t union all select id from raw.t",
        "select id, row_number() over (order by id) as n from raw.t",
        "select count(*) as id from raw.t",
        "select max(id) as id from raw.t group by g",
        "select a.id from raw.t a join raw.t b on a.g = b.g",
    ],
)
def test_what_the_text_does_not_tell_is_the_whole_table(sql: str) -> None:
    assert isinstance(traced(sql, "raw.t", ["id"]), str)


def test_columns_come_from_where_their_values_do() -> None:
    sql = 'SELECT "t"."g" AS "g", sum("t"."x") AS "s" FROM "raw.t" AS "t" GROUP BY "t"."g"'
    assert sql_columns(sql, {"raw.t": ["id", "g", "x"]}) == {"g": (("raw.t", "g"),), "s": (("raw.t", "x"),)}
