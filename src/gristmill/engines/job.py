"""The driver of a definition in stages: cut each stage into specs, hand them to an executor, pass on what they made."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill.engines.protocol import Columns, Executor, Input, MadeFile, Manifest, Spec
from gristmill.engines.task import exchange_sql, versions

if TYPE_CHECKING:
    import ibis

    from gristmill.algebra.parting.stages import Feed, Parted, Stage
    from gristmill.model.scan import ScanFile, ScanPlan

PIECE_ROWS = 1_000_000
"""Rows of an input that one piece of work reads, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a definition in stages is run with.

    Args:
        table: the table's name, for messages.
        scans: how to read each input.
        folder: where files between stages, and the result, are written; the caller removes it.
        parts: into how many parts exchanges are divided.
        piece_rows: how many rows of an input one piece of work reads, about; files are not cut.
        compiled: from an expression, as it stands, to SQL.
    """

    table: str
    scans: Mapping[str, ScanPlan]
    folder: Path
    parts: int
    compiled: Callable[[ibis.Table], str]
    piece_rows: int = PIECE_ROWS


@dataclass(slots=True)
class Made:
    """The rows of a definition, and what making them took.

    Args:
        columns: name and type of each column.
        files: where the rows lie.
        manifests: what each piece of work gave.
        exchanged_bytes: what went through files between stages.
    """

    columns: Columns
    files: list[MadeFile] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    exchanged_bytes: int = 0

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(file.rows for file in self.files)

    @property
    def sql(self) -> str:
        """A SELECT of the rows, as long as the folder is there."""
        return exchange_sql(self.columns, tuple(file.path for file in self.files))


def run_job(executor: Executor, parted: Parted, job: Job) -> Made:
    """Run all stages of a definition and return where its rows lie.

    Raises what ended a piece of work; nothing refers to what was written until then.
    """
    from gristmill.algebra.parting.stages import OUT

    made = Made(columns_of(parted.schema))
    exchanges: dict[str, list[MadeFile]] = defaultdict(list)
    last = {feed.source: number for number, stage in enumerate(parted.stages) for feed in _made_feeds(stage)}
    for number, stage in enumerate(parted.stages):
        specs = list(_specs(stage, number, job, exchanges))
        for manifest in executor.map(specs):
            made.manifests.append(manifest)
            (made.files if stage.target == OUT else exchanges[stage.target]).extend(manifest.files)
        if stage.target != OUT:
            made.exchanged_bytes += sum(file.size_bytes for file in exchanges[stage.target])
        for name in [name for name, reader in last.items() if reader == number]:
            _remove(exchanges.pop(name, []))
    return made


def columns_of(schema: ibis.Schema) -> Columns:
    """Return the DuckDB type of each column of an Ibis schema."""
    from gristmill.algebra.scalars import sql_type

    return tuple((name, sql_type(dtype)) for name, dtype in schema.items())


def _made_feeds(stage: Stage) -> list[Feed]:
    return [feed for feed in stage.feeds.values() if feed.made]


def _remove(files: Sequence[MadeFile]) -> None:
    for file in files:
        Path(file.path).unlink(missing_ok=True)


def _specs(stage: Stage, number: int, job: Job, exchanges: Mapping[str, Sequence[MadeFile]]) -> Iterator[Spec]:
    """Yield the pieces of work of one stage."""
    from gristmill.algebra.parting.stages import HASH

    sql = job.compiled(stage.expr)
    by = HASH if stage.parted else ""
    columns = columns_of(stage.expr.schema())
    kernel = versions()
    plan = blake3.blake3(msgspec.json.encode([sql, columns, kernel])).hexdigest()
    cuts = list(_cuts(stage, job, exchanges))
    cut = any(feed.how == "rows" for feed in stage.feeds.values())
    for piece, inputs in enumerate(cuts):
        yield Spec(
            plan=plan,
            kernel=kernel,
            table=job.table,
            operation=stage.operation,
            stage=number,
            piece=piece,
            pieces=len(cuts),
            sql=sql,
            inputs=inputs,
            columns=columns,
            folder=str(job.folder),
            by=by,
            parts=job.parts if by else 1,
            rows=_rows(inputs, stage, exchanges) // (1 if cut else job.parts),
        )


def _cuts(stage: Stage, job: Job, exchanges: Mapping[str, Sequence[MadeFile]]) -> Iterator[tuple[Input, ...]]:
    """Yield what each piece of work reads."""
    whole = {name: _input(name, feed, job, exchanges) for name, feed in stage.feeds.items()}
    cut = next((name for name, feed in stage.feeds.items() if feed.how == "rows"), None)
    parts = [name for name, feed in stage.feeds.items() if feed.how == "part"]
    if cut is not None:
        for files in _file_groups(whole[cut].files, job.piece_rows):
            yield tuple((whole | {cut: msgspec.structs.replace(whole[cut], files=files)}).values())
    elif parts:
        for part in range(job.parts):
            mine = {name: msgspec.structs.replace(whole[name], part=part) for name in parts}
            yield tuple((whole | mine).values())
    else:
        yield tuple(whole.values())


def _rows(inputs: Sequence[Input], stage: Stage, exchanges: Mapping[str, Sequence[MadeFile]]) -> int:
    """Return the rows of the largest input of a piece of work, those of all parts where it reads one."""
    made = [sum(file.rows for file in exchanges.get(feed.source, ())) for feed in _made_feeds(stage)]
    return max([sum(file.rows for file in given.files) for given in inputs] + made, default=0)


def _input(name: str, feed: Feed, job: Job, exchanges: Mapping[str, Sequence[MadeFile]]) -> Input:
    if feed.made:
        paths = tuple(file.path for file in exchanges.get(feed.source, ()))
        return Input(name=name, columns=columns_of(feed.schema), paths=paths)
    plan = job.scans[feed.source]
    return Input(name=name, fields=plan.fields, files=plan.files)


def _file_groups(files: Sequence[ScanFile], most_rows: int) -> Iterator[tuple[ScanFile, ...]]:
    """Yield files in groups of about so many rows; one group without files where there are none."""
    group: list[ScanFile] = []
    rows = 0
    for file in files:
        if group and rows + file.rows > most_rows:
            yield tuple(group)
            group, rows = [], 0
        group.append(file)
        rows += file.rows
    yield tuple(group)
