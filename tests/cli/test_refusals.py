"""A refusal is never a dead end: every command that it prints does what it says."""

import re
import shlex
from pathlib import Path

from .conftest import Type


def _rule(old: str, new: str) -> None:
    text = Path("pipeline.py").read_text()
    assert old in text
    Path("pipeline.py").write_text(text.replace(old, new))


def _command(text: str, label: str) -> list[str]:
    (line,) = re.findall(rf"^ {label}: gristmill (.*)$", text, re.MULTILINE)
    return [word.replace("...", "typing errors") for word in shlex.split(line)]


def test_rows_of_a_refused_delivery_are_set_aside_by_the_printed_command(type_: Type) -> None:
    _rule('orders.csv")', 'orders.csv"), rules=[gm.rules.between("amount", high=20)]')
    refused = type_("run", code=1).err
    type_(*_command(refused, "see"))
    said = type_(*_command(refused, "set aside"))
    assert "published main" in said.err
    assert "landing/orders.csv:4" in type_("quarantine", "list", "raw.orders").out
    assert "typing errors" in type_("log").out
    assert "nothing to do" in type_("run").err


def test_rows_that_are_stored_already_say_since_when_and_are_set_aside(type_: Type) -> None:
    type_("run")
    head = type_("log", "--json").out
    _rule('orders.csv")', 'orders.csv"), rules=[gm.rules.between("amount", high=20)]')
    refused = type_("run", code=1).err
    (since,) = re.findall(r"there are such rows since (\w{7})", refused)
    assert since in head
    command = _command(refused, "set aside")
    assert command[:3] == ["quarantine", "add", "raw.orders"]
    assert "1 row" in type_(*command).err
    assert "published main" in type_("run").err
    assert "typing errors" in type_("quarantine", "list", "raw.orders").out


def test_only_what_was_refused_can_be_set_aside(type_: Type) -> None:
    _rule('orders.csv")', 'orders.csv"), rules=[gm.rules.between("amount", high=20)]')
    type_("run", code=1)
    said = type_("publish", "run/1", "--set-aside", "between:amont@raw.orders", "--because", "x", code=2)
    assert "GM-U030" in said.err
    assert "between:amount@raw.orders" in said.err
    type_("publish", "run/1", "--set-aside", "between:amount@raw.orders", code=2)


def test_rows_of_a_computed_table_are_set_aside_and_the_next_run_leaves_it(type_: Type) -> None:
    _rule("reads=[raw_orders])", 'reads=[raw_orders], rules=[gm.rules.between("amount", high=20)])')
    refused = type_("run", code=1).err
    assert "blocked  clean.orders   rule amount <= 20" in refused
    assert "first seen in this run" in refused
    type_(*_command(refused, "set aside"))
    assert "clean.orders  1 rows" in type_("quarantine", "list").out
    assert "nothing to do" in type_("run").err


def test_a_changed_rule_of_a_computed_table_says_since_when_there_are_such_rows(type_: Type) -> None:
    type_("run")
    _rule("reads=[raw_orders])", 'reads=[raw_orders], rules=[gm.rules.between("amount", high=20)])')
    refused = type_("run", code=1).err
    assert "there are such rows since" in refused
    assert _command(refused, "set aside")[0] == "publish"
    type_(*_command(refused, "set aside"))
    assert "clean.orders  1 rows" in type_("quarantine", "list").out
