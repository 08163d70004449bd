"""Small pieces of a table as Arrow tables: inlined rows and small files, decoded once and kept at hand.

An engine spends about as long on opening a file as on reading ten thousand rows of it, and a table that grows by
small commits has a tail of small files. Files never change, so their columns are kept for as long as there is room
(see `kept`), and so is the table that they make together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import blake3

from gristmill.model.scan import ScanFile
from gristmill.model.schema import ROW_ID, ROW_SEQUENCE
from gristmill.store.inline import live_positions, with_identities, with_identity
from gristmill.store.kept import kept, written
from gristmill.store.sqltext import stored

if TYPE_CHECKING:
    import pyarrow as pa

SMALL_ROWS = 65_536
"""Files of at most so many rows are read as Arrow tables where there are several."""
ALL_ROWS = 1 << 19
"""Where small files have more rows than this together, they are left to the engine."""
_MERGED_ROWS = 2048


def small(files: Sequence[ScanFile]) -> frozenset[str]:
    """Return the paths of the files among these that are read faster as Arrow tables."""
    found = [file for file in files if file.inline is None and file.rows <= SMALL_ROWS]
    if sum(file.rows for file in found) > ALL_ROWS or (len(found) == 1 and written(found[0].path) is None):
        return frozenset()
    return frozenset(file.path for file in found)


def frame_of(
    files: Sequence[ScanFile], columns: Sequence[str] | None = None, *, identity: bool = True
) -> tuple[str, pa.Table]:
    """Return the live rows of files of one schema as one table, with a name of its own.

    Args:
        files: inlined or small.
        columns: those to read, by the names the files have for them, with text in the form that an engine takes
            without copying it; all that are stored, as they are, if None.
        identity: whether to have ``_row_id``, ``_last_updated_sequence_number``, the file and the position too.
    """
    fields = [field for field in files[0].schema.fields if stored(field.type)]
    names = tuple(field.name for field in fields if columns is None or field.name in columns)
    key = (names, identity, tuple(_piece(file) for file in files))
    return _name(key), kept.get((key, columns is None), lambda: _together(files, names, identity, columns is not None))


def _piece(file: ScanFile) -> tuple[object, ...]:
    content = file.inline if file.inline is not None else file.path
    return content, file.first_row_id, file.sequence, "" if file.rowset is None else (file.rowset.id, file.rowset.keep)


def _name(key: tuple[tuple[str, ...], bool, tuple[tuple[object, ...], ...]]) -> str:
    names, identity, pieces = key
    digest = blake3.blake3(f"{names}{identity}".encode())
    for content, *rest in pieces:
        digest.update(content if isinstance(content, bytes) else str(content).encode())
        digest.update(repr(rest).encode())
    return f"gm_rows_{digest.hexdigest()[:24]}"


def _together(files: Sequence[ScanFile], names: tuple[str, ...], identity: bool, views: bool) -> pa.Table:
    import pyarrow as pa

    if identity and not any(file.stored_ids or file.rowset for file in files):
        whole = pa.concat_tables([_decoded(file, names) for file in files], promote_options="default")
        whole = with_identities(whole, files)
    else:
        whole = pa.concat_tables([_live(file, names, identity) for file in files], promote_options="default")
    whole = whole.combine_chunks() if whole.num_rows < _MERGED_ROWS * len(files) else whole
    if not views:
        return whole
    kinds = [(f.name, pa.string_view() if pa.types.is_string(f.type) else f.type) for f in whole.schema]
    return whole.cast(pa.schema(kinds))


def _live(file: ScanFile, names: tuple[str, ...], identity: bool) -> pa.Table:
    if identity:
        own = (*names, ROW_ID, ROW_SEQUENCE) if file.stored_ids else names
        return with_identity(_decoded(file, own), file)
    rows = _decoded(file, names)
    return rows if file.rowset is None else rows.take(live_positions(file))


def _decoded(file: ScanFile, names: tuple[str, ...]) -> pa.Table:
    """Return columns of all rows of a file; one without columns where none are asked for."""
    import pyarrow as pa

    if file.inline is not None:
        stream = file.inline
        whole = kept.get(stream, lambda: pa.ipc.open_stream(stream).read_all(), len(stream))
        return whole.select(list(names)) if names else _bare(file)
    return kept.get((file.path, names), lambda: _read(file, names)) if names else _bare(file)


def whole_file(file: ScanFile) -> pa.Table:
    """Return everything that a file on the disk holds, identities too where it stores them."""
    names = tuple(field.name for field in file.schema.fields if stored(field.type))
    return _read(file, (*names, ROW_ID, ROW_SEQUENCE) if file.stored_ids else names)


def _bare(file: ScanFile) -> pa.Table:
    import pyarrow as pa

    return pa.table({"one": pa.nulls(file.rows, pa.int32())})


def _read(file: ScanFile, names: tuple[str, ...]) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gristmill.model.arrow import fields_to_arrow
    from gristmill.store.conform import cast_column
    from gristmill.store.datafiles import IDENTITY

    dotted = any("." in name for name in names)
    at_hand = written(file.path)
    table = at_hand if at_hand is not None else pq.ParquetFile(file.path).read(columns=None if dotted else list(names))
    by_name = {field.name: field for field in (*file.schema.fields, *IDENTITY)}
    arrow = fields_to_arrow(tuple(by_name[name] for name in names))
    columns = []
    for target in arrow:
        column = table.column(target.name).combine_chunks()
        whole = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
        columns.append(cast_column(whole, target.type, target.name, "scan"))
    return pa.Table.from_arrays(columns, schema=pa.schema([field.with_nullable(True) for field in arrow]))
