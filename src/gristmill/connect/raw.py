"""The text of single records as delivered, read back from the file by record number."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.connect.csv_text import records
from gristmill.errors import GristmillError

if TYPE_CHECKING:
    from gristmill.connect.file_source import FilesSource
    from gristmill.connect.values import Shape


def raw_records(
    source: FilesSource, root: Path, unit: str, lines: Collection[int], *, shape: Shape, digest: str
) -> dict[int, str]:
    """Return the text of the records that begin on these physical lines of a delimited file.

    Args:
        source: the source of the file.
        root: the folder that names are relative to.
        unit: the file's name.
        lines: first lines of the wanted records, from 1.
        shape: how the file is read.
        digest: what its content must be; another content gives no text.

    Files of other formats, and files that are gone or have changed, give no text.
    """
    if shape.dialect is None or not lines:
        return {}
    wanted, last, found = set(lines), max(lines), dict[int, str]()
    try:
        for block in records(source.content(root, unit, digest).blocks(), shape.dialect, name=unit):
            for index in (i for i, line in enumerate(block.lines.tolist()) if line in wanted):
                found[int(block.lines[index])] = block.raw(index).decode("utf-8", "backslashreplace")
            if len(block.lines) and int(block.lines[-1]) > last:
                break
    except (GristmillError, OSError):
        return found
    return found
