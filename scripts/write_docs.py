"""Write the generated pages: docs/cli.md from the real help, docs/python.md from the docstrings, tables of rules."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path

import click

import gristmill
from gristmill.algebra.delta.table import as_markdown as incremental
from gristmill.algebra.semantics import as_markdown
from gristmill.cli.app import GROUPS, TEN, cli

DOCS = Path(__file__).parents[1] / "docs"


def command_line() -> str:
    """Return the page of the command line."""
    lines = ["# Command line", "", "Written by `make docs` from the program's own help.", ""]
    lines += ["Completion, with the names of tables and branches, in bash (zsh and fish likewise):", ""]
    lines += ["```text", 'eval "$(_GRISTMILL_COMPLETE=bash_source gristmill)"', "```", ""]
    context = click.Context(
        cli, info_name="gristmill", max_content_width=100, terminal_width=100, help_option_names=["-h", "--help"]
    )
    lines += ["```text", cli.get_help(context), "```", ""]
    for name in [*TEN, *(verb for group in GROUPS.values() for verb in group)]:
        command = cli.get_command(context, name)
        assert command is not None
        lines += _command(command, name, context)
    return "\n".join(lines).rstrip() + "\n"


def _command(command: click.Command, name: str, parent: click.Context) -> list[str]:
    context = click.Context(command, info_name=name, parent=parent, max_content_width=100, terminal_width=100)
    lines = [f"## {context.command_path}", "", "```text", command.get_help(context), "```", ""]
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            assert found is not None
            lines += [line.replace("## ", "### ", 1) for line in _command(found, child, context)]
    return lines


def python() -> str:
    """Return the page of the Python names at the package's root."""
    lines = ["# Python", "", "Written by `make docs` from the docstrings. `import gristmill as gm`.", ""]
    for name in gristmill.__all__:
        if name.startswith("_"):
            continue
        value = getattr(gristmill, name)
        if inspect.ismodule(value):
            lines += [f"## gm.{name}", "", *_text(value)]
            for inner, member in sorted(vars(value).items()):
                if inspect.isfunction(member) and not inner.startswith("_") and member.__module__ == value.__name__:
                    lines += [f"### gm.{name}.{inner}{_signature(member)}", "", *_text(member)]
        elif inspect.isclass(value):
            lines += [f"## gm.{name}", "", *_text(value)]
            for inner, member in inspect.getmembers(value):
                if not inner.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                    signature = "" if isinstance(member, property) else _signature(member)
                    lines += [f"### {name}.{inner}{signature}", "", *_text(member)]
        else:
            lines += [f"## gm.{name}{_signature(value)}", "", *_text(value)]
    return "\n".join(lines).rstrip() + "\n"


def _signature(value: Callable[..., object]) -> str:
    """Return a signature in which functions given as defaults are written by name."""
    return re.sub(r"<function (\w+) at 0x[0-9a-f]+>", r"\1", str(inspect.signature(value)))


def _text(value: object) -> list[str]:
    return ["```text", inspect.getdoc(value) or "", "```", ""]


PAGES = {"cli.md": command_line, "incremental.md": incremental, "python.md": python, "semantics.md": as_markdown}


def main() -> int:
    """Write every page; with --check only say whether they are current."""
    stale = []
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    print(f"written: {', '.join(stale) or 'nothing, all are current'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    raise SystemExit(main())
