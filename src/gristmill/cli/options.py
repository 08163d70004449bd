"""Options that many verbs share, and the objects they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from gristmill.api.project import Project
    from gristmill.api.results import PlanResult
    from gristmill.define import Settings
    from gristmill.store import Store

F = TypeVar("F", bound=Callable[..., Any])


def project_options(function: F) -> F:
    """Add ``--project`` and ``--env``."""
    function = click.option("--env", "environment", metavar="NAME", help="use the settings of [env.NAME]")(function)
    return click.option(
        "--project",
        "folder",
        type=click.Path(file_okay=False, path_type=Path),
        metavar="DIR",
        help="the project's folder; default: here or above",
    )(function)


def on_option(function: F) -> F:
    """Add ``--on``."""
    return click.option(
        "--on", metavar="BRANCH", shell_complete=_complete_branch, help="the branch; default: GRISTMILL_BRANCH or main"
    )(function)


def at_option(function: F) -> F:
    """Add ``--at``."""
    return click.option(
        "--at", metavar="REF", shell_complete=_complete_branch, help="branch, tag, commit, main~2, main@2026-11-01"
    )(function)


def json_option(function: F) -> F:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="one JSON object per line on stdout")(function)


def find_root(folder: Path | None) -> Path:
    """Return the project's folder."""
    from gristmill.define.load import find_root as find

    return find(folder)


def open_project(folder: Path | None, environment: str | None = None) -> Project:
    """Load the project, which runs its code."""
    from gristmill.api.project import Project

    return Project.load(find_root(folder), environment=environment)


def open_store(folder: Path | None, environment: str | None = None) -> tuple[Store, Settings]:
    """Open the project's store without running project code."""
    from gristmill.define.settings import read_settings
    from gristmill.store import open_store as open_at

    root = find_root(folder)
    settings = read_settings(root, environment=environment)
    url = settings.store.url
    return open_at(url if "://" in url else str(root / url), create=True, data=settings.store.data), settings


def find_unchanged(
    folder: Path | None, environment: str | None, *, on: str | None, params: dict[str, object], select: tuple[str, ...]
) -> PlanResult | None:
    """Return the empty plan where nothing has changed since the last one; the project is not loaded for it."""
    from gristmill.api.project import up_to_date

    store, settings = open_store(folder, environment)
    branch = branch_of(settings, on)
    return up_to_date(find_root(folder), store, settings, on=branch, params=params, select=select)


def branch_of(settings: Settings, on: str | None) -> str:
    """Return the branch a verb works on."""
    from gristmill.define.settings import branch_of as branch

    return branch(settings, on)


def complete_table(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Complete a table's name from the store."""
    try:
        store, settings = open_store(ctx.params.get("folder"))
        return [name for name in store.snapshot(settings.project.branch).tables() if name.startswith(incomplete)]
    except Exception:  # completion stays silent
        return []


def _complete_branch(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        store, _ = open_store(ctx.params.get("folder"))
        return [name for name in (*store.branches(), *store.tags()) if name.startswith(incomplete)]
    except Exception:  # completion stays silent
        return []


def parse_parameters(pairs: tuple[str, ...]) -> dict[str, object]:
    """Turn ``--param depth=6`` into values: numbers, true/false, else text."""
    import json

    found: dict[str, object] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--param {pair}: write NAME=VALUE")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
