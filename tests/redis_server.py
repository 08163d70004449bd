"""A real Redis for tests that carry the mark ``service``."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services import free_port, missing


class Server:
    """A Redis server of its own, which a test may stop and start again."""

    def __init__(self, program: str, folder: Path, port: int) -> None:
        self.program, self.folder, self.port = program, folder, port
        self.url = f"redis://127.0.0.1:{port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen([self.program, *words], stdout=log, stderr=log)
        log.close()
        self.wait()

    def wait(self) -> None:
        from redis import Redis
        from redis.backoff import ConstantBackoff
        from redis.exceptions import BusyLoadingError, ConnectionError
        from redis.retry import Retry

        retry = Retry(ConstantBackoff(0.02), 500)
        with Redis(port=self.port, retry=retry, retry_on_error=[ConnectionError, BusyLoadingError]) as client:
            client.ping()

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def redis_server() -> Iterator[Server]:
    """Give a server that is there for the session: the programs are those of Debian's redis-server, or valkey's."""
    program = os.environ.get("GRISTMILL_TEST_REDIS") or shutil.which("redis-server") or shutil.which("valkey-server")
    if program is None:
        missing("no Redis server is installed (Debian: apt install redis-server)")
    assert program is not None
    folder = Path(tempfile.mkdtemp(prefix="gm-redis-"))
    server = Server(program, folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
