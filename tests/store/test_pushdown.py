"""A condition gives the same rows from files as from memory, whatever bounds the files have, for every type."""

import datetime
import decimal
import math
import random
import uuid
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.store import SqlSource, datafiles

Make = Callable[[random.Random], object]
EPOCH = datetime.datetime(1970, 1, 1)


def moment(rng: random.Random) -> datetime.datetime:
    return EPOCH + datetime.timedelta(microseconds=rng.choice([0, -1, rng.randrange(-(5 * 10**16), 10**17)]))


def word(rng: random.Random) -> str:
    return rng.choice(["", "a", "é" * 40, "\U0010ffff" * 40, "~" * 33, "\x00", "Z" * rng.randrange(80)])


TYPES: dict[str, tuple[pa.DataType, Make, str]] = {
    "float": (
        pa.float64(),
        lambda r: r.choice([math.nan, math.inf, -math.inf, 0.0, -0.0, 5e-324, r.uniform(-2, 2)]),
        "DOUBLE",
    ),
    "small_float": (pa.float32(), lambda r: r.choice([math.nan, 0.0, -0.0, float(r.randrange(-9, 9))]), "FLOAT"),
    "integer": (pa.int64(), lambda r: r.choice([-(2**63), 2**63 - 1, r.randrange(-5, 5)]), "BIGINT"),
    "small": (pa.int32(), lambda r: r.choice([-(2**31), 2**31 - 1, r.randrange(-5, 5)]), "INTEGER"),
    "text": (pa.string(), word, "VARCHAR"),
    "bytes": (pa.binary(), lambda r: r.choice([b"", b"\x00", b"\xff" * 40, r.randbytes(3)]), "BLOB"),
    "day": (pa.date32(), lambda r: datetime.date(1, 1, 1) + datetime.timedelta(days=r.randrange(3_000_000)), "DATE"),
    "time": (pa.time64("us"), lambda r: moment(r).time(), "TIME"),
    "moment": (pa.timestamp("us"), moment, "TIMESTAMP"),
    "instant": (pa.timestamp("us", "UTC"), moment, "TIMESTAMPTZ"),
    "fine": (pa.timestamp("ns"), lambda r: r.randrange(-(10**15), 10**15), "TIMESTAMP_NS"),
    "money": (pa.decimal128(12, 2), lambda r: decimal.Decimal(r.randrange(-(10**11), 10**11)) / 100, "DECIMAL(12,2)"),
    "wide": (pa.decimal128(38, 9), lambda r: decimal.Decimal(r.randrange(-(10**30), 10**30)) / 10**9, "DECIMAL(38,9)"),
    "id": (pa.uuid(), lambda r: uuid.UUID(bytes=r.randbytes(16)).bytes, "UUID"),
    "yes": (pa.bool_(), lambda r: r.random() < 0.5, "BOOLEAN"),
}


def rows(kind: str, seed: int, count: int = 3000) -> pa.Table:
    """Rows whose values are spread unevenly, so that row groups have different bounds; some groups are all null."""
    rng, (dtype, make, _) = random.Random(f"{kind} {seed}"), TYPES[kind]
    values: list[object] = []
    while len(values) < count:
        few = [make(rng) for _ in range(rng.choice([1, 2, 50]))]
        values += [None if rng.random() < 0.1 else rng.choice(few) for _ in range(rng.choice([100, 500]))]
        values += [None] * rng.choice([0, 0, 500])
    if kind == "id":
        storage = pa.array(values[:count], pa.binary(16))
        return pa.table({"i": range(count), "x": pa.ExtensionArray.from_storage(dtype, storage)})
    return pa.table({"i": range(count), "x": pa.array(values[:count], dtype)})


@pytest.mark.parametrize("written", ["arrow", "copy"])
@pytest.mark.parametrize("kind", list(TYPES))
def test_conditions(tmp_path: Path, kind: str, written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "ROW_GROUP", 2048 if written == "copy" else 250)
    table, sql_type = rows(kind, 1, 9000 if written == "copy" else 3000), TYPES[kind][2]
    store = gm.open(str(tmp_path / "s"), create=True)
    main = store["main"]
    main.create_table("t", table.schema)
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        con.register("given", table)
        con.execute("CREATE TABLE t AS SELECT * FROM given")
        with store.engine.begin("main") as tx:
            tx.append("t", SqlSource(con, "SELECT * FROM t") if written == "copy" else table)
        some = con.execute("SELECT DISTINCT x::VARCHAR FROM t USING SAMPLE 12 ROWS (reservoir, 3)").fetchall()
        if kind == "bytes":
            some = con.execute("SELECT DISTINCT x FROM t").fetchall()[:9]
        snapshot = main.snapshot()
        for (value,) in some:
            literal = "NULL" if value is None else f"from_hex('{value.hex()}')" if kind == "bytes" else _quoted(value)
            for sign in ("<", "<=", "=", "<>", ">", ">=", "IS DISTINCT FROM"):
                for shape in ("x {} {}::{}", "NOT (x {} {}::{})"):
                    condition = shape.format(sign, literal, sql_type)
                    query = f"SELECT count(*) AS n, sum(i)::BIGINT AS s FROM t WHERE {condition}"
                    expected = con.sql(query).to_arrow_table().to_pylist()
                    assert snapshot.sql(query).to_pylist() == expected, query
        for query in ("SELECT count(*) AS n FROM t WHERE x IS NULL", "SELECT count(x) AS n FROM t"):
            assert snapshot.sql(query).to_pylist() == con.sql(query).to_arrow_table().to_pylist()
        bounds = "SELECT min(x)::VARCHAR AS a, max(x)::VARCHAR AS b FROM t"
        assert snapshot.sql(bounds).to_pylist() == con.sql(bounds).to_arrow_table().to_pylist()


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'" if "\x00" not in value else "chr(0)"
