"""Compare two relations as multisets of rows: by digests of parts of their keys first, then row by row where these
differ.

Digests are those of the store (a hash per row over its canonical text, summed), so two relations of the same rows
agree whatever their order; 256 parts by a hash of the key let a single differing row be found without a join of all
rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill.model.names import quote
from gristmill.model.schema import Field

if TYPE_CHECKING:
    import duckdb

EXAMPLES = 3
_PARTS = 256
_SHARES = 1_000_000
_EXTRA, _MISSING = '"_gm_extra"', '"_gm_missing"'


class RowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """One row in which two relations part.

    Args:
        kind: ``missing`` from what is stored, ``extra`` there, or of the same key and ``different``.
        key: the key's values; the whole row where there is no key.
        stored: cells as stored, as text; only those that differ where both have the row.
        computed: the same as computed.
    """

    kind: Literal["missing", "extra", "different"]
    key: dict[str, str | None]
    stored: dict[str, str | None] = {}
    computed: dict[str, str | None] = {}


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """How two relations compare: rows and digest of each, how many rows part, and examples."""

    stored_rows: int
    computed_rows: int
    stored_digest: str
    computed_digest: str
    missing: int = 0
    extra: int = 0
    different: int = 0
    examples: tuple[RowDifference, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both hold the same rows."""
        return self.stored_digest == self.computed_digest


def in_share(fields: Sequence[Field], key: Sequence[str], share: float, salt: str) -> str:
    """Return the SQL condition that holds for a share of keys (or of rows where there is no key), by their hash.

    Args:
        fields: the columns.
        key: names of those that identify a row.
        share: between 0 and 1.
        salt: another one chooses other keys.
    """
    text = salt.replace("'", "''")
    return f"md5_number_lower(concat('{text}', {_key_text(fields, key)})) % {_SHARES} < {round(share * _SHARES)}"


def compare(
    connection: duckdb.DuckDBPyConnection, stored: str, computed: str, fields: Sequence[Field], key: Sequence[str]
) -> Difference:
    """Compare two SELECTs that yield the same columns.

    Args:
        connection: where both can be run.
        stored, computed: the SELECTs; each is run once, and once more where they differ.
        fields: the columns, with the store's types.
        key: names of the columns that identify a row; may be empty.
    """
    ours, theirs = (_parts(connection, _cast(sql, fields), fields, key) for sql in (stored, computed))
    found = Difference(
        stored_rows=sum(rows for rows, _ in ours.values()),
        computed_rows=sum(rows for rows, _ in theirs.values()),
        stored_digest=_digest(ours),
        computed_digest=_digest(theirs),
    )
    if found.equal:
        return found
    apart = sorted(part for part in ours.keys() | theirs.keys() if ours.get(part) != theirs.get(part))
    return _rows(connection, found, stored, computed, fields, key, apart)


def _cast(sql: str, fields: Sequence[Field]) -> str:
    from gristmill.store.sqltext import type_sql

    columns = ", ".join(f"CAST({quote(f.name)} AS {type_sql(f.type)}) AS {quote(f.name)}" for f in fields)
    return f"SELECT {columns} FROM ({sql})"


def _key_text(fields: Sequence[Field], key: Sequence[str]) -> str:
    from gristmill.store.digests import cells_sql

    return cells_sql(tuple(field for field in fields if not key or field.name in key))


def _part(fields: Sequence[Field], key: Sequence[str]) -> str:
    return f"(md5_number_lower({_key_text(fields, key)}) % {_PARTS})"


def _parts(
    connection: duckdb.DuckDBPyConnection, sql: str, fields: Sequence[Field], key: Sequence[str]
) -> dict[int, tuple[int, int]]:
    """Return rows and sum of row hashes by part of the keys."""
    from gristmill.engines.kernel.kernel import engine_errors
    from gristmill.store.digests import MODULUS, cells_sql

    high, low = "(h >> 64)::UBIGINT::HUGEINT", "(h & 18446744073709551615::UHUGEINT)::UBIGINT::HUGEINT"
    with engine_errors():
        rows = connection.execute(
            f"SELECT p, count(*), sum({high}), sum({low}) FROM (SELECT {_part(fields, key)} AS p, "
            f"md5_number({cells_sql(tuple(fields))}) AS h FROM ({sql})) GROUP BY p"
        ).fetchall()
    return {int(p): (int(n), ((int(high) << 64) + int(low)) % MODULUS) for p, n, high, low in rows}


def _digest(parts: Mapping[int, tuple[int, int]]) -> str:
    from gristmill.store.digests import digest_text

    return digest_text(sum(rows for rows, _ in parts.values()), sum(total for _, total in parts.values()))


def _rows(
    connection: duckdb.DuckDBPyConnection,
    found: Difference,
    stored: str,
    computed: str,
    fields: Sequence[Field],
    key: Sequence[str],
    apart: Sequence[int],
) -> Difference:
    from gristmill.engines.kernel.kernel import engine_errors

    within = f"{_part(fields, key)} IN ({', '.join(map(str, apart))})"
    sides = [f"SELECT * FROM ({_cast(sql, fields)}) WHERE {within}" for sql in (stored, computed)]
    with engine_errors():
        for name, one, other in ((_EXTRA, *sides), (_MISSING, *reversed(sides))):
            connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS ({one}) EXCEPT ALL ({other})")
        try:
            return _described(connection, found, fields, key)
        finally:
            for name in (_EXTRA, _MISSING):
                connection.execute(f"DROP TABLE IF EXISTS temp.{name}")


def _described(
    connection: duckdb.DuckDBPyConnection, found: Difference, fields: Sequence[Field], key: Sequence[str]
) -> Difference:
    same = " AND ".join(f"e.{quote(name)} IS NOT DISTINCT FROM m.{quote(name)}" for name in key) or "FALSE"
    both = f"FROM {_EXTRA} e JOIN {_MISSING} m ON {same}"
    alone = {
        "missing": f"FROM {_MISSING} m WHERE NOT EXISTS (SELECT 1 FROM {_EXTRA} e WHERE {same})",
        "extra": f"FROM {_EXTRA} e WHERE NOT EXISTS (SELECT 1 FROM {_MISSING} m WHERE {same})",
    }
    counts = {kind: _count(connection, tail) for kind, tail in (*alone.items(), ("different", both))}
    examples: list[RowDifference] = []
    names = list(key) or [field.name for field in fields]
    for kind, tail in alone.items():
        row = "m" if kind == "missing" else "e"
        for cells in _texts(connection, fields, row, tail):
            shown = {name: cells[name] for name in names}
            other = {name: value for name, value in cells.items() if name not in names}
            side = {"computed" if kind == "missing" else "stored": other}
            examples.append(RowDifference(kind=kind, key=shown, **side))  # type: ignore[arg-type]
    if key:
        for ours, theirs in zip(
            _texts(connection, fields, "e", both), _texts(connection, fields, "m", both), strict=True
        ):
            unlike = [name for name in ours if ours[name] != theirs[name]]
            examples.append(
                RowDifference(
                    kind="different",
                    key={name: ours[name] for name in key},
                    stored={name: ours[name] for name in unlike},
                    computed={name: theirs[name] for name in unlike},
                )
            )
    return msgspec.structs.replace(found, **counts, examples=tuple(examples))


def _count(connection: duckdb.DuckDBPyConnection, tail: str) -> int:
    return int(connection.execute(f"SELECT count(*) {tail}").fetchall()[0][0])


def _texts(
    connection: duckdb.DuckDBPyConnection, fields: Sequence[Field], row: str, tail: str
) -> list[dict[str, str | None]]:
    """Return the first rows of a query, cells as text, in the order of both sides' rows."""
    columns = ", ".join(f"{row}.{quote(field.name)}::VARCHAR" for field in fields)
    alone = "WHERE NOT EXISTS" in tail
    order = ", ".join(f"{r}.{quote(f.name)}" for r in ([row] if alone else ["e", "m"]) for f in fields)
    found = connection.execute(f"SELECT {columns} {tail} ORDER BY {order} LIMIT {EXAMPLES}").fetchall()
    return [dict(zip((field.name for field in fields), cells, strict=True)) for cells in found]
