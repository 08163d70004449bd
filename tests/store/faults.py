"""Faults to point at any operation on a store: kills, lost power, full disks, flipped bytes, races.

An operation is a function of a store's path that lives in a module. It runs in a process of its own, and may call
`acknowledge` with whatever it has been promised; what was acknowledged must still hold after the fault::

    for step in killed_at_every_step(path, append_one): check(path, acknowledged(path))
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

Operation = Callable[[str], None]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    ["gristmill.store.store", "gristmill.store.compute", "duckdb", "pyarrow.parquet", __name__]
)

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.utime", "shutil.copyfile"}


def _journal(path: str) -> Path:
    return Path(path).parent / f"{Path(path).name}.journal"


def acknowledge(path: str, word: str) -> None:
    """Note, where no fault reaches it, that the store has promised something."""
    _write(path, f"ack {word}")


def acknowledged(path: str | Path) -> list[str]:
    """Return what operations on that store have been promised, in order."""
    journal = _journal(str(path))
    lines = journal.read_text().splitlines() if journal.exists() else []
    return [line[4:] for line in lines if line.startswith("ack ")]


def _write(path: str, line: str) -> None:
    with open(_journal(path), "a") as out:  # noqa: PTH123 - audited by its name
        out.write(line + "\n")


def _watched(path: str, on_step: Callable[[str], None]) -> None:
    """Call ``on_step`` before each system call and each statement by which this process could change the store."""
    import apsw

    prefix = str(Path(path).absolute())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and any(str(argument).startswith(prefix + "/") for argument in arguments[:2]):
            on_step(event)

    sys.addaudithook(hook)
    connect = apsw.Connection

    class Watched(connect):  # type: ignore[misc, valid-type]
        def execute(self, statement: str, *rest: object) -> object:  # type: ignore[override]
            if not statement.startswith(("select", "pragma")):
                on_step(statement.split("(")[0][:30])
            return super().execute(statement, *rest)

    apsw.Connection = Watched  # type: ignore[misc]


def _run_and_die(path: str, operation: Operation, step: int) -> None:
    left = step

    def on_step(_: str) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    _watched(path, on_step)
    operation(path)


def run(target: Callable[..., None], *arguments: object) -> int:
    """Run a function in a process of its own and return its exit code; minus the signal if it was killed."""
    process: BaseProcess = _context.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    code = process.exitcode
    assert code is not None, "it hangs"
    return code


def killed_at_every_step(path: Path, operation: Operation, *, first: int = 0, stride: int = 1) -> Iterator[int]:
    """Run an operation again and again, killed one step later each time, until it is not; yields after each kill.

    The store is not put back in between, so that every run goes on from what the last kill left.
    """
    step = first
    while True:
        code = run(_run_and_die, str(path), operation, step)
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"step {step}: exit {code}"
        yield step
        step += stride


def killed_at(path: Path, operation: Operation, step: int) -> bool:
    """Run an operation and kill it before a step; returns whether it was killed."""
    code = run(_run_and_die, str(path), operation, step)
    assert code in (0, -signal.SIGKILL), f"step {step}: exit {code}"
    return code != 0


def _run_and_count(path: str, operation: Operation) -> None:
    count = 0

    def on_step(_: str) -> None:
        nonlocal count
        count += 1

    _watched(path, on_step)
    operation(path)
    _write(path, f"steps {count}")


def steps(path: Path, operation: Operation) -> int:
    """Run an operation and return in how many steps it changed the store."""
    assert run(_run_and_count, str(path), operation) == 0
    return int(_journal(str(path)).read_text().splitlines()[-1].split()[1])


# -- lost power -------------------------------------------------------------------------------------


def _run_and_log(path: str, operation: Operation, step: int) -> None:
    """Run an operation and log what it forces to the disk, then die at a step."""
    import apsw

    from gristmill.store import datafiles

    real_flush, real_replace = datafiles.flush, Path.replace

    def flush(target: Path) -> None:
        real_flush(target)
        _write(path, f"sync {target}")

    def replace(self: Path, target: Path) -> Path:
        done = real_replace(self, target)
        _write(path, f"move {self}\t{target}")
        return done

    datafiles.flush = flush
    Path.replace = replace  # type: ignore[method-assign, assignment]
    connect = apsw.Connection
    wal = Path(path) / "catalog.db-wal"

    class Logged(connect):  # type: ignore[misc, valid-type]
        full = False

        def execute(self, statement: str, *rest: object) -> object:  # type: ignore[override]
            done = super().execute(statement, *rest)
            if statement.startswith("pragma synchronous="):
                self.full = statement.endswith("full")
            if statement == "commit" and self.full:
                _write(path, f"log {wal.stat().st_size}")
            return done

    apsw.Connection = Logged  # type: ignore[misc]
    _run_and_die(path, operation, step)


def power_lost_at(path: Path, operation: Operation, step: int) -> bool:
    """Run an operation, cut the power at a step, and drop whatever was not forced to the disk.

    Files that were not flushed are emptied, names that were not flushed with their folder are taken back, and the
    catalog's log is cut after the last transaction that was flushed. Returns whether the operation had ended.
    """
    journal = _journal(str(path))
    known = journal.read_text().count("\n") if journal.exists() else 0
    wal = path / "catalog.db-wal"
    size = wal.stat().st_size if wal.exists() else 0
    before = {file for file in path.rglob("*") if file.is_file()}
    code = run(_run_and_log, str(path), operation, step)
    assert code in (0, -signal.SIGKILL), code
    lines = journal.read_text().splitlines()[known:] if journal.exists() else []
    synced = {Path(line[5:]) for line in lines if line.startswith("sync ")}
    flushed_names: set[Path] = set()
    waiting: dict[Path, Path] = {}
    for line in lines:
        if line.startswith("move "):
            source, target = map(Path, line[5:].split("\t"))
            waiting[target] = source
            if source in synced:
                synced.add(target)
        elif line.startswith("sync "):
            folder = Path(line[5:])
            done = {target for target in waiting if target.parent == folder}
            flushed_names |= done
            for target in done:
                waiting.pop(target)
        elif line.startswith("log "):
            size = max(size, int(line[4:]))
    for target, source in waiting.items():
        if target.exists():
            target.rename(source)
    for file in {file for file in path.rglob("*") if file.is_file()} - before:
        if (file.suffix == ".parquet" or "files" in file.parts) and file not in synced:
            os.truncate(file, 0)
    if wal.exists() and wal.stat().st_size > size:
        os.truncate(wal, size)
    (path / "catalog.db-shm").unlink(missing_ok=True)
    return code == 0


# -- a full disk ------------------------------------------------------------------------------------


def _run_limited(path: str, operation: Operation, limit: int) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    from gristmill.errors import GristmillError

    try:
        operation(path)
    except GristmillError as error:
        os._exit(10 if error.retryable else 11)
    os._exit(0)


def on_a_full_disk(path: Path, operation: Operation, limit: int) -> int:
    """Run an operation that can make no file longer than ``limit`` bytes.

    Returns 0 if it succeeded, 10 if it raised an error that says a retry can help, 11 for another of our errors.
    """
    return run(_run_limited, str(path), operation, limit)


def _run_refused(path: str, operation: Operation, step: int) -> None:
    left = step

    def on_step(what: str) -> None:
        nonlocal left
        left -= 1
        if left == -1 and what in EVENTS:
            raise OSError(errno.ENOSPC, "No space left on device")

    _watched(path, on_step)
    from gristmill.errors import GristmillError

    try:
        operation(path)
    except (GristmillError, OSError) as error:
        os._exit(10 if getattr(error, "retryable", False) else 12)
    os._exit(0)


def refused_at(path: Path, operation: Operation, step: int) -> int:
    """Run an operation whose system call number ``step`` fails as on a full disk; the codes of `on_a_full_disk`."""
    return run(_run_refused, str(path), operation, step)


_refusing: dict[str, object] = {}


def refusing(path: Path, act: Callable[[], object], step: int) -> int:
    """Run something in this process whose call number ``step`` that needs room on the disk fails as on a full one.

    Returns how many such calls there were.
    """
    if not _refusing:
        sys.addaudithook(_refuse)
    _refusing.update(prefix=str(path.parent) + "/", step=step, count=0)
    try:
        act()
    finally:
        _refusing["prefix"] = None
    return int(str(_refusing["count"]))


def _refuse(event: str, arguments: tuple[object, ...]) -> None:
    prefix = _refusing.get("prefix")
    if prefix is None or event not in EVENTS or not any(str(each).startswith(str(prefix)) for each in arguments[:2]):
        return
    if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
        return
    count = int(str(_refusing["count"]))
    _refusing["count"] = count + 1
    if count == _refusing["step"]:
        raise OSError(errno.ENOSPC, "No space left on device")


# -- damage -----------------------------------------------------------------------------------------


def flip(path: Path, offset: int = -1, bit: int = 0) -> None:
    """Flip one bit of a file; the middle one by default."""
    size = path.stat().st_size
    place = size // 2 if offset < 0 else offset
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << bit)]))


def cut(path: Path, size: int) -> None:
    """Cut a file short."""
    os.truncate(path, size)


@dataclass(frozen=True)
class Copy:
    """A copy of a store as it was."""

    path: Path

    def back(self, store: Path) -> None:
        """Put the store back as it was."""
        shutil.rmtree(store)
        shutil.copytree(self.path, store)


def copy_of(store: Path, to: Path) -> Copy:
    """Return a copy of a store that nobody has open."""
    shutil.copytree(store, to)
    return Copy(to)


# -- races ------------------------------------------------------------------------------------------


def race(path: Path, operations: Sequence[Operation], *, check: Callable[[Path], None]) -> None:
    """Run operations at once, each in a process of its own, while ``check`` looks at the store again and again."""
    processes: list[BaseProcess] = [_context.Process(target=operation, args=(str(path),)) for operation in operations]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        check(path)
    check(path)
    codes = [process.exitcode for process in processes]
    assert codes == [0] * len(codes), codes
