"""Connections to databases: a URL, ``env:NAME``, or a function of the user's; and errors without secrets.

PostgreSQL is read as text by COPY (see ``pg_read``), DuckDB and ADBC as Arrow (``arrow_read``), every other DB-API
driver row by row (``row_read``). A URL opens a database for reading only, wherever the driver can.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from gristmill.errors import EngineError, GristmillError, UsageError, did_you_mean

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.connect.values import Column

SCHEMES = ("postgresql", "postgres", "sqlite", "duckdb")
Opener = Callable[[], object]


class Typed(NamedTuple):
    """Some rows of a result: typed columns, the rows that do not fit and why, and how to show a row as text."""

    columns: dict[str, pa.Array]
    rows: int
    wrong: dict[int, tuple[str, str]]
    shown: Callable[[int], dict[str, object]]


class Session(Protocol):
    """An open connection that one query at a time is sent to."""

    def columns(self, sql: str) -> tuple[list[Column], list[str]]:
        """Return the columns of a query, and what was assumed of them, in words."""
        ...

    def names(self, sql: str) -> list[str]:
        """Return the names of a query's columns without reading its rows."""
        ...

    def row(self, sql: str) -> tuple[object, ...]:
        """Return the only row of a query; moments and decimals as text."""
        ...

    def typed(self, sql: str, types: dict[str, pa.DataType]) -> Iterator[Typed]:
        """Return a query's rows as these types, some thousands at a time."""
        ...

    def quoted(self, name: str) -> str:
        """Return a column's name as SQL."""
        ...

    def close(self) -> None:
        """Let the connection go."""
        ...


def resolved(connection: str) -> str:
    """Return the URL that a connection text stands for.

    Raises:
        UsageError: the environment variable is not set, or the scheme is not known.
    """
    url = connection
    if connection.startswith("env:"):
        name = connection[4:]
        url = os.environ.get(name, "")
        if not url:
            raise UsageError(f"the environment variable {name} is not set", hint=f"export {name}=postgresql://...")
    scheme = url.partition("://")[0].partition("+")[0]
    if "://" not in url or scheme not in SCHEMES:
        raise UsageError(
            f"`{redacted(url)}` is no database that a URL can name",
            hint=did_you_mean(scheme, SCHEMES)
            or "use postgresql://, sqlite:///, duckdb:///, or a function that returns an ADBC or DB-API connection",
        )
    return url


def redacted(text: str) -> str:
    """Return a text with the passwords of all URLs in it, and their query strings, taken out.

    >>> redacted("postgresql://ana:secret@db/shop?sslmode=require")
    'postgresql://ana:***@db/shop?***'
    """
    text = re.sub(r"(\w+://[^\s/:@]*):[^\s/]*@", r"\1:***@", text)
    text = re.sub(r"(\w+://[^\s?]+)\?\S+", r"\1?***", text)
    return re.sub(r"(?i)\b(password|token|secret)=('[^']*'|\S+)", r"\1=***", text)


def without(text: str, url: str) -> str:
    """Return a driver's message without the password of the URL that it was given, and on one line."""
    parts = urlsplit(url) if "://" in url else None
    if parts is not None and parts.password:
        text = text.replace(parts.password, "***").replace(unquote(parts.password), "***")
    lines = [line.strip() for line in redacted(text).splitlines() if line.strip()]
    return "; ".join(lines[:3])[:400]


def has_secret(connection: str) -> bool:
    """Whether a connection text holds a password or options, so that it must not be written down."""
    return redacted(connection) != connection


def file_of(url: str, root: Path) -> str:
    """Return the path of a database file; a relative one starts at ``root``."""
    rest = url.partition("://")[2].partition("?")[0].partition("#")[0]
    path = unquote(rest.removeprefix("/") if rest.startswith("/") else rest)
    if not path or path == ":memory:":
        raise UsageError(f"{url} names no file", hint="sqlite:///folder/shop.db, or sqlite:////from/the/root.db")
    return str(root / path)


@contextmanager
def speaking(connection: str, what: str) -> Iterator[None]:
    """Turn whatever a driver raises into an error that names the connection and keeps its secrets."""
    try:
        yield
    except (GristmillError, GeneratorExit, KeyboardInterrupt):
        raise
    except Exception as error:
        name = type(error).__name__
        retry = name in ("OperationalError", "InterfaceError", "IOException") or isinstance(error, OSError)
        raise EngineError(
            f"{what} failed: {without(str(error) or name, _url(connection))}",
            code="GM-E041" if what == "the query" else "GM-E040",
            where=redacted(connection),
            hint="try the query in the database's own client" if what == "the query" else "is the server running?",
            retryable=retry,
        ) from None


def _url(connection: str) -> str:
    return os.environ.get(connection[4:], "") if connection.startswith("env:") else connection


def open_session(connection: str, opener: Opener | None, root: Path) -> Session:
    """Connect.

    Raises:
        UsageError: the connection text cannot be.
        EngineError: there is no driver, or the database cannot be reached.
    """
    if opener is not None:
        with speaking(connection, "connecting"):
            made = opener()
        return _session_of(made)
    url = resolved(connection)
    scheme = url.partition("://")[0].partition("+")[0]
    with speaking(connection, "connecting"):
        if scheme == "sqlite":
            return _sqlite(file_of(url, root))
        if scheme == "duckdb":
            return _duckdb(file_of(url, root))
        return _session_of(open_postgres(url))


def open_postgres(url: str) -> object:
    """Connect to PostgreSQL with psycopg; everything else about it is libpq's own (passwords, services, TLS)."""
    try:
        import psycopg
    except ImportError:
        raise EngineError(
            "PostgreSQL needs the package psycopg", code="GM-E042", hint="pip install 'gristmill[cloud]'"
        ) from None
    plain = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
    return psycopg.connect(plain, client_encoding="utf8", connect_timeout=15)


def _sqlite(path: str) -> Session:
    import sqlite3

    from gristmill.connect.row_read import RowSession

    if not Path(path).is_file():
        raise EngineError("there is no such SQLite file", code="GM-E040", where=path)
    return RowSession(sqlite3.connect(f"{Path(path).as_uri()}?mode=ro", uri=True), quotes=True)


def _duckdb(path: str) -> Session:
    import duckdb

    from gristmill.connect.arrow_read import DuckSession

    if not Path(path).is_file():
        raise EngineError("there is no such DuckDB file", code="GM-E040", where=path)
    try:
        return DuckSession(duckdb.connect(path, read_only=True))
    except duckdb.ConnectionException:  # this process has it open for writing
        return DuckSession(duckdb.connect(path))


def _session_of(made: object) -> Session:
    """Choose how to read by what a connection is."""
    package = type(made).__module__.split(".")[0]
    if package in ("duckdb", "_duckdb"):
        from gristmill.connect.arrow_read import DuckSession

        return DuckSession(made)
    if package == "psycopg":
        from gristmill.connect.pg_read import PostgresSession

        return PostgresSession(made)
    if not hasattr(made, "cursor"):
        raise UsageError(
            f"a {type(made).__name__} is no database connection",
            hint="the function must return an ADBC or DB-API connection",
        )
    if package.startswith("adbc_") or hasattr(made, "adbc_get_objects"):
        from gristmill.connect.arrow_read import AdbcSession

        return AdbcSession(made)
    from gristmill.connect.row_read import RowSession

    return RowSession(made, quotes=package == "sqlite3")
