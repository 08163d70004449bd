"""Worker processes that speak in length-prefixed messages over their standard streams; nothing is pickled.

A worker is ``python -m MODULE ARGUMENTS``; its module calls `serve` with a function from bytes to bytes. What the
function prints goes to standard error, so that it cannot break the protocol.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import IO, Self

from gristmill.errors import EngineError

_HEADER = struct.Struct(">Q")


class Pool:
    """Workers that answer messages; use it as a context manager.

    Args:
        module: what each worker runs, by ``python -m``.
        arguments: its arguments.
        workers: how many processes.
        tries: how often a message is given to a worker, where the one that had it died without an answer; what
            workers do must bear to be done again.

    Raises EngineError where a worker dies without an answer on the last try; the others are stopped.
    """

    def __init__(self, module: str, arguments: Sequence[str] = (), *, workers: int, tries: int = 1) -> None:
        self._command = [sys.executable, "-m", module, *arguments]
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="gristmill-pool")
        self._local = threading.local()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self.workers = workers
        self.tries = tries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def map(self, messages: Iterable[bytes], *, places: Sequence[str] = ()) -> Iterator[bytes]:
        """Yield the answer to each message, in their order; at most two messages a worker wait in memory.

        Args:
            messages: what to answer.
            places: what to call each message in an error.
        """
        waiting: deque[Future[bytes]] = deque()
        for number, message in enumerate(messages):
            place = places[number] if number < len(places) else ""
            waiting.append(self._threads.submit(self._ask, message, place))
            if len(waiting) > 2 * self.workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _ask(self, message: bytes, place: str) -> bytes:
        for _ in range(self.tries):
            process = getattr(self._local, "process", None)
            if process is None:
                process = self._local.process = self._start()
            try:
                write_message(process.stdin, message)
                answer = read_message(process.stdout)
            except BrokenPipeError:
                answer = None
            if answer is not None:
                return answer
            code = self._gone(process)
        raise EngineError(
            f"a worker ended with exit code {code} before it answered" + _times(self.tries),
            code="GM-E030",
            where=place or None,
            hint="what it printed stands above; it may have run out of memory",
            retryable=True,
        )

    def _gone(self, process: subprocess.Popen[bytes]) -> int:
        """Forget a worker that is dead or does not speak any more, and return its exit code."""
        self._local.process = None
        with suppress(OSError):
            process.kill()
        code = process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        with self._lock:
            self._processes.remove(process)
        return code

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with self._lock:
            self._processes.append(process)
        return process

    def close(self) -> None:
        """Stop the workers; a second call does nothing."""
        for process in self._processes:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
        self._threads.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._processes = []


def _times(tries: int) -> str:
    return f", {tries} times" if tries > 1 else ""


def serve(answer: Callable[[bytes], bytes]) -> None:
    """Answer messages from standard input until it ends; called by a worker's module."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with out:
        while (message := read_message(sys.stdin.buffer)) is not None:
            write_message(out, answer(message))


def write_message(stream: IO[bytes] | None, message: bytes) -> None:
    """Write one message."""
    assert stream is not None
    stream.write(_HEADER.pack(len(message)))
    stream.write(message)
    stream.flush()


def read_message(stream: IO[bytes] | None) -> bytes | None:
    """Read one message; None at the end of the stream."""
    assert stream is not None
    header = stream.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None
    (size,) = _HEADER.unpack(header)
    message = stream.read(size)
    return message if len(message) == size else None
