"""What a project consists of: sources and the definitions derived from them, as frozen values."""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from gristmill.define.streams import Changes, EventTime, Late
from gristmill.model.rules import Rule
from gristmill.model.units import Unit

if TYPE_CHECKING:
    from gristmill.connect import Found, Shape, UnitRows

Kind = Literal["source", "table", "step", "sql", "history", "model", "predictions"]
Grain = Literal["row", "group", "table"]
Rows = Literal["ibis", "arrow", "batch", "polars", "pandas"]


class Connector(Protocol):
    """What a source reads from: a frozen value that finds units, infers their shape, and reads them."""

    def describe(self) -> dict[str, str]:
        """Say what is read, secrets redacted."""
        ...

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """List the units that are there now, compared with those known."""
        ...

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the columns, types and dialect of the units' rows."""
        ...

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one unit."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a definition stands: file (relative to the project), line, and its source text."""

    file: str
    line: int
    text: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One named part of a project; ``kind`` says which fields matter.

    Args:
        name: the dotted table (or model) name.
        kind: source, table (Ibis), step (Arrow, Polars, pandas), sql, history, model or predictions.
        reads: names of the inputs, in the order of the function's parameters.
        key: column names that identify a row, or empty.
        place: where it is defined.
        function: the decorated function; None for a source or SQL.
        connector: what a source reads from.
        sql: the SELECT of a SQL definition.
        model: name of the model that predictions use.
        held: name of the table a model is judged on and never trained on.
        rules: rules given in Python, besides those of the contract.
        contract: path of the ODCS document, relative to the project.
        cluster_by: columns by which rows are ordered in files.
        partition_by: terms by which files are divided.
        schema: column types that a step declares.
        per: what a step looks at when it makes one output: a row, a group (of the key), or the whole table.
        rows: the kind of frame the function takes.
        parameters: keyword-only parameters of the function with their defaults.
        environment: names of environment variables that the result depends on.
        files: files, relative to the project, that the result depends on.
        event_time: for a source: when its rows were true.
        late: for a source: what becomes of rows behind the watermark.
        changes: for a source: how its rows say what became of a key.
        slow: for a derived table: the schedule at which it is computed in full; empty for one that is kept up.
    """

    name: str
    kind: Kind
    place: Place
    reads: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    function: Callable[..., object] | None = None
    connector: Connector | None = None
    sql: str | None = None
    model: str | None = None
    held: str | None = None
    rules: tuple[Rule, ...] = ()
    contract: str | None = None
    cluster_by: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    schema: Mapping[str, str] | None = None
    per: Grain = "table"
    rows: Rows = "ibis"
    parameters: Mapping[str, object] = field(default_factory=dict)
    environment: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    event_time: EventTime | None = None
    late: Late = field(default_factory=Late)
    changes: Changes | None = None
    slow: str = ""

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every table or model that must be there first."""
        extra = tuple(name for name in (self.held, self.model) if name)
        return (*self.reads, *(name for name in extra if name not in self.reads))

    @property
    def is_table(self) -> bool:
        """Whether the node yields a table (a model yields files)."""
        return self.kind != "model"


def place_of(function: Callable[..., object], root: Path) -> Place:
    """Return where a function is defined, with its source text."""
    code = inspect.unwrap(function).__code__
    file = _relative(Path(code.co_filename), root)
    try:
        text = inspect.getsource(inspect.unwrap(function))
    except OSError:
        text = ""
    return Place(file, code.co_firstlineno, text)


def place_of_caller(root: Path, *, package: str = "gristmill") -> Place:
    """Return the first line up the stack that is not inside this package."""
    frame = inspect.currentframe()
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module != package and not module.startswith(package + "."):
            file = frame.f_code.co_filename
            text = linecache.getline(file, frame.f_lineno).strip()
            return Place(_relative(Path(file), root), frame.f_lineno, text)
        frame = frame.f_back
    return Place("<unknown>", 0)


def _relative(path: Path, root: Path) -> str:
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return path.as_posix()
