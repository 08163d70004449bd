"""The verbs of contracts, quarantine and sources as they are typed, for people and for programs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Type

PROJECT = """
import gristmill as gm

project = gm.Project()
raw = project.source(
    "raw.r", gm.files("landing/r*.csv"), key="id",
    rules=[gm.rules.between("speed", high=200, on_fail="quarantine")],
)
"""


def events(text: str) -> list[dict[str, object]]:
    found = [json.loads(line) for line in text.splitlines()]
    assert all(next(iter(event)) == "v" for event in found)
    return found


@pytest.fixture
def aside(type_: Type) -> Iterator[Type]:
    """A source with one row set aside (line 3), among many."""
    Path("pipeline.py").write_text(PROJECT)
    rows = "".join(f"{n},{n % 50}\n" for n in range(3, 60))
    Path("landing/r1.csv").write_text(f"id,speed\n1,10\n2,900\n{rows}")
    type_("run")
    return type_


def only_id(type_: Type, status: str = "open") -> str:
    (row,) = events(type_("quarantine", "list", "raw.r", "--status", status, "--json").out)
    return str(row["id"])


def test_list_and_show(aside: Type) -> None:
    assert "raw.r  1 rows" in aside("quarantine", "list").out
    assert events(aside("quarantine", "list", "--json").out)[0]["rows"] == 1
    assert "landing/r1.csv:3  speed <= 200" in aside("quarantine", "list", "raw.r").out
    shown = aside("quarantine", "show", "raw.r", only_id(aside)[:6]).out
    assert "2,900" in shown
    assert "landing/r1.csv:3" in shown
    assert "GM-C030" in aside("quarantine", "show", "raw.r", "zzzz", code=2).err


def test_fix_takes_the_row(aside: Type) -> None:
    name = only_id(aside)
    assert "give --set" in aside("quarantine", "fix", "raw.r", name, "--because", "x", code=2).err
    (still,) = events(
        aside("quarantine", "fix", "raw.r", name, "--set", "speed=901", "--because", "x", "--json", code=1).out
    )
    assert (still["event"], still["taken"], len(still["still"])) == ("quarantine_retry", 0, 1)  # type: ignore[arg-type]
    (done,) = events(aside("quarantine", "fix", "raw.r", name, "--set", "speed=90", "--because", "x", "--json").out)
    assert (done["taken"], done["still"]) == (1, [])
    assert "90" in aside("sql", "select speed from raw.r where id = 2").out


def test_retry_and_drop(aside: Type) -> None:
    assert "still aside" in aside("quarantine", "retry", "raw.r", code=1).err
    (event,) = events(aside("quarantine", "retry", "raw.r", "--json", code=1).out)
    assert event["taken"] == 0
    (event,) = events(aside("quarantine", "drop", "raw.r", only_id(aside), "--because", "noise", "--json").out)
    assert (event["event"], event["rows"]) == ("quarantine_drop", 1)
    assert "no open rows" in aside("quarantine", "list", "raw.r").err
    assert "noise" in aside("quarantine", "show", "raw.r", only_id(aside, "dropped")).out


def test_add_and_its_undo(aside: Type) -> None:
    assert "nothing was set aside" in aside("quarantine", "add", "raw.r", "--where", "id = 999", "--because", "x").err
    said = aside("quarantine", "add", "raw.r", "--where", "id = 4", "--because", "wrong station").err
    undo = next(line for line in said.splitlines() if line.startswith("undo: gristmill "))
    assert "0" in aside("sql", "select count(*) from raw.r where id = 4").out
    aside(*undo.removeprefix("undo: gristmill ").split())
    (event,) = events(aside("quarantine", "add", "raw.r", "--where", "id = 4", "--because", "x", "--json").out)
    assert (event["event"], event["rows"]) == ("quarantine_add", 1)


def test_released_units_land_again(aside: Type) -> None:
    aside("revert", "main")
    assert "held" in aside("source", "list", "raw.r").out
    (event,) = events(aside("source", "release", "raw.r", "--json").out)
    assert (event["event"], event["units"]) == ("source_release", ["landing/r1.csv"])
    assert "published" in aside("run").err


def test_contract_verbs(aside: Type) -> None:
    assert "wrote contracts/mine.yaml" in aside("contract", "infer", "raw.r", "--out", "contracts/mine.yaml").err
    assert "is there already" in aside("contract", "infer", "raw.r", "--out", "contracts/mine.yaml", code=2).err
    aside("contract", "infer", "raw.r", "--out", "contracts/mine.yaml", "--force")
    assert "raw.r" in aside("contract", "show", "contracts/mine.yaml").out
    assert events(aside("contract", "show", "contracts/mine.yaml", "--json").out)
    assert "valid" in aside("contract", "check", "contracts/mine.yaml").out
    Path("contracts/bad.yaml").write_text("apiVersion: v3.1.0\nkind: DataContract\n")
    good, bad = events(aside("contract", "check", "contracts/mine.yaml", "contracts/bad.yaml", "--json", code=1).out)
    assert (good["valid"], bad["valid"]) == (True, False)
    assert str(bad["where"]).startswith("contracts/bad.yaml:")


def test_explain_for_programs(type_: Type) -> None:
    (event,) = events(type_("explain", "GM-C001", "--json").out)
    assert event["code"] == "GM-C001"
    assert len(events(type_("explain", "--json").out)) > 50


def test_one_bad_cell_among_numbers_is_named_with_the_way_to_set_it_aside(type_: Type) -> None:
    Path("pipeline.py").write_text(PROJECT)
    rows = "".join(f"{n},{n}.5\n" for n in range(3, 60))
    Path("landing/r1.csv").write_text(f"id,speed\n1,10.5\n2,lots\n{rows}")
    said = type_("run").err
    assert "speed is text, and not double, because of landing/r1.csv:3: 'lots'" in said
    assert 'types={"speed": "double"}' in said
    Path("pipeline.py").write_text(PROJECT.replace('r*.csv")', 'r*.csv", types={"speed": "double"})'))
    type_("revert", "main")
    type_("source", "release", "raw.r")
    type_("run")
    assert "landing/r1.csv:3" in type_("quarantine", "list", "raw.r").out
    assert "double" in type_("show", "raw.r").err


def test_a_file_that_is_gone_is_said_even_when_nothing_else_is_new(aside: Type) -> None:
    Path("landing/r1.csv").unlink()
    assert "gone from its source: landing/r1.csv" in aside("plan").err
    assert "gone from its source, rows kept: landing/r1.csv" in aside("run").err
    assert "gone from its source, rows kept: landing/r1.csv" in aside("run").err  # without loading the project too
    Path("landing/r1.csv").write_text("id,speed\n1,1\n")
    aside("run")
    assert "gone" not in aside("plan").err


def test_an_empty_file_is_called_empty(type_: Type) -> None:
    Path("pipeline.py").write_text(PROJECT)
    Path("landing/r1.csv").write_text("")
    assert "landing/r1.csv: the file is empty" in type_("plan").out
    assert "landing/r1.csv: the file is empty" in type_("run").err
    Path("landing/r1.csv").unlink()
    assert "nothing has arrived yet" in type_("plan").out


def test_a_first_file_that_cannot_be_read_is_an_error_and_no_wait(type_: Type) -> None:
    Path("pipeline.py").write_text(PROJECT.replace("csv", "parquet"))
    Path("landing/r1.parquet").write_bytes(b"PAR1 is not enough")
    assert "cannot be read" in type_("plan").out
    said = type_("run", code=1).err
    assert "landing/r1.parquet" in said


def test_a_reserved_column_name_names_its_file(type_: Type) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    Path("pipeline.py").write_text(PROJECT.replace("csv", "parquet").replace('key="id",', "").replace("speed", "id"))
    pq.write_table(pa.table({"id": [1]}), "landing/r1.parquet")
    pq.write_table(pa.table({"id": [1], "_row_id": [1]}), "landing/r2.parquet")
    said = type_("run", code=1).err
    assert "GM-S102" in said
    assert "landing/r2.parquet" in said


@pytest.mark.parametrize("how", ["cut", "emptied", "gone", "zeroed"])
def test_a_damaged_data_file_is_called_so_by_every_reader(type_: Type, how: str) -> None:
    Path("pipeline.py").write_text(PROJECT)
    Path("landing/r1.csv").write_text("id,speed\n" + "".join(f"{n},{n % 150}\n" for n in range(40_000)))
    type_("run")
    (file,) = [path for path in Path(".gristmill").rglob("*.parquet") if path.stat().st_size > 10_000]
    whole = file.read_bytes()
    file.unlink()
    if how != "gone":
        kept = {"cut": whole[: len(whole) // 2], "emptied": b"", "zeroed": whole[:50] + bytes(len(whole) - 50)}
        file.write_bytes(kept[how])
    for words in (["sql", "select sum(id), sum(speed) from raw.r"], ["show", "raw.r"], ["export", "raw.r", "out.csv"]):
        said = type_(*words, code=3).err
        assert "GM-S005" in said
        assert file.name in said
        assert "gristmill doctor" in said
