"""A database query as a source: a snapshot of its whole result, or windows of a cursor."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from gristmill.connect.databases import Opener, Session, has_secret, open_session, redacted, speaking
from gristmill.connect.values import Found, Shape, UnitRows
from gristmill.connect.windows import Lag, Window, before, gaps, landed_windows, literal, parse_lag, value_of
from gristmill.connect.windows import window_name as name_of
from gristmill.errors import UsageError, did_you_mean
from gristmill.model.units import Unit

SNAPSHOT = "snapshot"
_STARTS = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*(select|with|values|table|from)\b", re.I | re.S)


class QuerySource(msgspec.Struct, frozen=True, kw_only=True):
    """The rows that a query gives; made by ``query``.

    Args:
        connection: a URL or ``env:NAME``; a name for the function's connection where there is one.
        sql: one SELECT.
        cursor: the column that grows; None reads the whole result each time.
        lag: how far each window looks back for rows committed late.
        key: columns that identify a row.
        opener: makes the connection, where the user gave a function.
    """

    connection: str
    sql: str
    cursor: str | None = None
    lag: Lag = None
    key: tuple[str, ...] = ()
    opener: object = None

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words, without secrets."""
        out = {"kind": "query", "connection": redacted(self.connection), "sql": self.sql.strip()}
        more = {"cursor": self.cursor, "lag": None if self.lag is None else str(self.lag), "key": ", ".join(self.key)}
        return out | {name: value for name, value in more.items() if value}

    @property
    def portable(self) -> bool:
        """Whether this value can be written down and read back: no function, no secret."""
        return self.opener is None and not has_secret(self.connection)

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the windows that are not landed: with a cursor one cheap query tells; a snapshot that was landed
        before is read and compared by its content.

        Raises:
            EngineError: the database cannot be reached, or the query fails.
            UsageError: there is no such column to go by.
        """
        if self.cursor is not None:
            return self._windows(root, known)
        unit = known.get(SNAPSHOT)
        if unit is None:
            return [Found(name=SNAPSHOT)]
        from gristmill.connect.query_read import content_digest

        shape = Shape(columns=()) if "shape" not in unit.detail else _decoded(unit.detail["shape"])
        digest = content_digest(self, root, shape)
        return [Found(name=SNAPSHOT, digest=digest, status="same" if digest == unit.digest else "changed")]

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the columns of the result; SQLite and drivers that declare no types are read to the end for it."""
        with self.session(root) as session:
            columns, notes = session.columns(self.sql)
        names = [column.name for column in columns]
        repeated = [name for name in names if names.count(name) > 1]
        if repeated:
            raise UsageError(f"two columns of the query are called `{repeated[0]}`", hint="name them with AS")
        wanted = [*self.key, *([self.cursor] if self.cursor else [])]
        for name in wanted:
            if name not in names:
                raise UsageError(f"the query has no column `{name}`", hint=did_you_mean(name, names))
        return Shape(columns=tuple(columns), assumptions=tuple(notes))

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one window."""
        from gristmill.connect.query_read import QueryRows

        return QueryRows(self, root, found, shape, number)

    @contextmanager
    def session(self, root: Path) -> Iterator[Session]:
        """Open the connection for a while; whatever fails meanwhile says so without secrets."""
        opener: Opener | None = self.opener if callable(self.opener) else None
        session = open_session(self.connection, opener, root)
        try:
            with speaking(self.connection, "the query"):
                yield session
        finally:
            session.close()

    def _windows(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        units = landed_windows(known)
        with self.session(root) as session:
            column = session.quoted(self.cursor or "")
            if not units:
                high, _ = session.row(f"SELECT max(q.{column}), count(q.{column}) FROM (\n{self.sql}\n) q")
                window = Window(high=high)
                return [] if high is None else [Found(name=name_of(None, high), detail=window.to_detail())]
            last = units[-1].detail
            low, edge = value_of(last["high"]), value_of(last["edge"])
            moved = f"CASE WHEN max(q.{column}) > {literal(low)} THEN 1 ELSE 0 END"
            high, count, moved_on = session.row(
                f"SELECT max(q.{column}), count(*), {moved} FROM (\n{self.sql}\n) q WHERE q.{column} >= {literal(edge)}"
            )
        same = [Found(name=name, digest=unit.digest, status="same") for name, unit in known.items()]
        fresh = gaps(units)
        if int(str(moved_on)) or int(str(count)) != int(last["window_rows"]):
            top = high if int(str(moved_on)) else low
            window = Window(high=top, low=low, bound=edge, seen=last.get("seen", ""))
            fresh.append(Found(name=name_of(low, top, known), detail=window.to_detail()))
        return fresh + same

    def edge(self, high: object) -> object:
        """Return where the window after the one that ends at ``high`` begins to read."""
        return before(high, self.lag)


def _decoded(text: str) -> Shape:
    return msgspec.json.decode(text, type=Shape)


def query(
    connection: str | Opener,
    sql: str,
    *,
    cursor: str | None = None,
    lag: str | float | dt.timedelta | None = None,
    key: str | Sequence[str] | None = None,
) -> QuerySource:
    """Return the source of the rows that a query gives.

    Without a cursor the whole result is read and compared with what was landed; a changed one takes the place of the
    one before, so that rows gone from the database leave the table. With a cursor only what lies above the last value
    is read, and what lies at most ``lag`` below it is looked at again for rows that were committed late.

    Args:
        connection: ``postgresql://``, ``sqlite:///file``, ``duckdb:///file`` (relative to the project's folder),
            ``env:NAME`` for a variable that holds one, or a function that returns an ADBC or DB-API connection.
        sql: one SELECT, in the database's own SQL.
        cursor: a column of the result that grows: a number, a moment, or text that sorts.
        lag: how far to look back: a duration such as ``"2h"`` for moments, a number for numbers.
        key: columns that identify a row.

    Raises:
        UsageError: an argument cannot be.

    >>> query("postgresql://ana:secret@db/shop", "select * from orders", cursor="id").describe()["connection"]
    'postgresql://ana:***@db/shop'
    """
    text = sql.strip().rstrip(";").rstrip()
    if not _STARTS.match(text):
        raise UsageError("a query source reads with one SELECT", where=text[:60], hint="select * from TABLE")
    names = (key,) if isinstance(key, str) else tuple(key or ())
    if lag is not None and cursor is None:
        raise UsageError("lag without cursor has no meaning", hint='cursor="updated_at"')
    opener = connection if callable(connection) else None
    shown = connection if isinstance(connection, str) else f"{getattr(connection, '__name__', 'a function')}()"
    return QuerySource(connection=shown, sql=text, cursor=cursor, lag=parse_lag(lag), key=names, opener=opener)
