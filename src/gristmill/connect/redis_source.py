"""Redis Streams as a source: each stream is a partition, its position the id of the last entry that was read."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from gristmill.connect.sinks import Outgoing, SinkWriter, as_json
from gristmill.connect.stream_decode import SAMPLE_ROWS, Decoder, DecodingReader, check_types, json_record
from gristmill.connect.stream_decode import shape_of_messages as shape_of
from gristmill.connect.stream_rows import StreamRows
from gristmill.connect.stream_values import WAITING, Fetched, Message, Position, Reader, status_of
from gristmill.connect.values import Found, Shape, UnitRows
from gristmill.errors import DataError, EngineError, UsageError
from gristmill.model.units import Unit

if TYPE_CHECKING:
    from redis import Redis

_SEQUENCE_BITS = 20
_NONE = "0-0"
_BLOCK_S = 0.5
_PAGE = 10_000
Entries = list[tuple[bytes, dict[bytes, bytes] | None]]


class RedisSource(msgspec.Struct, frozen=True, kw_only=True):
    """Entries of Redis Streams; made by ``redis_stream``.

    Args:
        url: ``redis://`` or ``rediss://``, or ``env:NAME``.
        streams: names of the streams.
        value: the field that holds a JSON object; None takes every field as a column of text.
        types: declared types by column.
    """

    url: str
    streams: tuple[str, ...]
    value: str | None = None
    types: dict[str, str] = {}

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words, without secrets."""
        return {"kind": "redis stream", "url": redacted(self.url), "streams": ", ".join(self.streams)}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the streams, compared with the last id read of each."""
        client = connect(self.url)
        try:
            with speaking(self.url):
                ends = {name: last_id(client, name) for name in self.streams}
        finally:
            client.close()
        found = []
        for name, end in ends.items():
            unit = known.get(name)
            at = unit.detail.get(WAITING, _NONE) if unit is not None else _NONE
            more = id_parts(end) > id_parts(at)
            found.append(Found(name=name, status=status_of(unit, more=more), detail={"end": end}))
        return found

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape of the first entries."""
        fetcher = RedisFetcher(self, {}, "earliest", {item.name: item.detail["end"] for item in found})
        try:
            parts = fetcher.fetch(max_rows=SAMPLE_ROWS, max_bytes=2**22, timeout_s=0)
        finally:
            fetcher.close()
        messages = [message for part in parts for message in part.messages]
        return shape_of(messages, json_record, types=self.types, key=(), where=", ".join(self.streams))

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one stream as it is now."""
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
        return DecodingReader(RedisFetcher(self, positions, start, ends), Decoder(shape, json_record))

    def writer(self, root: Path) -> SinkWriter:
        """Return what adds a sink's messages to the stream."""
        return RedisWriter(self)


class RedisWriter:
    """Adds messages to a stream, all of a call in one transaction."""

    def __init__(self, source: RedisSource) -> None:
        if len(source.streams) != 1:
            raise UsageError("a sink writes to one stream", code="GM-U133")
        self._source, self._client = source, connect(source.url)

    def send(self, batch: str, messages: Sequence[Outgoing]) -> None:
        """Add an entry per message: id, op, key and row, the last two as JSON."""
        with speaking(self._source.url):
            pipeline: Any = self._client.pipeline(transaction=True)
            for message in messages:
                fields = {"id": message.id, "op": message.op, "table": message.table, "commit": message.commit}
                texts = {"key": as_json(message.key), "row": as_json(message.row)}
                pipeline.xadd(self._source.streams[0], {**fields, **texts})
            pipeline.execute()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


class RedisFetcher:
    """Reads entries behind the ids of our own commits; no consumer group is needed.

    Beside the id it keeps how many entries stand up to there, counted by Redis itself: where entries are gone that
    were never read, the numbers say so.
    """

    def __init__(
        self, source: RedisSource, positions: Mapping[str, Position], start: str, ends: Mapping[str, str] | None
    ) -> None:
        self._source, self._ends = source, ends
        self._client = connect(source.url)
        self._at = {name: position[WAITING] for name, position in positions.items() if name in source.streams}
        self._counted = {name: int(positions[name].get("entries", "0")) for name in self._at}
        self._begun = dict(self._at)
        try:
            with speaking(source.url):
                for name in source.streams:
                    if name not in self._at:
                        self._at[name] = self._begin(name, start)
                        self._counted[name] = self._entries_up_to(name, self._at[name])
        except BaseException:
            self._client.close()
            raise

    def fetch(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Fetched]:
        """Return entries of all streams, waiting for the first of them."""
        wanted = {name: at for name, at in self._at.items() if not self._at_end(name)}
        if not wanted:
            return []
        with speaking(self._source.url):
            found = self._look(list(wanted), max(max_rows // len(wanted), 1), max_bytes)
            if not found and timeout_s > 0:
                streams: Any = {name.encode(): at.encode() for name, at in wanted.items()}
                if self._client.xread(streams, count=1, block=max(int(min(timeout_s, _BLOCK_S) * 1000), 1)):
                    found = self._look(list(wanted), max(max_rows // len(wanted), 1), max_bytes)
        return found

    def committed(self) -> None:
        """Redis is not told: positions are ours."""

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _look(self, names: Sequence[str], share: int, max_bytes: int) -> list[Fetched]:
        """Read entries and counts of several streams at one moment."""
        pipeline: Any = self._client.pipeline(transaction=True)
        for name in names:
            pipeline.xinfo_stream(name)
            pipeline.xrange(name, min=f"({self._at[name]}", count=share)
        answers: Any = pipeline.execute(raise_on_error=False)
        found = []
        for name, info, entries in zip(names, answers[::2], answers[1::2], strict=True):
            if isinstance(info, Exception):
                self._missing(name, info)
                continue
            self._check(name, info)
            if entries:
                found.append(self._fetched(name, entries, info, max_bytes))
        return [part for part in found if part.messages]

    def _missing(self, name: str, error: Exception) -> None:
        from redis.exceptions import ResponseError

        if not isinstance(error, ResponseError) or "no such key" not in str(error):
            raise error
        if name in self._begun and self._at[name] != _NONE:
            raise _lost(name, f"the stream is gone, and was read up to {self._at[name]}")

    def _check(self, name: str, info: Mapping[str, Any]) -> None:
        """Stop where entries behind the position were removed before they were read."""
        at = self._at[name]
        last = info["last-generated-id"].decode()
        if id_parts(last) < id_parts(at):
            raise _lost(name, f"it ends at {last}, and was read up to {at}: another stream of that name")
        first = info["first-entry"]
        gone = int(info["entries-added"]) - int(info["length"])
        if (first is None or id_parts(first[0]) > id_parts(at)) and gone > self._counted[name]:
            missing = gone - self._counted[name]
            raise _lost(name, f"{missing} entries behind {at} were removed")

    def _begin(self, name: str, start: str) -> str:
        if start == "earliest":
            return _NONE
        if start == "latest":
            return last_id(self._client, name)
        parts = start.partition("-")
        if parts[0].isdigit() and parts[2].isdigit():
            milliseconds, sequence = id_parts(start)
            return f"{milliseconds}-{sequence - 1}" if sequence else f"{max(milliseconds - 1, 0)}-{2**64 - 1}"
        from gristmill.connect.stream_start import moment_us

        return f"{max(moment_us(start) // 1000 - 1, 0)}-{2**64 - 1}"

    def _entries_up_to(self, name: str, at: str) -> int:
        """Return how many entries stand up to an id, those that Redis has removed included."""
        from redis.exceptions import ResponseError

        try:
            info: Any = self._client.xinfo_stream(name)
        except ResponseError:
            return 0
        added, behind = int(info["entries-added"]), 0
        if at == _NONE:
            return added - int(info["length"])
        entries: Any = self._client.xrange(name, min=f"({at}", count=_PAGE)
        while entries:
            behind += len(entries)
            entries = self._client.xrange(name, min=f"({entries[-1][0].decode()}", count=_PAGE)
        return added - behind

    def _at_end(self, name: str) -> bool:
        if self._ends is None:
            return False
        return id_parts(self._at[name]) >= id_parts(self._ends.get(name, _NONE))

    def _fetched(self, name: str, entries: Entries, info: Mapping[str, Any], max_bytes: int) -> Fetched:
        messages: list[Message] = []
        size, at = 0, self._at[name]
        end = self._ends.get(name, _NONE) if self._ends is not None else None
        for raw, fields in entries:
            found = raw.decode()
            if size >= max_bytes or (end is not None and id_parts(found) > id_parts(end)):
                break
            at = found
            messages.append(self._message(name, found, fields or {}))
            size += sum(len(key) + len(value) for key, value in (fields or {}).items())
        self._at[name] = at
        self._counted[name] += len(messages)
        lag = max(int(info["entries-added"]) - self._counted[name], 0)
        return Fetched(name, messages, {WAITING: at, "entries": str(self._counted[name])}, lag, size)

    def _message(self, name: str, found: str, fields: dict[bytes, bytes]) -> Message:
        milliseconds, sequence = id_parts(found)
        if sequence >= 2**_SEQUENCE_BITS or milliseconds >= 2**43:
            raise DataError(
                f"the id {found} is beyond what an origin can hold",
                code="GM-D131",
                where=name,
                hint="let Redis give the ids: XADD STREAM * ...",
            )
        record = milliseconds << _SEQUENCE_BITS | sequence
        time_us = milliseconds * 1000
        wanted = self._source.value
        if wanted is not None:
            value = fields.get(wanted.encode())
            problem = "" if value is not None else f"the entry has no field `{wanted}`"
            whole = value if value is not None else _shown(fields)
            return Message(record, whole, time_us=time_us, problem=problem)
        try:
            return Message(record, {k.decode(): v.decode() for k, v in fields.items()}, time_us=time_us)
        except UnicodeDecodeError:
            return Message(record, _shown(fields), time_us=time_us, problem="a field is no UTF-8")


def _shown(fields: Mapping[bytes, bytes]) -> bytes:
    return b"\n".join(key + b"=" + value for key, value in fields.items())


def _lost(name: str, why: str) -> DataError:
    return DataError(
        f"entries were lost before they were read: {why}",
        code="GM-D132",
        where=name,
        hint="`gristmill stream --from earliest` goes on with what is left; what is missing stays missing",
    )


def id_parts(text: str | bytes) -> tuple[int, int]:
    """Return milliseconds and sequence of an entry's id.

    >>> id_parts("1700000000000-3")
    (1700000000000, 3)
    """
    word = text.decode() if isinstance(text, bytes) else text
    milliseconds, _, sequence = word.partition("-")
    return int(milliseconds), int(sequence or 0)


def last_id(client: Redis, name: str) -> str:
    """Return the id of a stream's last entry, ``0-0`` where there is none."""
    found: Any = client.xrevrange(name, count=1)
    return found[0][0].decode() if found else _NONE


def connect(url: str) -> Redis:
    """Open a connection; ``env:NAME`` names a variable that holds the URL. Raises UsageError."""
    from redis import Redis

    target = os.environ.get(url[4:], "") if url.startswith("env:") else url
    if not target:
        raise UsageError(f"the environment variable {url[4:]} is not set", hint=f"export {url[4:]}=redis://...")
    try:
        return Redis.from_url(target, socket_connect_timeout=10, socket_timeout=30)
    except ValueError as error:
        raise UsageError(f"`{redacted(url)}` is no Redis URL", hint="redis://host:6379/0, or env:NAME") from error


def redacted(url: str) -> str:
    """Return a URL without its password.

    >>> redacted("redis://ana:secret@host:6379/0")
    'redis://ana:***@host:6379/0'
    """
    parts = urlsplit(url)
    if parts.password is None:
        return url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


class speaking:  # noqa: N801 - reads as a word in `with`
    """Turn what the client raises into an EngineError without secrets, which a retry can help."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if kind is None or error is None:
            return
        from redis.exceptions import AuthenticationError, RedisError

        if isinstance(error, RedisError | OSError):
            raise EngineError(
                f"Redis does not answer: {type(error).__name__}",
                code="GM-E050",
                where=redacted(self._url),
                hint="is the server running?",
                retryable=not isinstance(error, AuthenticationError),
            ) from error


def redis_stream(
    url: str,
    stream: str | Sequence[str],
    *,
    value: str | None = None,
    types: Mapping[str, str] | None = None,
) -> RedisSource:
    """Return the source of the entries of Redis Streams.

    Args:
        url: ``redis://host:6379/0``, ``rediss://...``, or ``env:NAME`` for a variable that holds one.
        stream: the stream's name, or several; each is a partition.
        value: the field of an entry that holds a JSON object; None makes every field a column of its text.
        types: types by column; the others are those that the first 1,000 entries fit.

    Raises:
        UsageError: an argument cannot be.

    >>> redis_stream("redis://localhost", "orders").describe()["streams"]
    'orders'
    """
    names = (stream,) if isinstance(stream, str) else tuple(stream)
    if not names or not all(names):
        raise UsageError("a stream needs a name")
    return RedisSource(url=url, streams=names, value=value, types=check_types(types))
