"""``gristmill.toml``: the project's name, modules, store, environments and notifications."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from gristmill.errors import DefinitionError, UsageError, did_you_mean

FILE_NAME = "gristmill.toml"


class ProjectSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[project]`` table."""

    name: str = ""
    modules: tuple[str, ...] = ("pipeline",)
    branch: str = "main"


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[store]`` table; ``url`` is relative to the project, ``data`` a place for Parquet files elsewhere."""

    url: str = ".gristmill"
    data: str | None = None


class RunSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[run]`` table: memory of the whole process in GiB, threads, worker processes, where large tables are
    computed (in this process, or on a pool of worker processes), retries, the largest share of rows that may be set
    aside, and the share of keys of each followed table that is computed again in full."""

    memory_gib: float | None = None
    threads: int | None = None
    workers: int | None = None
    executor: Literal["process", "pool"] = "process"
    retries: int = 2
    max_quarantine: float = 0.05
    parity: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.parity <= 1:
            raise ValueError("parity is a share of keys, between 0 and 1")


class NotifySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ``[notify]`` table; ``url`` is ``env:NAME``, as every secret."""

    url: str | None = None


class ScheduleSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``[schedule.NAME]`` table: when to run what.

    Args:
        cron: five fields, as in crontab.
        zone: the time zone that ``cron`` is meant in, such as ``Europe/Berlin``.
        on_commit: tables; a commit that changes one of them starts a run.
        on_file: whether something new in a source starts a run.
        fresh: by table, how old its last good run may be, such as ``2h``.
        select: selectors of what to run; empty means everything.
        on: the branch.
        catch_up: what happens to times that passed while nothing ran: ``once`` (one run for all of them), ``all``
            (one for each) or ``skip``.
        timeout: how long a run may take; it is stopped after that.
        retries: how often a run is tried again that broke off (a refusal is not tried again).
    """

    cron: str | None = None
    zone: str = "UTC"
    on_commit: tuple[str, ...] = ()
    on_file: bool = False
    fresh: dict[str, str] = {}
    select: tuple[str, ...] = ()
    on: str | None = None
    catch_up: Literal["once", "all", "skip"] = "once"
    timeout: str | None = None
    retries: int = 0


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of a project, one environment's overrides applied.

    >>> Settings().store.url
    '.gristmill'
    """

    project: ProjectSettings = ProjectSettings()
    store: StoreSettings = StoreSettings()
    run: RunSettings = RunSettings()
    notify: NotifySettings = NotifySettings()
    schedule: dict[str, ScheduleSettings] = {}
    environment: str = ""


def read_settings(root: Path, *, environment: str | None = None) -> Settings:
    """Read ``gristmill.toml`` in ``root``; a folder without one gets the defaults.

    Args:
        root: the project's folder.
        environment: name of an ``[env.NAME]`` table whose keys override the rest.

    Raises DefinitionError where the file is not valid, naming line or key.
    """
    path = root / FILE_NAME
    raw: dict[str, object] = {}
    if path.is_file():
        try:
            raw = tomllib.loads(path.read_text(encoding="utf-8"))
        except tomllib.TOMLDecodeError as error:
            raise DefinitionError(f"{FILE_NAME} is not valid TOML: {error}", code="GM-P006", where=str(path)) from error
    environments = raw.pop("env", {})
    if environment:
        raw = _with_environment(raw, environments, environment)
    try:
        return msgspec.convert({**raw, "environment": environment or ""}, Settings)
    except msgspec.ValidationError as error:
        raise DefinitionError(
            f"{FILE_NAME}: {str(error)[0].lower()}{str(error)[1:]}",
            code="GM-P006",
            where=str(path),
            hint="known tables: [project] name modules branch, [store] url data, [run] memory_gib threads "
            "workers executor retries max_quarantine parity, [notify] url, [schedule.NAME], [env.NAME]",
        ) from error


def _with_environment(raw: dict[str, object], environments: object, name: str) -> dict[str, object]:
    known = environments if isinstance(environments, dict) else {}
    if name not in known:
        raise UsageError(
            f"{FILE_NAME} has no [env.{name}]",
            code="GM-U003",
            hint=did_you_mean(name, list(known)) or f"known: {', '.join(known) or 'none'}",
        )
    merged = dict(raw)
    for table, values in known[name].items():
        base = merged.get(table, {})
        merged[table] = {**base, **values} if isinstance(base, dict) and isinstance(values, dict) else values
    return merged


def branch_of(settings: Settings, on: str | None, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return the branch a verb works on: ``--on``, else GRISTMILL_BRANCH, else the settings.

    >>> branch_of(Settings(), None, environ={"GRISTMILL_BRANCH": "dev"})
    'dev'
    """
    return on or environ.get("GRISTMILL_BRANCH") or settings.project.branch
