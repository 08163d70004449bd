"""How values show themselves in a notebook: small HTML tables, everything escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def html_rows(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as HTML.

    >>> html_rows("<t>", ["a"], [[1], [None]])
    '<table><caption>&lt;t&gt;</caption><tr><th>a</th></tr><tr><td>1</td></tr><tr><td></td></tr></table>'
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows)
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


def html_table(caption: str, rows: pa.Table, limit: int) -> str:
    """Return the first rows of an Arrow table as HTML."""
    return html_rows(caption, rows.schema.names, (list(row.values()) for row in rows.slice(0, limit).to_pylist()))


def _cell(value: object) -> str:
    text = "" if value is None else str(value)
    return escape(text if len(text) <= 200 else text[:199] + "…")
