"""Follows a stream and kills itself at a step given by chance; a test starts it again until everything is there.

Steps are counted at every call into the store's catalog, and before and within every batch that a sink gets, so that a
kill falls before, within and after a commit, and before, within and after a sending. Arguments: the project's folder, a
seed, the number of steps within which it dies, and, where rows do not come from files, ``redis`` or ``kafka``, the
address and the name. Exit code 5 means that another writer took over.
"""

import os
import random
import signal
import sys
import traceback
from pathlib import Path

import gristmill as gm
from gristmill.connect.sinks import FilesWriter
from gristmill.errors import Conflict
from gristmill.store.catalog import Catalog
from tests.run.streams import project

TAKEN_OVER = 5
TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}


def source(kind: str = "files", address: str = "", name: str = "") -> object:
    """Return what the project reads; None for files."""
    if kind == "redis":
        return gm.redis_stream(address, name, types=TYPES)
    return gm.kafka(address, name, types=TYPES) if kind == "kafka" else None


def shop(root: Path, *given: str) -> gm.Project:
    """Return the project, with a sink."""
    made = project(root, source(*given))
    made.sink("out", reads="marts.minute", to=gm.files("outbox/*.ndjson"))
    return made


def nursery() -> None:
    """Fork a child for each line of arguments, which need not import anything; ``wait PID`` gives its exit code."""
    import duckdb  # noqa: F401
    import ibis  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    import gristmill.algebra.delta.rules
    import gristmill.engines.kernel.delta
    import gristmill.run.streaming.loop
    import gristmill.run.tables  # noqa: F401

    for line in sys.stdin:
        words = line.split("\t")
        words[-1] = words[-1].rstrip("\n")
        if words[0] == "wait":
            _, status = os.waitpid(int(words[1]), 0)
            print(os.waitstatus_to_exitcode(status), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                main(words)
                code = 0
            except SystemExit as ended:
                code = int(str(ended.code))
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        print(pid, flush=True)


def main(words: list[str]) -> None:
    root, seed, most = Path(words[0]), int(words[1]), int(words[2])
    rng = random.Random(seed)
    left = [rng.randrange(1, most)]

    def step() -> None:
        left[0] -= 1
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    write, rows, send = Catalog.write, Catalog.rows, FilesWriter.send

    def counted_write(self, *given, **more):  # type: ignore[no-untyped-def]
        step()
        return Around(write(self, *given, **more))

    def counted_rows(self, *given, **more):  # type: ignore[no-untyped-def]
        step()
        return rows(self, *given, **more)

    def counted_send(self, batch, messages):  # type: ignore[no-untyped-def]
        step()
        if left[0] % 3 == 0:  # half of it went out, and nobody knows
            send(self, batch, messages[: len(messages) // 2])
            step()
        send(self, batch, messages)
        step()

    class Around:
        def __init__(self, inner) -> None:  # type: ignore[no-untyped-def]
            self.inner = inner

        def __enter__(self):  # type: ignore[no-untyped-def]
            found = self.inner.__enter__()
            step()
            return found

        def __exit__(self, *rest: object):  # type: ignore[no-untyped-def]
            step()
            done = self.inner.__exit__(*rest)
            step()
            return done

    Catalog.write, Catalog.rows = counted_write, counted_rows  # type: ignore[method-assign]
    FilesWriter.send = counted_send  # type: ignore[method-assign]
    try:
        shop(root, *words[3:]).stream(until_end=True, max_rows=rng.choice([5, 20, 60]))
    except Conflict:
        sys.exit(TAKEN_OVER)


if __name__ == "__main__":
    nursery() if sys.argv[1] == "--nursery" else main(sys.argv[1:])
