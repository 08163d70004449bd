"""The verbs, in the order of the help, and how one is found, run, and its errors shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from gristmill._version import __version__
from gristmill.errors import EngineError, GristmillError, UsageError

TEN = {
    "init": "make a new project",
    "plan": "show what a run would do, and why",
    "run": "bring a branch up to date: land, compute, check, publish",
    "check": "check tables, or a file, against their rules",
    "show": "show a table, a run, or what the project defines",
    "sql": "query tables at any commit",
    "log": "list commits, or those that changed a table",
    "diff": "compare two commits, branches or runs",
    "revert": "undo a commit; its units stay away until released",
    "trace": "follow rows back to their source lines, or forward",
}

GROUPS: dict[str, dict[str, str]] = {
    "Work": {
        "preview": "compute a few rows of a table, commit nothing",
        "test": "run the project's definitions on rows from a file",
        "publish": "publish a run that was kept aside",
        "source": "list a source's units; release or land them again",
        "runs": "list runs",
    },
    "Branches": {
        "branch": "list, make, rename or delete branches",
        "tag": "list, make or delete tags",
        "hold": "keep a commit alive, or let it go",
        "merge": "merge a branch into another",
        "cherry-pick": "make the change of one commit on another branch",
        "restore": "make a branch equal to an earlier commit",
    },
    "Quality": {
        "contract": "infer, show or check contracts",
        "quarantine": "list, show, fix, retry or drop rows set aside",
    },
    "Streams": {
        "stream": "follow streams, batch after batch",
        "parity": "prove that stored tables are what their definitions give",
        "schedule": "list schedules, start runs when they are due, or write them for another scheduler",
    },
    "Root cause": {"blame": "say which commit last set each cell of a row"},
    "Interop": {
        "import": "take a table from elsewhere into the store",
        "export": "write a table at any commit to a file or database",
    },
    "Upkeep": {
        "status": "one screen: what needs a person (exit 1 if anything does)",
        "maintain": "compact, collect garbage",
        "doctor": "verify the store, name and repair damage",
        "explain": "say what an error code means",
        "demo": "run the tour on real flights",
    },
}

VERBS = {**TEN, **{name: words for group in GROUPS.values() for name, words in group.items()}}


class Verbs(click.Group):
    """A group that imports a verb's module only when the verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import and return one verb."""
        if name not in VERBS:
            return None
        module = import_module(f"gristmill.cli.verbs.{'import_' if name == 'import' else name.replace('-', '_')}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; an unknown one gets a suggestion."""
        from gristmill.errors import did_you_mean

        if args and args[0] not in VERBS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], list(VERBS)) or "see `gristmill --help`"
            raise click.UsageError(f"no command `{args[0]}`\n\nhint: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the ten verbs with a line each, the others by group."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(TEN.items()))
        with formatter.section("More"):
            formatter.write_dl([(group, "  ".join(names)) for group, names in GROUPS.items()])


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`gristmill VERB --help` shows one verb with an example.",
)
@click.version_option(__version__, message="gristmill %(version)s")
def cli() -> None:
    """Raw data in, training sets out, every row traceable.

    \b
    gristmill init shop && cd shop && gristmill run
    """


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 a check said no, 2 usage, 3 environment, 4 conflict."""
    json_wanted = "--json" in (arguments if arguments is not None else sys.argv)
    try:
        result = cli.main(
            args=list(arguments) if arguments is not None else None, prog_name="gristmill", standalone_mode=False
        )
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        if json_wanted:
            _show_json(UsageError(error.format_message()))
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        click.echo("stopped", err=True)
        return 130
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - the reader has gone; nothing left to say
        return 0
    except GristmillError as error:
        _show(error, json_wanted)
        return error.exit_code
    except OSError as error:
        if os.environ.get("GRISTMILL_DEBUG"):
            raise
        known = _of_the_system(error)
        _show(known, json_wanted)
        return known.exit_code
    except Exception as error:
        if os.environ.get("GRISTMILL_DEBUG"):
            raise
        _show(_unexpected(error), json_wanted)
        return 3
    return result if isinstance(result, int) else 0


def _of_the_system(error: OSError) -> GristmillError:
    """Say what the operating system refused, and of which file; without a file nobody foresaw it."""
    if error.filename is None:
        return _unexpected(error)
    return EngineError(error.strerror or str(error), code="GM-E001", where=str(error.filename))


def _unexpected(error: Exception) -> GristmillError:
    """Wrap an error that nobody foresaw, with the line that raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else None
    words = str(error).splitlines()[0] if str(error) else ""
    hint = "GRISTMILL_DEBUG=1 shows the whole trace; please report it"
    return GristmillError(f"{type(error).__name__}: {words}", code="GM-X001", where=where, hint=hint)


def _show(error: GristmillError, json_wanted: bool) -> None:
    if json_wanted:
        _show_json(error)
    click.echo(f"error: {error}", err=True)


def _show_json(error: GristmillError) -> None:
    import json

    click.echo(json.dumps({"v": 1, "event": "error", **error.as_dict(), "exit_code": error.exit_code}))
