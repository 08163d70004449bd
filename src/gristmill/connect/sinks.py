"""Messages on their way out, and the places that take them: files and HTTP; queues stand beside their sources."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

import msgspec

from gristmill.errors import EngineError, UsageError


class Outgoing(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one row.

    Args:
        id: the same whenever the same change is sent again, so that a receiver can drop the second one.
        op: ``insert``, ``update`` or ``delete``.
        table: the table.
        commit: the commit that holds it.
        key: the columns of the table's key; its row id where it has none.
        row: the row as it is, or as it was before a ``delete``.
    """

    id: str
    op: str
    table: str
    commit: str
    key: dict[str, object]
    row: dict[str, object]

    def to_json(self) -> bytes:
        """Return all of it as one JSON object."""
        return as_json(self)


class SinkWriter(Protocol):
    """An open sink."""

    def send(self, batch: str, messages: Sequence[Outgoing]) -> None:
        """Send messages and return when they have been taken; the same batch may come again after a crash.

        Raises EngineError where they were not taken.
        """
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


class SinkTarget(Protocol):
    """A place that takes messages."""

    def describe(self) -> dict[str, str]:
        """Say what it is, secrets redacted."""
        ...

    def writer(self, root: Path) -> SinkWriter:
        """Open it."""
        ...


def as_json(value: object) -> bytes:
    """Return a value as JSON; moments in ISO form, decimals as text.

    >>> as_json({"a": 1})
    b'{"a":1}'
    """
    return msgspec.json.encode(value, enc_hook=str)


class FilesWriter:
    """Writes each batch as one file of JSON lines; the same batch again replaces it."""

    def __init__(self, root: Path, pattern: str) -> None:
        path = PurePosixPath(pattern)
        if (
            "://" in pattern
            or path.suffix not in (".ndjson", ".jsonl")
            or "*" not in path.name
            or "*" in str(path.parent)
        ):
            raise UsageError(
                f"a sink cannot write files to `{pattern}`", code="GM-U133", hint='gm.files("outbox/*.ndjson")'
            )
        self._folder, self._name = root / path.parent, path.name

    def send(self, batch: str, messages: Sequence[Outgoing]) -> None:
        """Write a file that is there whole or not at all."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            target = self._folder / self._name.replace("*", batch)
            part = target.with_suffix(f".{os.getpid()}.part")
            with part.open("wb") as file:
                for message in messages:
                    file.write(message.to_json() + b"\n")
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        except OSError as error:
            raise EngineError(
                f"a sink's file cannot be written: {error.strerror}",
                code="GM-E051",
                where=str(self._folder),
                retryable=True,
            ) from error

    def close(self) -> None:
        """Nothing stays open."""


class HttpSink(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP endpoint that takes JSON lines; made by ``http``.

    Args:
        url: where to POST.
        token: ``env:NAME`` of a bearer token.
        timeout_s: how long to wait for an answer.
    """

    url: str
    token: str | None = None
    timeout_s: float = 30.0

    def describe(self) -> dict[str, str]:
        """Return what this sink is, in words."""
        return {"kind": "http", "url": self.url.partition("?")[0]}

    def writer(self, root: Path) -> SinkWriter:
        """Return what sends."""
        return HttpWriter(self)


class HttpWriter:
    """POSTs each batch with an idempotency key; whatever is not a 2xx answer counts as not taken."""

    def __init__(self, sink: HttpSink) -> None:
        self._sink = sink
        self._headers = {"Content-Type": "application/x-ndjson", "User-Agent": "gristmill"}
        if sink.token is not None:
            self._headers["Authorization"] = f"Bearer {secret(sink.token)}"

    def send(self, batch: str, messages: Sequence[Outgoing]) -> None:
        """POST a batch."""
        body = b"".join(message.to_json() + b"\n" for message in messages)
        headers = {**self._headers, "Idempotency-Key": batch}
        request = urllib.request.Request(self._sink.url, data=body, headers=headers, method="POST")
        where = self._sink.url.partition("?")[0]
        try:
            with urllib.request.urlopen(request, timeout=self._sink.timeout_s) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            again = error.code in (408, 409, 425, 429) or error.code >= 500
            error.close()
            raise EngineError(f"the sink answers {error.code}", code="GM-E051", where=where, retryable=again) from None
        except OSError as error:
            raise EngineError("the sink does not answer", code="GM-E051", where=where, retryable=True) from error

    def close(self) -> None:
        """Nothing stays open."""


def secret(reference: str) -> str:
    """Return what ``env:NAME`` stands for. Raises UsageError where it is another text, or not set."""
    if not reference.startswith("env:"):
        raise UsageError("a secret is named, not written down", code="GM-U134", hint='token="env:NAME"')
    value = os.environ.get(reference[4:], "")
    if not value:
        raise UsageError(f"the environment variable {reference[4:]} is not set", code="GM-U134")
    return value


def http(url: str, *, token: str | None = None, timeout: float = 30.0) -> HttpSink:
    """Return a sink that POSTs JSON lines, one line per changed row.

    Args:
        url: ``https://...`` or ``http://...``.
        token: ``env:NAME`` of a variable that holds a bearer token.
        timeout: seconds to wait for an answer.

    Raises:
        UsageError: the URL is none.

    >>> http("https://example.org/rows").describe()["kind"]
    'http'
    """
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"`{url}` is no HTTP URL", code="GM-U133")
    if token is not None and not token.startswith("env:"):
        raise UsageError("a secret is named, not written down", code="GM-U134", hint='token="env:NAME"')
    return HttpSink(url=url, token=token, timeout_s=timeout)
