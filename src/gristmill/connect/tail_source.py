"""Files that grow while they are read: each file is a partition, its position a byte offset."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from gristmill.connect.stream_decode import SAMPLE_ROWS, Decoder, DecodingReader, check_types, json_record
from gristmill.connect.stream_decode import shape_of_messages as shape_of
from gristmill.connect.stream_rows import StreamRows
from gristmill.connect.stream_values import WAITING, Fetched, Lines, Message, Position, Reader, status_of
from gristmill.connect.values import Found, Shape, UnitRows
from gristmill.errors import DataError, UsageError
from gristmill.model.units import Unit

HEAD_BYTES = 1024
"""How much of a file's begin tells it from another of the same name."""

_LONGEST_BYTES = 64 * 2**20
_SAMPLE_BYTES = 4 * 2**20
_LOOK_S = 0.1
_NEWLINE = 10
_ROW_BYTES, _LEAST_BYTES = 512, 256 * 1024


class TailSource(msgspec.Struct, frozen=True, kw_only=True):
    """Growing and newly appearing files; made by ``tail``.

    Args:
        pattern: a path or glob relative to the root.
        format: ``ndjson`` or ``csv``.
        types: declared types by column.
        delimiter: between the cells of CSV.
    """

    pattern: str
    format: Literal["ndjson", "csv"]
    types: dict[str, str] = {}
    delimiter: str = ","

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words."""
        return {"kind": "tail", "pattern": self.pattern, "format": self.format}

    def paths(self, root: Path) -> list[str]:
        """Return the names of the files there now, relative to the root."""
        return sorted(path.relative_to(root).as_posix() for path in root.glob(self.pattern) if path.is_file())

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the files, those with whole records behind their position as new or changed."""
        found = []
        for name in self.paths(root):
            size = (root / name).stat().st_size
            unit = known.get(name)
            at = int(unit.detail.get(WAITING, "0")) if unit is not None else 0
            end = _last_end(root / name, at, size)
            status = status_of(unit, more=end > at or size < at)
            found.append(Found(name=name, size_bytes=max(end - at, 0), status=status, detail={"end": str(end)}))
        return found

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape of the first records."""
        ends = {item.name: item.detail.get("end", str(item.size_bytes)) for item in found}
        fetcher = TailFetcher(self, root, {}, "earliest", ends)
        messages = [
            m for part in fetcher.fetch(max_rows=SAMPLE_ROWS, max_bytes=_SAMPLE_BYTES, timeout_s=0) for m in part[1]
        ]
        return shape_of(messages, json_record, types=self.types, key=(), where=self.pattern)

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one file as it is now."""
        return StreamRows(self, root, found, shape, number)

    def open(
        self,
        root: Path,
        positions: Mapping[str, Position],
        *,
        shape: Shape,
        start: str = "earliest",
        ends: Mapping[str, str] | None = None,
    ) -> Reader:
        """Go on reading; see `gristmill.connect.stream_values.StreamConnector`."""
        return DecodingReader(TailFetcher(self, root, positions, start, ends), Decoder(shape, json_record))


class TailFetcher:
    """Reads whole records from files that grow."""

    def __init__(
        self,
        source: TailSource,
        root: Path,
        positions: Mapping[str, Position],
        start: str,
        ends: Mapping[str, str] | None,
    ) -> None:
        if start not in ("earliest", "latest"):
            raise UsageError(f"files begin at `earliest` or `latest`, not at {start}", code="GM-U130")
        self._source, self._root, self._ends = source, root, ends
        self._at: dict[str, dict[str, str]] = {name: dict(position) for name, position in positions.items()}
        if start == "latest":
            for name in source.paths(root):
                if name not in self._at:
                    self._at[name] = self._skipped(name)
        self._turn = 0

    def fetch(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Fetched]:
        """Return records of as many files as fit the bounds."""
        until = time.monotonic() + timeout_s
        while True:
            found = self._look(max_rows, max_bytes)
            left = until - time.monotonic()
            if found or left <= 0:
                return found
            time.sleep(min(_LOOK_S, left))

    def committed(self) -> None:
        """Files need no answer."""

    def close(self) -> None:
        """No file is open between two fetches."""

    def _look(self, max_rows: int, max_bytes: int) -> list[Fetched]:
        found: list[Fetched] = []
        names = self._source.paths(self._root)
        turn = self._turn % len(names) if names else 0
        for name in names[turn:] + names[:turn]:
            if max_rows <= 0 or max_bytes <= 0:
                break
            fetched = self._take(name, max_rows, max_bytes)
            if fetched is not None:
                found.append(fetched)
                max_rows -= len(fetched.messages)
                max_bytes -= fetched.size_bytes
        self._turn += 1
        return found

    def _take(self, name: str, max_rows: int, max_bytes: int) -> Fetched | None:
        path, position = self._root / name, self._at.get(name, {})
        at = int(position.get(WAITING, "0"))
        size = path.stat().st_size
        end = size if self._ends is None else min(int(self._ends.get(name, "0")), size)
        if size < at:
            raise _other_file(name, f"it has {size} bytes, and {at} were read before")
        if end <= at:
            return None
        with path.open("rb") as file:
            head = file.read(int(position.get("head_bytes", "0")))
            if position and _digest(head) != position["head"]:
                raise _other_file(name, "it begins with other bytes than before")
            file.seek(at)
            likely = max(max_rows * _ROW_BYTES, _LEAST_BYTES)  # no more than this batch takes, where rows are short
            block = file.read(min(end - at, max(max_bytes, 1), likely))
            cut = self._cut(block)
            while not len(cut) and at + len(block) < end:
                if len(block) > _LONGEST_BYTES:
                    raise DataError("a record is longer than 64 MiB", code="GM-D133", where=f"{name}:{at}")
                block += file.read(max(len(block), 65_536))
                cut = self._cut(block)
            messages, used, lines, header = self._messages(block, cut, position, at, max_rows)
            if not used:
                return None
            file.seek(0)
            head = file.read(min(HEAD_BYTES, at + used))
        after = {
            WAITING: str(at + used),
            "records": str(int(position.get("records", "0")) + len(messages)),
            "lines": str(int(position.get("lines", "0")) + lines),
            "head": _digest(head),
            "head_bytes": str(len(head)),
        }
        if header is not None:
            after["header"] = json.dumps(header)
        self._at[name] = after
        return Fetched(name, messages, after, max(end - at - used, 0), used)

    def _cut(self, block: bytes) -> NDArray[np.int64]:
        """Return the ends of whole records: behind line ends that stand outside quotes."""
        if self._source.format != "csv":
            return np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE) + 1
        ends: list[int] = []
        position, quotes = 0, 0
        while (found := block.find(b"\n", position)) >= 0:
            quotes += block.count(b'"', position, found)
            if quotes % 2 == 0:
                ends.append(found + 1)
            position = found + 1
        return np.array(ends, np.int64)

    def _messages(
        self, block: bytes, ends: NDArray[np.int64], position: Position, at: int, max_rows: int
    ) -> tuple[Sequence[Message], int, int, list[str] | None]:
        if self._source.format == "ndjson":
            return self._lines(block, ends, position, at, max_rows)
        header: list[str] | None = json.loads(position["header"]) if "header" in position else None
        messages: list[Message] = []
        record = int(position.get("records", "0"))
        first = int(position.get("lines", "0"))
        start = lines = 0
        for end in ends.tolist():
            if len(messages) >= max_rows:
                break
            raw = block[start:end].removeprefix(b"\xef\xbb\xbf") if at + start == 0 else block[start:end]
            raw = raw.rstrip(b"\r\n")
            if header is None:
                header = _cells(raw, self._source.delimiter) or []
            elif raw.strip(b" \t"):
                record += 1
                messages.append(self._message(raw, record, first + lines + 1, at + start, header))
            lines += block.count(b"\n", start, end)
            start = end
        return messages, start, lines, header

    def _lines(
        self, block: bytes, ends: NDArray[np.int64], position: Position, at: int, max_rows: int
    ) -> tuple[Sequence[Message], int, int, list[str] | None]:
        """Return the lines that are not blank as messages; one line is one record."""
        record, line = int(position.get("records", "0")), int(position.get("lines", "0"))
        if len(ends) and _is_plain(block, some := ends[:max_rows]):
            used = int(some[-1])
            return Lines(block[:used], some, record=record, line=line, offset=at), used, len(some), None
        messages: list[Message] = []
        first, start = line, 0
        for end in ends.tolist():
            if len(messages) >= max_rows:
                break
            raw = block[start:end].rstrip(b"\r\n")
            if at + start == 0:
                raw = raw.removeprefix(b"\xef\xbb\xbf")
            line += 1
            if raw and (raw[0] not in b" \t" or raw.strip(b" \t")):
                record += 1
                messages.append(Message(record, raw, None, None, line, at + start))
            start = end
        return messages, start, line - first, None

    def _message(self, raw: bytes, record: int, line: int, offset: int, header: list[str] | None) -> Message:
        cells = _cells(raw, self._source.delimiter)
        problem = "the record is no CSV in UTF-8" if cells is None else ""
        if cells is not None and header is not None and len(cells) != len(header):
            problem = f"{len(cells)} cells where the header has {len(header)}"
        if problem or cells is None or header is None:
            return Message(record, raw, line=line, offset=offset, problem=problem)
        return Message(record, dict(zip(header, cells, strict=True)), line=line, offset=offset)

    def _skipped(self, name: str) -> dict[str, str]:
        """Return the position behind everything a file holds now."""
        path = self._root / name
        end = _last_end(path, 0, path.stat().st_size)
        data = path.read_bytes()[:end]
        head = data[:HEAD_BYTES]
        position = {
            WAITING: str(end),
            "records": "0",
            "lines": str(data.count(b"\n")),
            "head": _digest(head),
            "head_bytes": str(len(head)),
        }
        if self._source.format == "csv":
            ends = self._cut(data)
            header = _cells(data[: ends[0]].rstrip(b"\r\n"), self._source.delimiter) if len(ends) else []
            position["header"] = json.dumps(header or [])
        return position


def _is_plain(block: bytes, ends: NDArray[np.int64]) -> bool:
    """Say whether every line begins an object at once, and ends with nothing but a newline."""
    octets = np.frombuffer(block, np.uint8)
    starts = np.concatenate((np.zeros(1, np.int64), ends[:-1]))
    return bool((octets[starts] == ord("{")).all()) and b"\r" not in block


def _cells(raw: bytes, delimiter: str) -> list[str] | None:
    try:
        rows = list(csv.reader(io.StringIO(raw.decode("utf-8"), newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error):
        return None
    return rows[0] if len(rows) == 1 else None


def _last_end(path: Path, at: int, size: int) -> int:
    """Return where the last whole line ends, ``at`` where there is none behind it."""
    step, end = 65_536, size
    with path.open("rb") as file:
        while end > at:
            start = max(at, end - step)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return at


def _digest(data: bytes) -> str:
    from blake3 import blake3

    return blake3(data).hexdigest()[:32]


def _other_file(name: str, why: str) -> DataError:
    return DataError(
        f"a file that only grows was cut or replaced: {why}",
        code="GM-D130",
        where=name,
        hint="give rotated files names of their own (app-2026-01-01.log); what was landed stays as it is",
    )


def tail(
    pattern: str,
    *,
    format: Literal["ndjson", "csv"] | None = None,
    types: Mapping[str, str] | None = None,
    delimiter: str = ",",
) -> TailSource:
    """Return the source of files that grow, and of files that appear beside them.

    A record counts when its line end is there; half a line waits. A file that got shorter, or begins with other bytes
    than before, stops the stream.

    Args:
        pattern: a path or glob relative to the project's folder.
        format: ``ndjson`` (one JSON object a line) or ``csv`` (a header, then cells in UTF-8); None goes by names.
        types: types by column; the others are those that the first 1,000 records fit.
        delimiter: between the cells of CSV.

    Raises:
        UsageError: an argument cannot be.

    >>> tail("logs/*.ndjson").describe()
    {'kind': 'tail', 'pattern': 'logs/*.ndjson', 'format': 'ndjson'}
    """
    if format is None:
        endings = {".ndjson": "ndjson", ".jsonl": "ndjson", ".csv": "csv"}
        found = endings.get(Path(pattern).suffix)
        if found is None:
            raise UsageError(f"the format of {pattern} cannot be told from its name", hint='declare format="ndjson"')
        format = found  # type: ignore[assignment]
    if format not in ("ndjson", "csv"):
        raise UsageError(f"growing files are ndjson or csv, not {format}", code="GM-U131", hint="gm.files() for others")
    if len(delimiter) != 1 or delimiter in '\r\n"':
        raise UsageError(f"delimiter {delimiter!r} is not one character that can serve")
    return TailSource(pattern=pattern, format=format, types=check_types(types), delimiter=delimiter)
