"""The verbs that tend the store: hold, merge, restore, maintain, doctor."""

import json
from pathlib import Path

import pyarrow as pa

import gristmill as gm
from tests.cli.conftest import Type


def table(rows: int = 3) -> None:
    with gm.open(".gristmill", create=True, compact="off") as store:
        main = store["main"]
        main.create_table("t", pa.schema({"a": pa.int64()}), key="a")
        for number in range(rows):
            main["t"].append({"a": [number]})


def test_hold(type_: Type) -> None:
    table()
    said = type_("hold", "audit", "--at", "main~1", "--because", "numbers")
    assert "undo: gristmill hold audit --release" in said.err
    assert "audit" in type_("hold").out
    assert json.loads(type_("hold", "--json").out)["reason"] == "numbers"
    undo = type_("hold", "audit", "--release").err.split("undo: gristmill ")[1].replace('"', "").split()
    type_(*undo)
    assert json.loads(type_("hold", "--json").out)["name"] == "audit"
    type_("hold", "nope", "--release", code=2)


def test_merge_and_restore(type_: Type) -> None:
    table()
    type_("branch", "fix")
    with gm.open(".gristmill") as store:
        store["fix"]["t"].append({"a": [10]})
        store["main"]["t"].append({"a": [11]})
    said = type_("merge", "fix")
    with gm.open(".gristmill") as store:
        assert len(store["main"]["t"]) == 5
    assert "nothing to do" in type_("merge", "fix").err
    type_(*said.err.split("undo: gristmill ")[1].split())
    with gm.open(".gristmill") as store:
        assert len(store["main"]["t"]) == 4
        store["fix"]["t"].upsert({"a": [11]})
        store["main"]["t"].delete(where="a = 11")
        store["fix"].create_table("u", pa.schema({"a": pa.int64()}))
        store["main"].create_table("u", pa.schema({"a": pa.int64()}))
    assert "try:" in type_("merge", "fix", code=4).err
    assert json.loads(type_("restore", "main~1", "t", "--json").out)["tables"] == ["t"]
    type_("restore", "main", "nope", code=2)


def test_cherry_pick_and_the_moves_of_a_branch(type_: Type) -> None:
    table()
    type_("branch", "fix")
    with gm.open(".gristmill") as store:
        store["fix"]["t"].append({"a": [10]}, message="wanted")
        store["fix"]["t"].append({"a": [11]}, message="not wanted")
        store["main"]["t"].append({"a": [12]})
    said = type_("cherry-pick", "fix~1")
    assert '"wanted"' in said.err
    assert json.loads(type_("cherry-pick", "fix~1", "--json").out)["branch"] == "main"
    assert "holds that already" in type_("cherry-pick", "fix~1").err
    with gm.open(".gristmill") as store:
        assert sorted(store["main"]["t"].to_arrow().column("a").to_pylist()) == [0, 1, 2, 10, 12]
    type_(*said.err.split("undo: gristmill ")[1].split())
    type_("branch", "fix", "--delete")
    moves = [json.loads(line) for line in type_("branch", "fix", "--moves", "--json").out.splitlines()]
    assert [move["reason"] for move in moves] == ["delete", "not wanted", "wanted", "create at main"]
    assert moves[0]["before"][:7] in type_("branch", "fix", "--moves").out
    type_("branch", "nope", "--moves", code=2)
    type_("cherry-pick", "nope", code=2)


def test_maintain_and_doctor(type_: Type) -> None:
    table(40)
    assert json.loads(type_("maintain", "--json").out.splitlines()[0])["after"] == 1
    said = type_("maintain", "--grace", "0")
    assert "removed" in said.err
    assert "all is well" in type_("doctor").err
    file = next(Path(".gristmill/data").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-1])
    said = type_("doctor", "--quick", code=1)
    assert "lost: 40 rows of table `t` of branch `main`" in said.out
    lines = [json.loads(line) for line in type_("doctor", "--json", code=1).out.splitlines()]
    assert lines[-1]["healthy"] is False
