"""Which names tables, branches and tags may have."""

from __future__ import annotations

import re

from gristmill.errors import UsageError

_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]*(/[A-Za-z0-9_][A-Za-z0-9._+-]*)*")
_HASH = re.compile(r"[0-9a-f]{64}")


def check_table_name(name: str) -> str:
    """Return the name if a table may be called so.

    A name is parts of ASCII letters, digits and underscores joined by dots. Names that begin with an underscore
    belong to the system, such as ``_quarantine.raw.weather``.

    >>> check_table_name("clean.flights")
    'clean.flights'
    """
    if len(name) > 200 or not _TABLE.fullmatch(name):
        raise UsageError(
            f"a table cannot be called {name!r}",
            code="GM-U110",
            hint="use letters, digits and underscores, in parts joined by dots, such as `raw.flights`",
        )
    return name


def is_system_table(name: str) -> bool:
    """Whether the table belongs to the system and is left out of listings.

    >>> is_system_table("_quarantine.raw.weather")
    True
    """
    return name.startswith("_")


def shown(name: str) -> bool:
    """Whether a person should see changes of the table: not where it only holds partial results of another one.

    >>> shown("_quarantine.raw.weather"), shown("_state.marts.daily.p1")
    (True, False)
    """
    return not name.startswith("_state.")


def check_branch_name(name: str) -> str:
    """Return the name if a branch or tag may be called so.

    >>> check_branch_name("run/17")
    'run/17'
    """
    fits = len(name) <= 200 and _BRANCH.fullmatch(name) and ".." not in name and not _HASH.fullmatch(name)
    if not fits:
        raise UsageError(
            f"a branch or tag cannot be called {name!r}",
            code="GM-U111",
            hint="use letters, digits, `-`, `_`, `.` and `/`, such as `fix/prices`",
        )
    return name


def quote(name: str) -> str:
    """Return a name as one quoted SQL identifier; a quote inside it is doubled.

    >>> quote("clean.flights")
    '"clean.flights"'
    """
    return '"' + name.replace('"', '""') + '"'
