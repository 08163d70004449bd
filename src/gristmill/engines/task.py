"""One piece of work: register what a spec reads, run its SQL on the kernel, write what comes out.

`work` is what every executor calls in the end, wherever it runs; `answer` is the same from bytes to bytes.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from gristmill._version import __version__
from gristmill.engines.protocol import Columns, Failure, Input, MadeFile, Manifest, Spec
from gristmill.errors import EngineError, GristmillError
from gristmill.model.names import quote

if TYPE_CHECKING:
    from gristmill.engines.kernel import Kernel

PART = "_gm_part_of"
_OPTIONS = "FORMAT parquet, COMPRESSION lz4_raw, ROW_GROUPS_PER_FILE 256, RETURN_STATS"
_VECTOR, _GROUP = 2_048, 61_440


def versions() -> str:
    """Return what a spec was compiled for: this package and its engine."""
    import duckdb

    return f"gristmill {__version__}, duckdb {duckdb.__version__}"


def answer(kernel: Kernel, message: bytes) -> bytes:
    """Answer one message: a spec in, a manifest or a failure out."""
    where = ""
    try:
        spec = msgspec.json.decode(message, type=Spec)
        where = spec.place
        return msgspec.json.encode(work(kernel, spec))
    except GristmillError as error:
        return msgspec.json.encode(Failure(kind=type(error).__name__, parts=error.as_dict()))
    except Exception as error:
        words = str(error).splitlines()[0] if str(error) else ""
        made = EngineError(f"{type(error).__name__}: {words}", code="GM-E032", where=where)
        return msgspec.json.encode(Failure(kind="EngineError", parts=made.as_dict()))


def work(kernel: Kernel, spec: Spec) -> Manifest:
    """Run one spec.

    Raises EngineError where it was compiled for other versions, DataError where a value does not fit; each names
    table, stage and piece.
    """
    if spec.kernel != versions():
        raise EngineError(
            f"a worker runs {versions()}, and the work is for {spec.kernel}",
            code="GM-E033",
            where=spec.place,
            hint="install the same versions on every machine",
        )
    started, cpu = time.monotonic(), time.process_time()
    try:
        files = _files(kernel, spec)
    except GristmillError as error:
        error.where = f"{error.where}: {spec.place}" if error.where else spec.place
        raise
    return Manifest(
        plan=spec.plan,
        stage=spec.stage,
        piece=spec.piece,
        files=files,
        rows_in={given.name: _rows(given) for given in spec.inputs if given.fields},
        rows_out=sum(file.rows for file in files),
        wall_s=time.monotonic() - started,
        cpu_s=time.process_time() - cpu,
        peak_bytes=_peak_bytes(),
        worker=f"{platform.node()}:{os.getpid()}",
    )


def _files(kernel: Kernel, spec: Spec) -> tuple[MadeFile, ...]:
    from gristmill.engines.kernel.kernel import engine_errors

    made = Path(spec.folder) / f"at-{secrets.token_hex(8)}"
    try:
        for given in spec.inputs:
            _register(kernel, given)
        with engine_errors():
            written = kernel.connection.execute(_copy(spec, made)).fetchall()
        return tuple(_named(spec, Path(row[0]), row[1]) for row in written if row[1])
    finally:
        for given in spec.inputs:
            kernel.unregister(given.name)
        shutil.rmtree(made, ignore_errors=True)


def _register(kernel: Kernel, given: Input) -> None:
    from gristmill.store import compute

    if given.fields:
        compute.register(kernel.connection, given.name, given.scan())
    else:
        kernel.register(given.name, exchange_sql(given.columns, given.paths, part=given.part))


def exchange_sql(columns: Columns, paths: tuple[str, ...], *, part: int = -1) -> str:
    """Return a SELECT of the rows, or those of one part, of some files that workers wrote."""
    if not paths:
        return f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {quote(name)}' for name, kind in columns)} WHERE false"
    listed = ", ".join(_text(path) for path in paths)
    names = ", ".join(f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in columns)
    only = f" WHERE {PART} = {part}" if part >= 0 else ""
    return f"SELECT {names} FROM read_parquet([{listed}], hive_partitioning=false){only}"


def _copy(spec: Spec, folder: Path) -> str:
    columns = [f"CAST({quote(name)} AS {kind}) AS {quote(name)}" for name, kind in spec.columns]
    if not spec.by or spec.parts == 1:
        select = f"SELECT {', '.join(columns)} FROM ({spec.sql})"
        return f"COPY ({select}) TO {_text(str(folder))} ({_OPTIONS}, ROW_GROUP_SIZE {_GROUP})"
    part = f"({quote(spec.by)} % {spec.parts})::INTEGER AS {PART}"
    select = f"SELECT {', '.join([*columns, part])} FROM ({spec.sql}) ORDER BY {PART}"
    group = min(_GROUP, max(_VECTOR, spec.rows // spec.parts // _VECTOR * _VECTOR))
    return f"COPY ({select}) TO {_text(str(folder))} ({_OPTIONS}, ROW_GROUP_SIZE {group})"


def _named(spec: Spec, path: Path, rows: int) -> MadeFile:
    """Give a finished file its name: the hash of its content, and a word that tells apart equal contents."""
    import blake3

    digest = blake3.blake3().update_mmap(path).hexdigest()
    target = Path(spec.folder) / f"{spec.stage}-{spec.piece}-{secrets.token_hex(4)}-{digest}.parquet"
    path.replace(target)
    return MadeFile(path=str(target), rows=rows, size_bytes=target.stat().st_size, hash=digest)


def _rows(given: Input) -> int:
    from pyroaring import BitMap

    total = 0
    for file in given.files:
        if file.rowset is None:
            total += file.rows
        else:
            marked = len(BitMap.deserialize(file.rowset.positions))
            total += marked if file.rowset.keep else file.rows - marked
    return total


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        return 0
    lines = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return next((int(line.split()[1]) * 1024 for line in lines), 0)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
