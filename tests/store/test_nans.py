"""NaN is the greatest number in every file, whoever wrote it: no bound in a footer hides one."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.store import SqlSource, datafiles

NAN = float("nan")
WHERES = ["isnan(x)", "x > 2", "x = 'nan'", "NOT (x <= 2)", "x <= 2", "s.y > 2", "isnan(l[1])", "y > 2"]
FIGURES = "SELECT max(x) AS a, min(x) AS b, max(s.y) AS c, max(y) AS d, count(x) AS n FROM t"


def rows(count: int, *, nans: bool = True) -> pa.Table:
    odd = NAN if nans else 1.75
    x = [[0.5, odd, 1.5, None][i % 4] for i in range(count)]
    y = pa.array([0.25, 1.0, odd, 2.0] * (count // 4), pa.float32())
    return pa.table({"i": range(count), "x": x, "s": [{"y": v} for v in x], "l": [[v] for v in x], "y": y})


@pytest.mark.parametrize("written", ["arrow", "later", "copy"])
def test_conditions_and_bounds(tmp_path: Path, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "ROW_GROUP", 2000)
    parts = [rows(2000, nans=False), rows(2000)] if written == "later" else [rows(4000)]
    store = gm.open(str(tmp_path / "s"), create=True)
    main = store["main"]
    main.create_table("t", parts[0].schema)
    con = duckdb.connect()
    con.register("t", pa.concat_tables(parts))
    with store.engine.begin("main") as tx:
        if written == "copy":
            tx.append("t", SqlSource(con, "SELECT * FROM t"))
        else:
            tx.append("t", pa.RecordBatchReader.from_batches(parts[0].schema, pa.concat_tables(parts).to_batches(500)))
    for where in WHERES:
        query = f"SELECT count(*) AS n FROM t WHERE {where}"
        assert main.snapshot().sql(query).to_pylist() == con.sql(query).to_arrow_table().to_pylist(), where
    assert str(main.snapshot().sql(FIGURES).to_pylist()) == str(con.sql(FIGURES).to_arrow_table().to_pylist())
    assert (
        main["t"].scan(where="x > 2").to_arrow().num_rows
        == con.sql("SELECT count(*) FROM t WHERE x > 2").fetchall()[0][0]
    )


def test_files_without_nans_keep_their_bounds(tmp_path: Path) -> None:
    store = gm.open(str(tmp_path / "s"), create=True)
    main = store["main"]
    table = rows(4000, nans=False).select(["i", "x"])
    main.create_table("t", table.schema)
    main["t"].append(table)
    (known,) = [store.engine.snapshot("main").ranges("t")[name] for name in ["x"]]
    assert (known.lower, known.upper, known.nulls) == (0.5, 1.75, 1000)
    main["t"].append(rows(4000).select(["i", "x"]))
    known = store.engine.snapshot("main").ranges("t")["x"]
    assert (known.upper, known.nulls) == (None, 2000)
