"""Tables taken from elsewhere, and written elsewhere, by typing."""

import json
import sqlite3
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Type

AIRLINES = "carrier,name\nUA,United\nAA,American\n"


def test_a_file_becomes_a_table_and_a_repeat_changes_nothing(type_: Type) -> None:
    Path("airlines.csv").write_text(AIRLINES)
    said = type_("import", "ref.airlines", "airlines.csv", "--key", "carrier")
    assert "ref.airlines on main has 2 rows" in said.err
    assert "undo: gristmill revert " in said.err
    assert "already; nothing was written" in type_("import", "ref.airlines", "airlines.csv").err
    Path("airlines.csv").write_text("carrier,name\nUA,United Airlines\n")
    reply = json.loads(type_("import", "ref.airlines", "airlines.csv", "--json").out)
    assert (reply["event"], reply["rows"]) == ("imported", 1)
    type_(*reply["undo"].split()[1:])
    assert "American" in type_("sql", "select name from ref.airlines").out


def test_rows_can_be_added(type_: Type) -> None:
    Path("airlines.csv").write_text(AIRLINES)
    type_("import", "ref.airlines", "airlines.csv", "--key", "carrier")
    pq.write_table(pa.table({"carrier": ["AA", "DL"], "name": ["American Airlines", "Delta"]}), "more.parquet")
    type_("import", "ref.airlines", "more.parquet", "--add")
    found = type_("sql", "select carrier, name from ref.airlines order by 1").out
    assert "American Airlines" in found
    assert "United" in found
    assert "Delta" in found


def test_a_row_that_does_not_fit_stops_all_of_it_and_is_shown(type_: Type) -> None:
    Path("a.csv").write_text("id,n\n1,2\n2,3\n")
    type_("import", "ref.a", "a.csv", "--key", "id")
    Path("a.csv").write_text("id,n\n1,2\n2,many\n")
    said = type_("import", "ref.a", "a.csv", code=1)
    assert "GM-D124" in said.err
    assert "a.csv:3" in said.err
    assert "2,many" in said.err
    assert "2" in type_("sql", "select count(*) from ref.a").out


def test_what_is_computed_or_landed_is_not_imported_over(type_: Type) -> None:
    type_("run")
    Path("a.csv").write_text("id\n1\n")
    tables = [line.split()[0] for line in type_("show").out.splitlines() if "." in line.split(" ")[0]]
    assert tables
    for table in tables:
        assert "GM-U008" in type_("import", table, "a.csv", code=2).err


def test_a_branch_that_is_not_there_is_made(type_: Type) -> None:
    Path("airlines.csv").write_text(AIRLINES)
    type_("import", "ref.airlines", "airlines.csv", "--on", "try")
    assert "ref.airlines" not in type_("show").out
    assert "2" in type_("sql", "select count(*) from ref.airlines", "--at", "try").out


def test_no_such_file_is_a_usage_error(type_: Type) -> None:
    assert "there is no file" in type_("import", "ref.a", "nothing.csv", code=2).err


def test_a_folder_of_parquet_is_one_table(type_: Type) -> None:
    for day in (1, 2):
        Path(f"days/day={day}").mkdir(parents=True)
        pq.write_table(pa.table({"n": [day * 10]}), f"days/day={day}/part.parquet")
    type_("import", "ref.days", "days")
    assert "30" in type_("sql", "select sum(n + 0 * day) from ref.days").out


def test_an_iceberg_table_is_read_by_its_metadata(type_: Type) -> None:
    pyiceberg = pytest.importorskip("pyiceberg.catalog.memory")
    catalog = pyiceberg.InMemoryCatalog("c", warehouse=Path.cwd().as_uri())
    catalog.create_namespace("n")
    rows = pa.table({"id": [1, 2, 3]})
    table = catalog.create_table("n.t", rows.schema)
    table.append(rows)
    table.delete("id = 2")
    folder = Path(table.location().removeprefix("file://"))
    type_("import", "ref.t", str(folder))
    assert "4" in type_("sql", "select sum(id) from ref.t").out


def test_a_delta_table_is_read_by_its_log(type_: Type) -> None:
    deltalake = pytest.importorskip("deltalake")
    deltalake.write_deltalake("t", pa.table({"id": [1, 2, 3]}))
    deltalake.DeltaTable("t").delete("id = 2")
    type_("import", "ref.t", "t")
    assert "4" in type_("sql", "select sum(id) from ref.t").out


def test_export_to_a_database_says_when_there_was_nothing_to_do(type_: Type) -> None:
    Path("airlines.csv").write_text(AIRLINES)
    type_("import", "ref.airlines", "airlines.csv", "--key", "carrier")
    assert "2 rows" in type_("export", "ref.airlines", "sqlite:///out.db#airlines").err
    assert "nothing was written" in type_("export", "ref.airlines", "sqlite:///out.db#airlines").err
    reply = json.loads(type_("export", "ref.airlines", "sqlite:///out.db#airlines", "--json").out)
    assert (reply["changed"], reply["rows"]) == (False, 2)
    with sqlite3.connect("out.db") as connection:
        assert connection.execute("select count(*) from airlines").fetchall() == [(2,)]
    connection.close()
