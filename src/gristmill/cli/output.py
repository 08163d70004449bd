"""Data on stdout: tables for people, JSON lines for programs. Hints and progress go to stderr."""

from __future__ import annotations

import datetime
import json
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

if TYPE_CHECKING:
    import pyarrow as pa

_MAX_CELL = 40
_NUMERIC = ("int", "uint", "float", "double", "decimal")


def say(text: str) -> None:
    """Write a line for people to stderr."""
    click.echo(text, err=True)


def emit(event: str, **values: object) -> None:
    """Write one JSON object to stdout."""
    click.echo(json.dumps({"v": 1, "event": event, **_plain(values)}, default=str))


def emit_struct(value: msgspec.Struct) -> None:
    """Write a typed event as one JSON object, the version field first."""
    body = msgspec.to_builtins(value)
    click.echo(json.dumps({"v": 1, **body}, default=str))


def _plain(values: dict[str, object]) -> dict[str, object]:
    plain = msgspec.to_builtins(values, enc_hook=str)
    assert isinstance(plain, dict)
    return plain


def columns(
    rows: Sequence[Sequence[object]],
    *,
    header: Sequence[str] | None = None,
    right: Iterable[int] = (),
    width: int = _MAX_CELL,
) -> str:
    """Lay out rows in aligned columns, the ``right`` ones flush right, cells cut at ``width`` characters.

    >>> print(columns([("a", 1), ("bb", 20)], right=[1]))
    a    1
    bb  20
    """
    cells = [[_cell(value, width) for value in row] for row in rows]
    if header is not None:
        cells.insert(0, [one_line(name) for name in header])
    if not cells:
        return ""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    flush = set(right)
    lines = []
    for row in cells:
        parts = [
            cell.rjust(w) if i in flush else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def _cell(value: object, width: int) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, datetime.datetime):
        text = value.isoformat(sep=" ", timespec="seconds" if not value.microsecond else "microseconds")
        return text.replace("+00:00", "Z")
    text = one_line(str(value))
    return text if len(text) <= width else text[: width - 1] + "…"


def one_line(text: str) -> str:
    r"""Write what a terminal would act on, or a line that ends, as escapes: data cannot draw over what is shown.

    >>> print(one_line("a\nb\x1b[2Jc"), one_line("naïve 日本"))
    a\nb\x1b[2Jc naïve 日本
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def table(data: pa.Table, *, as_json: bool = False, total: int | None = None) -> None:
    """Write an Arrow table to stdout."""
    rows = list(zip(*(column.to_pylist() for column in data.columns), strict=True))
    if as_json:
        names = _distinct(data.schema.names)
        for row in rows:
            emit("row", **dict(zip(names, row, strict=True)))
        return
    numeric = [
        i
        for i, field in enumerate(data.schema)
        if str(field.type).startswith(("int", "uint", "float", "double", "decimal"))
    ]
    click.echo(columns(rows, header=data.schema.names, right=numeric))
    if total is not None and total > len(rows):
        say(f"({len(rows)} of {total:,} rows)")


def _distinct(names: Sequence[str]) -> list[str]:
    """Number the names that stand twice, as an object holds each once.

    >>> _distinct(["id", "a", "id", "id_1"])
    ['id', 'a', 'id_2', 'id_1']
    """
    found: list[str] = []
    for name in names:
        new, number = name, 0
        while new in found or (number and new in names):
            number += 1
            new = f"{name}_{number}"
        found.append(new)
    return found


def count(number: int, word: str) -> str:
    """Write a number with its noun.

    >>> count(1, "row"), count(26115, "row")
    ('1 row', '26,115 rows')
    """
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def size(number: float) -> str:
    """Write a number of bytes for people.

    >>> size(8258905)
    '7.9 MiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return ""


def when(time_us: int) -> str:
    """Write a time in microseconds since 1970 as UTC, to the minute."""
    return datetime.datetime.fromtimestamp(time_us / 1e6, datetime.UTC).strftime("%Y-%m-%d %H:%MZ")


def is_terminal() -> bool:
    """Whether stderr is a terminal, where progress may be drawn over."""
    return sys.stderr.isatty()
