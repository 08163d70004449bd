"""Where landed rows stand in the files that delivered them, and what was written there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.errors import GristmillError
from gristmill.lineage.stored import ROW_ID, Rows
from gristmill.lineage.values import Place
from gristmill.model.units import ORIGIN_COLUMNS, Unit

if TYPE_CHECKING:
    from collections.abc import Callable

_RAW_BYTES = 2_000


def places_of(reader: Rows, commit: str, table: str, ids: Sequence[int], *, root: Path | None) -> tuple[Place, ...]:
    """Return where rows of a source were delivered; nothing for rows that no unit delivered.

    Args:
        reader: reads the rows.
        commit, table, ids: the rows.
        root: the project's folder, to read the raw records; None to leave them out.
    """
    snapshot = reader.at(commit)
    units = {unit.number: unit for unit in snapshot.units(table).values()}
    if not units or not set(ORIGIN_COLUMNS) <= {field.name for field in snapshot.schema_of(table).fields}:
        return ()
    columns = ", ".join([ROW_ID, *ORIGIN_COLUMNS])
    rows = reader.by_id(commit, table, ids, columns, hidden=True).to_pylist()
    found = [_place(row, units) for row in rows if row[ORIGIN_COLUMNS[0]] in units]
    if root is None:
        return tuple(found)
    named = {unit.name: unit for unit in units.values()}
    raw = {name: _raw(root, named[name], [p for p in found if p.unit == name]) for name in {p.unit for p in found}}
    from dataclasses import replace

    return tuple(replace(place, raw=raw[place.unit].get(place.row)) for place in found)


def _place(row: Mapping[str, int | None], units: Mapping[int, Unit]) -> Place:
    number, record, line, offset = (row[name] for name in ORIGIN_COLUMNS)
    assert number is not None
    identity = row[ROW_ID]
    assert identity is not None
    return Place(row=identity, unit=units[number].name, record=record, line=line, offset=offset)


def _raw(root: Path, unit: Unit, places: Sequence[Place]) -> dict[int, str]:
    """Return the first line of each record by row id, if the unit's content is still what was landed."""
    from gristmill.connect.places import Content

    wanted = sorted((place.offset, place.row) for place in places if place.offset is not None)
    if not wanted:
        return {}
    content = Content(root, unit.name, unit.detail.get("compression"))
    found: dict[int, bytes] = {}
    try:
        with content.reader() as read:
            _collect(read, wanted, found)
    except (GristmillError, OSError):
        return {}
    if content.digest != unit.digest:
        return {}
    return {row: _first_line(data) for row, data in found.items()}


def _collect(read: Callable[[int], bytes], wanted: Sequence[tuple[int, int]], found: dict[int, bytes]) -> None:
    start, held = 0, b""
    while block := read(1 << 20):
        held += block
        end = start + len(held)
        for offset, row in wanted:
            if row not in found and start <= offset and offset + _RAW_BYTES <= end:
                found[row] = held[offset - start : offset - start + _RAW_BYTES]
        keep = min(len(held), _RAW_BYTES)
        start, held = end - keep, held[len(held) - keep :]
    for offset, row in wanted:
        if row not in found and start <= offset:
            found[row] = held[offset - start :]


def _first_line(data: bytes) -> str:
    line = data.splitlines()[0] if data.strip() else b""
    return line.decode("utf-8", "backslashreplace")
