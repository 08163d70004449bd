"""What a trace is: a tree of sets of rows, from a result back to source lines, and the rows that a row reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a landed row stands in what was delivered.

    Args:
        row: the row's id.
        unit: path of the file, or the name of what was read.
        line, record, offset: first physical line and record number, both from 1, and byte offset; None where the
            format has none.
        raw: the record as delivered; None where the unit has changed since, is out of reach, or was not read.
    """

    row: int
    unit: str
    line: int | None = None
    record: int | None = None
    offset: int | None = None
    raw: str | None = None

    def __str__(self) -> str:
        if self.line is not None:
            return f"{self.unit}:{self.line}"
        return f"{self.unit} record {self.record}" if self.record is not None else self.unit


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """The model behind predictions.

    Args:
        name: its name.
        files: id of the files it consists of.
        commit: where its training tables stand as they were; None where that is not known any more.
        run: the run that trained it.
        metrics: how it did on ``held``.
        trained_on: rows of each training table.
        held: the table it was judged on, or empty.
    """

    name: str
    files: str
    commit: str | None
    run: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    trained_on: dict[str, int] = field(default_factory=dict)
    held: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How rows hang on one input.

    Args:
        table: the input.
        rows: the input's rows behind them, traced further; None where there is no list.
        frame: how many more rows compete with those or share a window with them.
        notes: influence that is no list, in words: statistics over all rows, or a table that is read whole.
        whole: whether computing the rows again takes the whole input.
    """

    table: str
    rows: Trace | None = None
    frame: int = 0
    notes: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Some rows of one table, and what they come from.

    Args:
        table: its name.
        commit: the commit it is read at.
        kind: ``source``, ``table``, ``sql``, ``step`` or ``predictions``.
        ids: the row ids, sorted.
        key: the columns that identify a row.
        sample: the first of the rows, with ``_row_id``.
        links: the inputs.
        places: for a source, where the sampled rows were delivered.
        models: for predictions, the models behind them.
        note: what limits the answer, in words.
        made_at: the commit at which its inputs stand as they were when it was computed; None for a source.
    """

    table: str
    commit: str
    kind: str
    ids: tuple[int, ...]
    key: tuple[str, ...]
    sample: pa.Table
    links: tuple[Link, ...] = ()
    places: tuple[Place, ...] = ()
    models: tuple[Trained, ...] = ()
    note: str = ""
    made_at: str | None = None

    def sources(self) -> list[Trace]:
        """Return the traced rows of source tables, each table once per way to it."""
        if not self.links:
            return [self] if self.kind == "source" else []
        return [found for link in self.links if link.rows is not None for found in link.rows.sources()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The rows of one table that some rows have reached.

    Args:
        table: its name; for a model, that of the model.
        kind: as in `Trace`, or ``model``.
        ids: rows whose values come from them.
        frame: how many more rows they only competed for or shared a window with.
        total: all rows of the table; for a model, of its training tables.
        key: the columns that identify a row.
        sample: the first of the rows; None for a model.
        notes: influence on the table as a whole, in words.
    """

    table: str
    kind: str
    ids: tuple[int, ...] = ()
    frame: int = 0
    total: int = 0
    key: tuple[str, ...] = ()
    sample: pa.Table | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Forward:
    """What rows have reached, in the order of the definitions."""

    start: Trace
    reached: tuple[Reached, ...]
