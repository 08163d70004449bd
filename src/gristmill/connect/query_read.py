"""The rows of one window of a query: typed, told apart from those landed before, numbered, hashed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa
from blake3 import blake3

from gristmill.connect.rows import batch_of
from gristmill.connect.type_names import parse_type
from gristmill.connect.values import Chunk, Found, Reject
from gristmill.connect.windows import EDGE, OVERLAP, SEEN_LIMIT, Window, pack, row_hash, unpack, window_of, windowed_sql
from gristmill.errors import DataError, did_you_mean

if TYPE_CHECKING:
    from gristmill.connect.databases import Session, Typed
    from gristmill.connect.query_source import QuerySource
    from gristmill.connect.values import Shape

_MODULUS = 1 << 128


class QueryRows:
    """The rows of a snapshot or of a cursor's window; see ``UnitRows``."""

    def __init__(self, source: QuerySource, root: Path, found: Found, shape: Shape, number: int) -> None:
        self.delivered = 0
        self.digest = ""
        self.detail: dict[str, str] = {}
        self._source, self._root, self._found, self._shape, self._number = source, root, found, shape, number

    def __iter__(self) -> Iterator[Chunk]:
        source = self._source
        with source.session(self._root) as session:
            self._check(session.names(source.sql))
            yield self._chunk(_NOTHING, np.zeros(0, dtype=np.int64))  # whoever only asks for the columns stops here
            content = Content()
            if source.cursor is None:
                yield from self._snapshot(session, content)
                self.digest = content.digest()
                self.detail["shape"] = msgspec.json.encode(self._shape).decode()
            else:
                yield from self._window(session, content, window_of(self._found))
                self.digest = blake3(f"{self._found.name}\0{content.digest()}".encode()).hexdigest()

    def _check(self, names: list[str]) -> None:
        own = [column.name for column in self._shape.columns]
        for name in names:
            if name not in own:
                raise DataError(
                    f"the query has the column `{name}`, which the source does not know",
                    code="GM-D114",
                    where=self._found.name,
                    hint=did_you_mean(name, own) or "leave it out, or accept it",
                )
        missing = [name for name in own if name not in names]
        if missing:
            self.detail["missing_columns"] = ",".join(missing)

    def _snapshot(self, session: Session, content: Content) -> Iterator[Chunk]:
        for part in session.typed(_ordered(self._source, session), _types(self._shape)):
            chunk = self._chunk(part, np.arange(part.rows))
            content.add(chunk)
            yield chunk

    def _window(self, session: Session, content: Content, window: Window) -> Iterator[Chunk]:
        source = self._source
        assert source.cursor is not None
        column, edge = session.quoted(source.cursor), source.edge(window.high)
        _no_nulls(session, source, column)
        boundary = Boundary(unpack(window.seen), keyed=bool(source.key))
        for part in session.typed(windowed_sql(source.sql, column, window, edge), _types(self._shape, marked=True)):
            chunk = self._chunk(part, boundary.kept(part))
            content.add(chunk)
            yield chunk
        ends = {"high": window.high, "edge": edge} | ({} if window.low is None else {"low": window.low})
        self.detail |= {name: json.dumps(value) for name, value in ends.items()} | boundary.detail(self._found.name)

    def _chunk(self, part: Typed, kept: np.ndarray) -> Chunk:
        """Number the rows that are kept, and set aside those that do not fit."""
        records = np.arange(self.delivered + 1, self.delivered + len(kept) + 1)
        fits = np.array([row not in part.wrong for row in kept.tolist()], dtype=bool) if part.wrong else None
        good = kept if fits is None else kept[fits]
        names = {column.name for column in self._shape.columns}
        columns = {name: array for name, array in part.columns.items() if name in names}
        if len(good) < part.rows:
            columns = {name: array.take(pa.array(good)) for name, array in columns.items()}
        numbers = records if fits is None else records[fits]
        rows = batch_of(self._shape, columns, self._number, len(good), {}, (numbers, None, None))
        rejects = []
        if fits is not None:
            for row, record in zip(kept[~fits].tolist(), records[~fits].tolist(), strict=True):
                rejects.append(_reject(part, row, record))
        self.delivered += len(kept)
        return Chunk(rows, rejects)


class Boundary:
    """Which of a window's rows were landed before, and which ones the next window will read again.

    Args:
        seen: hashes of the rows landed before that this window reads again.
        keyed: whether rows have a key, so that landing one twice does no harm.
    """

    def __init__(self, seen: Counter[bytes], *, keyed: bool) -> None:
        self._seen, self._keyed = seen, keyed
        self._edge: Counter[bytes] = Counter()
        self._late: Counter[bytes] = Counter()
        self._edge_rows = self._skipped = 0

    def kept(self, part: Typed) -> np.ndarray:
        """Return the rows of a part that were not landed before."""
        overlap = part.columns[OVERLAP].to_numpy(zero_copy_only=False) != 0
        edge = part.columns[EDGE].to_numpy(zero_copy_only=False) != 0
        keep = np.ones(part.rows, dtype=bool)
        for row in np.flatnonzero(overlap | edge).tolist():
            hashed = row_hash(_values(part, row))
            if edge[row]:
                self._edge_rows += 1
                if self._edge_rows <= SEEN_LIMIT:
                    self._edge[hashed] += 1
            if overlap[row]:
                if self._seen[hashed] > 0:
                    self._seen[hashed] -= 1
                    keep[row] = False
                    self._skipped += 1
                else:
                    self._late[hashed] += 1
        return np.flatnonzero(keep)

    def detail(self, unit: str) -> dict[str, str]:
        """Return what the unit keeps for the windows after it.

        Raises:
            DataError: rows without a key are too many to be told apart.
        """
        out = {"window_rows": str(self._edge_rows), "seen": pack(self._edge)}
        if self._edge_rows > SEEN_LIMIT:
            if not self._keyed:
                raise DataError(
                    f"{self._edge_rows} rows lie within lag of the cursor's end: too many to tell apart without a key",
                    code="GM-D121",
                    where=unit,
                    hint="give key=, or a shorter lag",
                )
            out["seen"] = ""
        if self._late and sum(self._late.values()) <= SEEN_LIMIT:
            out |= {"late": pack(self._late), "late_rows": str(sum(self._late.values()))}
        if self._skipped:
            out["already_landed"] = str(self._skipped)
        return out


class Content:
    """The digest of rows in any order, fed part by part; the same as of the table that holds them."""

    def __init__(self) -> None:
        self._rows = self._total = 0

    def add(self, chunk: Chunk) -> None:
        """Take in one part."""
        from gristmill.model.schema import schema_from_arrow
        from gristmill.model.units import ORIGIN_COLUMNS
        from gristmill.store import compute
        from gristmill.store.digests import digest_rows

        rows = chunk.rows.drop_columns(list(ORIGIN_COLUMNS))
        self._rows += rows.num_rows + len(chunk.rejects)
        for reject in chunk.rejects:
            self._total += int.from_bytes(blake3(reject.raw).digest(length=16), "big")
        if rows.num_rows:
            con = compute.connection()
            con.register("gristmill_part", pa.table(rows))
            numbers = iter(range(1, 1_000_000))
            fields = schema_from_arrow(rows.schema, lambda *_: next(numbers)).visible
            self._total += sum(value for _, value in digest_rows(con, "FROM gristmill_part", fields, "0"))
            con.unregister("gristmill_part")

    def digest(self) -> str:
        """Return the digest of all parts, in hexadecimal."""
        return blake3(f"{self._rows}:{self._total % _MODULUS:032x}".encode()).hexdigest()


def content_digest(source: QuerySource, root: Path, shape: Shape) -> str:
    """Return the digest of the whole result now."""
    rows = QueryRows(source, root, Found(name="snapshot"), shape, 0)
    try:
        for _ in rows:
            pass
    except DataError as error:
        if error.code != "GM-D114":
            raise
        return ""  # it has another column than what was landed, so it has changed
    return rows.digest


def _ordered(source: QuerySource, session: Session) -> str:
    order = ", ".join(session.quoted(name) for name in source.key)
    return f"SELECT * FROM (\n{source.sql}\n) q ORDER BY {order}" if order else source.sql


def _types(shape: Shape, *, marked: bool = False) -> dict[str, pa.DataType]:
    types = {column.name: parse_type(column.type) for column in shape.columns}
    return types | (dict.fromkeys((OVERLAP, EDGE), pa.int64()) if marked else {})


def _no_nulls(session: Session, source: QuerySource, column: str) -> None:
    (count,) = session.row(f"SELECT count(*) FROM (\n{source.sql}\n) q WHERE q.{column} IS NULL")
    if int(str(count)):
        raise DataError(
            f"{count} rows have no `{source.cursor}`, and would never be read",
            code="GM-D122",
            where=source.describe()["connection"],
            hint=f"leave them out with WHERE, or fill them: coalesce({source.cursor}, created_at)",
        )


def _values(part: Typed, row: int) -> list[object]:
    if row in part.wrong:
        return [value for name, value in part.shown(row).items() if name not in (OVERLAP, EDGE)]
    return [array[row].as_py() for name, array in part.columns.items() if name not in (OVERLAP, EDGE)]


def _reject(part: Typed, row: int, record: int) -> Reject:
    column, message = part.wrong[row]
    cells = {name: value for name, value in part.shown(row).items() if name not in (OVERLAP, EDGE)}
    return Reject(
        record=record,
        line=None,
        offset=None,
        raw=json.dumps(cells, ensure_ascii=False, default=str).encode("utf-8", "replace"),
        reason="type",
        column=column,
        message=message,
    )


def _nothing() -> Typed:
    from gristmill.connect.databases import Typed

    return Typed({}, 0, {}, lambda _: {})


_NOTHING = _nothing()
