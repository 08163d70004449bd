"""The executor protocol: specs go out, manifests come back, and only the driver commits.

A *spec* is one piece of work, complete in itself: SQL, the files that it reads (with dead rows and first row ids) and
a folder to write to. The worker reads, runs the kernel, and writes Parquet files named by their content, which
nothing refers to until the driver takes up the *manifest* that names them. So a spec may be run again, or twice at
once: what nobody takes up is garbage in a folder that the driver removes.

All types here go over any wire as JSON. An executor for a cluster needs only `Executor.map`: send
``msgspec.json.encode(spec)`` to a task that calls `gristmill.engines.task.answer`, and decode what it returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from gristmill.errors import EngineError, GristmillError
from gristmill.model.scan import ScanFile
from gristmill.model.schema import Field

if TYPE_CHECKING:
    from gristmill.model.scan import ScanPlan

Columns = tuple[tuple[str, str], ...]
"""Name and DuckDB type of each column."""


class Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a name in a spec's SQL stands for: files of a table in the store, or files of an exchange.

    Args:
        name: the name.
        fields: the columns of a table in the store.
        files: its files: path, rows, first row id, and which positions are dead; few rows may stand inline.
        columns: the columns of an exchange.
        paths: its files.
        part: the part of it that is read; -1 for all of it.
    """

    name: str
    fields: tuple[Field, ...] = ()
    files: tuple[ScanFile, ...] = ()
    columns: Columns = ()
    paths: tuple[str, ...] = ()
    part: int = -1

    def scan(self) -> ScanPlan:
        """Return how to read the files of a table in the store."""
        from gristmill.model.scan import ScanPlan

        return ScanPlan(fields=self.fields, files=self.files, rows=sum(file.rows for file in self.files))


class Spec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One piece of work.

    Args:
        plan: names the SQL and the versions that it was compiled for; the same plan over the same inputs gives the
            same rows.
        kernel: the versions that it must run on.
        table: the table that is computed, for messages.
        operation: what is done, in words.
        stage, piece, pieces: its number in the plan, in the stage, and of how many; from 0.
        sql: one SELECT over the names of the inputs, in our semantics.
        inputs: what it reads.
        columns: what is written, each cast to its type.
        folder: where files go.
        by: the column with the hash by which rows are divided; empty where they are not.
        parts: into how many.
        rows: how many rows are read, about.
    """

    plan: str
    kernel: str
    table: str
    operation: str
    stage: int
    piece: int
    pieces: int
    sql: str
    inputs: tuple[Input, ...]
    columns: Columns
    folder: str
    by: str = ""
    parts: int = 1
    rows: int = 0

    @property
    def place(self) -> str:
        """Where an error in it happened, in words."""
        return f"{self.table}, stage {self.stage + 1} ({self.operation}), piece {self.piece + 1} of {self.pieces}"


class MadeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A finished Parquet file: its path (which ends in its content's hash), rows and bytes.

    Where rows go to parts they lie in their order, so that a reader of one part skips the row groups of the others.
    """

    path: str
    rows: int
    size_bytes: int
    hash: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """What a spec gave.

    Args:
        plan, stage, piece: of the spec.
        files: what was written.
        rows_in: rows in the files of each input, dead ones left out.
        rows_out: rows written.
        wall_s, cpu_s: what it took.
        peak_bytes: the largest memory of the process so far.
        worker: the process that did it.
    """

    plan: str
    stage: int
    piece: int
    files: tuple[MadeFile, ...]
    rows_in: dict[str, int]
    rows_out: int
    wall_s: float
    cpu_s: float
    peak_bytes: int
    worker: str = ""


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The error that ended a spec: its class, and its parts as `GristmillError.as_dict` gives them."""

    kind: str
    parts: dict[str, object]

    def error(self) -> GristmillError:
        """Return it as if it had been met here."""
        return error_of(self.kind, self.parts)


Reply = Manifest | Failure


class Executor(Protocol):
    """What runs specs: in this process, in a pool of processes, or in the tasks of a cluster.

    Args:
        workers: how many pieces of work run at once, about.
    """

    @property
    def workers(self) -> int:
        """How many pieces of work run at once, about."""
        ...

    def map(self, specs: Sequence[Spec]) -> Iterator[Manifest]:
        """Run specs, in any order and as often as need be, and yield one manifest for each, in their order.

        Raises the error that ended a spec, and EngineError where its worker is gone for good.
        """
        ...


def error_of(kind: str, parts: Mapping[str, object]) -> GristmillError:
    """Return an error from its class's name and its parts."""
    from gristmill import errors

    found: type[GristmillError] = getattr(errors, kind, GristmillError)
    examples = parts.get("examples")
    return found(
        str(parts["message"]),
        code=str(parts["code"]),
        where=str(parts["where"]) if parts.get("where") else None,
        hint=str(parts["hint"]) if parts.get("hint") else None,
        examples=[str(item) for item in examples] if isinstance(examples, list | tuple) else (),
        retryable=bool(parts.get("retryable")),
    )


def taken(spec: Spec, reply: bytes) -> Manifest:
    """Return the manifest that a worker answered to a spec; raises the error that it answered."""
    try:
        found: Reply = msgspec.json.decode(reply, type=Manifest | Failure)
    except msgspec.DecodeError as error:
        raise EngineError(f"a worker answered something else than a manifest: {error}", where=spec.place) from error
    if isinstance(found, Failure):
        raise found.error()
    return found


def sent(specs: Iterable[Spec]) -> Iterator[bytes]:
    """Yield specs as they go over the wire."""
    return (msgspec.json.encode(spec) for spec in specs)
