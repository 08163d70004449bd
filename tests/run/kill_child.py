"""Follows a stream and is killed at a moment given by chance; a test starts it again until everything is there.

Three ways to go: SIGKILL at a step (a call into the store's catalog, before and after every write there, and before,
within and after every batch that a sink gets); a signal after some CPU time, wherever the process is then; or SIGSTOP
at a step, so that it wakes up as a zombie after others have gone on. Arguments: the project's folder, a seed, the
number of steps within which it dies, and, where rows do not come from files, ``redis`` or ``kafka``, the address and
the name. Exit code 5 means that another writer took over.

``--nursery`` imports everything once and forks such processes: each line of JSON is a request, each line of JSON that
comes back its answer.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import gristmill as gm
from gristmill.connect.kafka_source import KafkaWriter
from gristmill.connect.redis_source import RedisWriter
from gristmill.connect.sinks import FilesWriter
from gristmill.errors import Conflict
from gristmill.store import committing, open_store, store
from gristmill.store.catalog import Catalog
from tests.run.streams import project

TAKEN_OVER = 5
TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
FETCH = {"fetch.wait.max.ms": "10"}  # the mock cluster answers a waiting fetch only at its end


@dataclass(frozen=True)
class Fate:
    """When a process goes.

    Args:
        seed: of chance.
        steps: it dies, or falls asleep, within so many steps; never where 0.
        cpu_s: it dies after so many seconds of CPU; never where 0.
        sleeps: whether it falls asleep instead of dying.
        fsync: whether commits ask the disk; SIGKILL does not lose what the system holds.
    """

    seed: int
    steps: int = 0
    cpu_s: float = 0.0
    sleeps: bool = False
    fsync: bool = True


def places(kind: str = "files", address: str = "", name: str = "") -> tuple[object, object]:
    """Return what the project reads, None for files, and where its sink writes."""
    if kind == "redis":
        return gm.redis_stream(address, name, types=TYPES), gm.redis_stream(address, f"{name}-out")
    if kind == "kafka":
        return gm.kafka(address, name, types=TYPES, options=FETCH), gm.kafka(address, f"{name}-out")
    return None, gm.files("outbox/*.ndjson")


def shop(root: Path, *given: str, fsync: bool = True) -> gm.Project:
    """Return the project, with a sink."""
    reads, writes = places(*given)
    made = project(root, reads)
    if not fsync:
        made.__dict__["store"] = open_store(root / ".gristmill", create=True, durability="none")
    made.sink("out", reads="marts.minute", to=writes)  # type: ignore[arg-type]
    return made


class Steps:
    """Counts down to the end."""

    def __init__(self, fate: Fate) -> None:
        self.left = random.Random(fate.seed).randrange(1, fate.steps) if fate.steps else 0
        self.fate, self.depth = fate, 0

    def step(self, *, may_sleep: bool = True) -> None:
        """Go one further; sleep only where no lock is held that others wait for."""
        if not self.left or (self.left == 1 and self.fate.sleeps and (self.depth or not may_sleep)):
            return
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGSTOP if self.fate.sleeps else signal.SIGKILL)


class Around:
    """A write in the catalog, with steps before and after each of its ends."""

    def __init__(self, inner, steps: Steps) -> None:  # type: ignore[no-untyped-def]
        self.inner, self.steps = inner, steps

    def __enter__(self):  # type: ignore[no-untyped-def]
        found = self.inner.__enter__()
        self.steps.depth += 1
        self.steps.step()
        return found

    def __exit__(self, *rest: object):  # type: ignore[no-untyped-def]
        self.steps.step()
        done = self.inner.__exit__(*rest)
        self.steps.depth -= 1
        self.steps.step(may_sleep=False)
        return done


def count(steps: Steps) -> None:
    """Count every call into the catalog and every batch that goes out."""
    write, rows = Catalog.write, Catalog.rows

    def counted_write(self, *given, **more):  # type: ignore[no-untyped-def]
        steps.step(may_sleep=False)
        return Around(write(self, *given, **more), steps)

    def counted_rows(self, *given, **more):  # type: ignore[no-untyped-def]
        steps.step()
        return rows(self, *given, **more)

    @contextmanager
    def counted_lock(path: Path) -> Iterator[None]:
        with locked(path):
            steps.depth += 1
            yield
            steps.depth -= 1

    locked = committing.locked
    committing.locked = store.locked = counted_lock  # type: ignore[assignment]
    Catalog.write, Catalog.rows = counted_write, counted_rows  # type: ignore[method-assign]
    for kind in (FilesWriter, RedisWriter, KafkaWriter):
        _count_sending(kind, steps)


def _count_sending(kind: type, steps: Steps) -> None:
    send = kind.send  # type: ignore[attr-defined]

    def counted(self, batch, messages):  # type: ignore[no-untyped-def]
        steps.step()
        if steps.left % 3 == 1:  # half of it goes out, and nobody knows
            send(self, batch, messages[: len(messages) // 2])
            steps.step()
        send(self, batch, messages)
        steps.step()

    kind.send = counted  # type: ignore[attr-defined]


def live(root: Path, fate: Fate, given: Sequence[str]) -> int:
    """Follow the stream to its end, or as far as it comes; returns the exit code."""
    rng = random.Random(fate.seed)
    count(Steps(fate))
    if fate.cpu_s:
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, fate.cpu_s)
    try:
        made = shop(root, *given, fsync=fate.fsync)
        made.stream(until_end=True, max_rows=rng.choice([5, 20, 60]))
    except Conflict:
        return TAKEN_OVER
    return 0


def nursery() -> None:
    """Fork a process for each request, which need not import anything, and say what became of it."""
    import confluent_kafka  # noqa: F401
    import duckdb  # noqa: F401
    import ibis  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import redis  # noqa: F401

    import gristmill.algebra.delta.rules
    import gristmill.engines.kernel.delta
    import gristmill.run.streaming.loop
    import gristmill.run.tables  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        if "start" in asked:
            answer: object = _fork(Path(asked["start"]), Fate(**asked["fate"]), asked["given"])
        elif "wake" in asked:
            answer = os.kill(asked["wake"], signal.SIGCONT)
        else:
            answer = _look(asked["look"])
        print(json.dumps(answer), flush=True)


def _fork(root: Path, fate: Fate, given: Sequence[str]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        code = live(root, fate, given)
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def _look(pid: int) -> tuple[str, int, float]:
    """Wait for what becomes of a process: the word for it, its code, and the CPU seconds that it took."""
    _, status, used = os.wait4(pid, os.WUNTRACED)
    if os.WIFSTOPPED(status):
        return "asleep", 0, 0.0
    return "gone", os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime


if __name__ == "__main__":
    if sys.argv[1] == "--nursery":
        nursery()
    else:
        sys.exit(live(Path(sys.argv[1]), Fate(seed=int(sys.argv[2]), steps=int(sys.argv[3])), sys.argv[4:]))
