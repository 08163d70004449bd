"""``gristmill stream --replay`` on the command line."""

import json
from pathlib import Path

from tests.cli.conftest import Type

PIPELINE = """
import gristmill as gm
project = gm.Project()
types = {"k": "string", "x": "int64"}
events = project.source("raw.ev", gm.tail("in/*.ndjson", types=types))

@project.table("marts.k", reads=[events], key="k")
def per_k(rows):
    return rows.group_by("k").agg(x=rows.x.sum())
"""


def test_a_replay_says_how_tables_differ_and_swaps_them_in(type_: Type) -> None:
    Path("pipeline.py").write_text(PIPELINE)
    Path("in").mkdir()
    Path("in/a.ndjson").write_text('{"k": "a", "x": 1}\n{"k": "b", "x": 2}\n')
    type_("stream", "--until-end")
    shown = type_("stream", "--replay")
    assert "the same rows" in shown.out
    assert "gristmill stream --replay --swap" in shown.err
    told = [json.loads(line) for line in type_("stream", "--replay", "--swap", "--json").out.splitlines()]
    assert told[-1]["swapped"] is True
    assert told[-1]["equal"] is True
    assert "belong to --replay" in type_("stream", "--swap", code=2).err
