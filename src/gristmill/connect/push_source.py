"""An HTTP endpoint as a source: requests wait in a bounded queue and are answered when their rows are committed.

A producer that names itself and numbers its requests is a partition, its position the next number; so a request that
is sent again, because its answer was lost, lands once. A producer without a name lands at least once.
"""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import msgspec

from gristmill.connect.sinks import secret
from gristmill.connect.stream_decode import Decoder, DecodingReader, check_types, json_record, shape_of_messages
from gristmill.connect.stream_rows import StreamRows
from gristmill.connect.stream_values import WAITING, Fetched, Message, Position, Reader
from gristmill.connect.values import Found, Shape, UnitRows
from gristmill.errors import EngineError, UsageError
from gristmill.model.units import Unit

PRODUCER, SEQUENCE = "Gristmill-Producer", "Gristmill-Sequence"
UNNAMED = "push"

_MOST_BYTES = 16 * 2**20
_ANSWER_S = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")


class PushSource(msgspec.Struct, frozen=True, kw_only=True):
    """Rows that others POST; made by ``push``.

    Args:
        port: where to listen; 0 takes a free one.
        token: ``env:NAME`` of the bearer token that requests must carry.
        types: the columns and their types.
        host: the address to listen on.
        queue_rows: how many rows may wait; more are refused with 429.
    """

    port: int
    token: str
    types: dict[str, str]
    host: str = "127.0.0.1"
    queue_rows: int = 50_000

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words."""
        return {"kind": "push", "url": f"http://{self.host}:{self.port}/"}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the producers that are known; nothing waits outside of a running stream."""
        return [Found(name=name, status="same", detail={"end": unit.detail[WAITING]}) for name, unit in known.items()]

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape that was declared."""
        return shape_of_messages([], json_record, types=self.types, key=(), where=f"port {self.port}")

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return no rows: what was pushed is gone when it is landed."""
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
        """Listen; see `gristmill.connect.stream_values.StreamConnector`."""
        fetcher = PushFetcher(self, positions, listens=ends is None)
        return DecodingReader(fetcher, Decoder(shape, json_record))


@dataclass(slots=True)
class _Request:
    """One POST on its way into a commit."""

    producer: str
    sequence: int | None
    rows: list[bytes]
    size: int
    done: threading.Event = field(default_factory=threading.Event)
    landed: bool = False


class PushFetcher:
    """Takes requests from a bounded queue; every field below ``change`` is read and written under it."""

    def __init__(self, source: PushSource, positions: Mapping[str, Position], *, listens: bool) -> None:
        self.source = source
        self.change = threading.Condition()
        self.next = {name: int(position[WAITING]) for name, position in positions.items()}
        self._records = {name: int(position.get("records", "0")) for name, position in positions.items()}
        self._queue: deque[_Request] = deque()
        self._handed: list[_Request] = []
        self._waiting_rows = 0
        self._closed = False
        self.server = _listen(self) if listens else None

    def fetch(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Fetched]:
        """Return the rows of requests that wait; a request is never cut in two."""
        with self.change:
            if not self._queue and timeout_s > 0 and self.server is not None:
                self.change.wait(timeout_s)
            taken: list[_Request] = []
            while self._queue and max_rows > 0 and max_bytes > 0:
                request = self._queue.popleft()
                max_rows, max_bytes = max_rows - len(request.rows), max_bytes - request.size
                self._waiting_rows -= len(request.rows)
                taken.append(request)
            self._handed += taken
            return self._fetched(taken)

    def committed(self) -> None:
        """Answer the requests whose rows are in the commit."""
        with self.change:
            for request in self._handed:
                request.landed = True
                if request.sequence is not None:
                    self.next[request.producer] = max(self.next.get(request.producer, 0), request.sequence + 1)
                request.done.set()
            self._handed.clear()

    def close(self) -> None:
        """Stop to listen; whoever waits is told to try again."""
        with self.change:
            self._closed = True
            for request in (*self._handed, *self._queue):
                request.done.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()

    def offer(self, request: _Request) -> str:
        """Queue a request; returns ``queued``, ``duplicate`` or ``full``."""
        with self.change:
            number = request.sequence
            if number is not None:
                if number < self.next.get(request.producer, 0):
                    return "duplicate"
                for other in (*self._handed, *self._queue):
                    if other.producer == request.producer and (other.sequence or 0) >= number:
                        return "full"  # the same one is on its way: its answer will be there at the next try
            if self._closed or (self._waiting_rows and self._waiting_rows + len(request.rows) > self.source.queue_rows):
                return "full"
            self._queue.append(request)
            self._waiting_rows += len(request.rows)
            self.change.notify_all()
            return "queued"

    def _fetched(self, taken: Sequence[_Request]) -> list[Fetched]:
        found: dict[str, list[_Request]] = {}
        for request in taken:
            found.setdefault(request.producer, []).append(request)
        now_us = time.time_ns() // 1000
        out = []
        for name, requests in found.items():
            first = self._records.get(name, 0)
            rows = [row for request in requests for row in request.rows]
            self._records[name] = first + len(rows)
            numbers = [request.sequence for request in requests if request.sequence is not None]
            at = max(numbers) + 1 if numbers else self._records[name]
            messages = [Message(first + i, row, time_us=now_us) for i, row in enumerate(rows, 1)]
            after = {WAITING: str(at), "records": str(self._records[name])}
            size = sum(request.size for request in requests)
            out.append(Fetched(name, messages, after, self._waiting_rows, size))
        return out


def _listen(fetcher: PushFetcher) -> ThreadingHTTPServer:
    token = secret(fetcher.source.token).encode()

    class Handler(_Handler):
        inlet: ClassVar[PushFetcher] = fetcher
        expected: ClassVar[bytes] = token

    try:
        server = ThreadingHTTPServer((fetcher.source.host, fetcher.source.port), Handler)
    except OSError as error:
        raise EngineError(
            f"port {fetcher.source.port} cannot be listened on: {error.strerror}", code="GM-E050", retryable=True
        ) from error
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="gristmill-push").start()
    return server


class _Handler(BaseHTTPRequestHandler):
    """Answers one connection."""

    protocol_version = "HTTP/1.1"
    timeout = _ANSWER_S
    inlet: ClassVar[PushFetcher]
    expected: ClassVar[bytes]

    def do_POST(self) -> None:
        """Take rows: one JSON object a line."""
        body = self._body()
        if body is None:
            return
        rows = [row for row in (line.strip() for line in body.split(b"\n")) if row]
        producer, number = self.headers.get(PRODUCER, ""), self.headers.get(SEQUENCE, "")
        named = bool(producer) and number.isdigit() and producer != UNNAMED
        if bool(producer or number) != named or len(producer) > 200 or not producer.isprintable():
            self._answer(400, f"{PRODUCER} and {SEQUENCE} go together: a name, and a number that grows")
            return
        request = _Request(producer if named else UNNAMED, int(number) if named else None, rows, len(body))
        if not rows:
            self._answer(200, "no rows", accepted=0)
            return
        said = self.inlet.offer(request)
        if said == "duplicate":
            self._answer(200, "landed before", accepted=0)
        elif said == "full":
            self._answer(429, "the queue is full", retry_s=1)
        elif request.done.wait(_ANSWER_S) and request.landed:
            self._answer(200, "committed", accepted=len(rows))
        else:
            self._answer(503, "not committed yet; send it again", retry_s=1)

    def _body(self) -> bytes | None:
        """Return the request's body, None where it was refused."""
        length = self.headers.get("Content-Length", "")
        given = self.headers.get("Authorization", "").encode("utf-8", "replace")
        host = (self.headers.get("Host") or "").rpartition(":")[0] or (self.headers.get("Host") or "")
        refused = (
            (401, "a bearer token is needed")
            if not hmac.compare_digest(given, b"Bearer " + self.expected)
            else (403, "the host is another")
            if self.inlet.source.host in _LOOPBACK and host not in _LOOPBACK
            else (411, "the length is needed")
            if not length.isdigit()
            else (413, f"at most {_MOST_BYTES} bytes")
            if int(length) > _MOST_BYTES
            else None
        )
        if refused is not None:
            self.close_connection = True
            self._answer(*refused)
            return None
        return self.rfile.read(int(length))

    def _answer(self, code: int, words: str, *, accepted: int | None = None, retry_s: int | None = None) -> None:
        body = json.dumps({"message": words} | ({} if accepted is None else {"accepted": accepted})).encode() + b"\n"
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_s is not None:
            self.send_header("Retry-After", str(retry_s))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing for every request."""


def push(
    port: int,
    *,
    token: str,
    types: Mapping[str, str],
    host: str = "127.0.0.1",
    queue_rows: int = 50_000,
) -> PushSource:
    """Return an HTTP endpoint as a source: rows come by POST, one JSON object a line.

    A request is answered with 200 when its rows are in a commit, with 429 where too many rows wait, and with 503
    where it should be sent again. It is there while ``gristmill stream`` runs.

    Args:
        port: where to listen; 0 takes a free one.
        token: ``env:NAME`` of the bearer token that every request must carry.
        types: the columns and their types, such as ``{"id": "int64"}``.
        host: the address to listen on; another than loopback wants a proxy with TLS before it.
        queue_rows: how many rows may wait.

    Raises:
        UsageError: an argument cannot be.

    >>> push(8080, token="env:TOKEN", types={"id": "int64"}).describe()["url"]
    'http://127.0.0.1:8080/'
    """
    if not token.startswith("env:"):
        raise UsageError("a secret is named, not written down", code="GM-U134", hint='token="env:NAME"')
    if not types:
        raise UsageError("the columns of what is pushed are declared", hint='types={"id": "int64"}')
    if not 0 <= port < 65_536 or queue_rows < 1:
        raise UsageError(f"port {port} or queue_rows {queue_rows} cannot be")
    return PushSource(port=port, token=token, types=check_types(types), host=host, queue_rows=queue_rows)
