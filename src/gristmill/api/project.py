"""A project: sources, tables, steps, models and predictions, defined in Python and run on a versioned store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gristmill.api.results import PlanResult, RunResult
from gristmill.define import (
    Graph,
    Node,
    Place,
    Settings,
    check_signature,
    load_modules,
    place_of,
    place_of_caller,
    read_settings,
)
from gristmill.define.settings import FILE_NAME, branch_of
from gristmill.errors import DefinitionError, UsageError
from gristmill.model.events import Listener, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.api.checking import CheckReport
    from gristmill.define.nodes import Connector, Grain
    from gristmill.engines.kernel import Kernel
    from gristmill.model.rules import Rule
    from gristmill.run.context import Context
    from gristmill.store import Store

F = TypeVar("F", bound=Callable[..., object])

Columns = str | Sequence[str]
Readable = object
"""What ``reads=`` takes: a source, a decorated function, or a dotted name."""


class Source:
    """A handle on a source, to be read by definitions; its ``name`` is the table it lands in."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<source {self.name}>"


class Project:
    """A folder with ``gristmill.toml``, the definitions in its modules, and its store.

    Args:
        root: the project's folder; default: that of the file that makes the project.
        environment: name of an ``[env.NAME]`` table of the settings.

    >>> project = Project("/tmp")
    >>> flights = project.sql("marts.one", "select 1 as x", reads=[])
    >>> [node.name for node in project.graph]
    ['marts.one']
    """

    def __init__(self, root: str | Path | None = None, *, environment: str | None = None) -> None:
        self.root = Path(root).resolve() if root is not None else _folder_of_caller()
        self.settings: Settings = read_settings(self.root, environment=environment)
        self.graph = Graph()

    def __repr__(self) -> str:
        return f"<project {self.settings.project.name or self.root.name}: {len(self.graph)} definitions>"

    @classmethod
    def load(cls, root: str | Path, *, environment: str | None = None) -> Project:
        """Import a project's modules and return the one Project that they make.

        Raises DefinitionError where the modules fail, or make none or several.
        """
        folder = Path(root).resolve()
        modules = load_modules(folder, read_settings(folder, environment=environment))
        made = {id(value): value for module in modules for value in vars(module).values() if isinstance(value, cls)}
        if len(made) != 1:
            raise DefinitionError(
                f"the project's modules make {len(made) or 'no'} Project objects, not one",
                code="GM-P017",
                where=str(folder / FILE_NAME),
                hint="write `project = gm.Project()` in one module and import it from the others",
            )
        project = next(iter(made.values()))
        if environment is not None:
            project.settings = read_settings(folder, environment=environment)
        return project

    # -- definitions ---------------------------------------------------------------------------------------

    def source(
        self,
        name: str,
        connector: Connector,
        *,
        key: Columns = (),
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
    ) -> Source:
        """Define a source: what a connector delivers, landed as a table.

        Args:
            name: the table's dotted name.
            connector: ``gm.files(...)``, ``gm.query(...)`` or another one.
            key: columns that identify a row; a later row of the same key replaces the earlier.
            rules: what must hold for its rows.
            contract: path of its ODCS document.
            cluster_by: columns by which rows are ordered in files.
        """
        self.graph.add(
            Node(
                name=name,
                kind="source",
                place=place_of_caller(self.root),
                connector=connector,
                key=_columns(key),
                rules=tuple(rules),
                contract=contract,
                cluster_by=_columns(cluster_by),
            )
        )
        return Source(name)

    def table(
        self,
        name: str,
        *,
        reads: Sequence[Readable],
        key: Columns = (),
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
    ) -> Callable[[F], F]:
        """Define a table by a function from Ibis tables to an Ibis table."""

        def decorate(function: F) -> F:
            names, place = _names(reads), place_of(function, self.root)
            signature = check_signature(function, tables=names, place=place)
            if signature.rows != "ibis":
                raise DefinitionError(
                    f"`{name}` takes {signature.rows} frames",
                    code="GM-P018",
                    where=str(place),
                    hint="@project.table takes Ibis tables; use @project.step for other frames",
                )
            self.graph.add(
                Node(
                    name=name,
                    kind="table",
                    place=place,
                    reads=names,
                    key=_columns(key),
                    function=function,
                    rules=tuple(rules),
                    contract=contract,
                    cluster_by=_columns(cluster_by),
                    parameters=signature.parameters,
                )
            )
            return _named(function, name)

        return decorate

    def step(
        self,
        name: str,
        *,
        reads: Sequence[Readable],
        schema: Mapping[str, str],
        key: Columns = (),
        per: Grain = "table",
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
        env: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Define a table by a function on Arrow, Polars or pandas frames, whichever it is annotated with.

        ``schema`` gives column names and types of the result, such as ``{"id": "int64"}``; ``per`` says whether one
        output row depends on one input ``row``, on a ``group`` of equal key, or the ``table``; ``env`` and ``files``
        name environment variables and files, relative to the project, that the result depends on.
        """

        def decorate(function: F) -> F:
            names, place = _names(reads), place_of(function, self.root)
            signature = check_signature(function, tables=names, place=place)
            if signature.rows == "ibis":
                raise DefinitionError(
                    f"the table parameters of `{function.__name__}` need a type",
                    code="GM-P019",
                    where=str(place),
                    hint="annotate them with pa.Table, pl.DataFrame or pd.DataFrame; use @project.table for Ibis",
                )
            self.graph.add(
                Node(
                    name=name,
                    kind="step",
                    place=place,
                    reads=names,
                    key=_columns(key),
                    function=function,
                    rules=tuple(rules),
                    contract=contract,
                    cluster_by=_columns(cluster_by),
                    schema=dict(schema),
                    per=per,
                    rows=signature.rows,
                    parameters=signature.parameters,
                    environment=tuple(env),
                    files=tuple(files),
                )
            )
            return _named(function, name)

        return decorate

    def sql(
        self,
        name: str,
        query: str,
        *,
        reads: Sequence[Readable],
        key: Columns = (),
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
    ) -> Source:
        """Define a table by one SELECT in DuckDB SQL: the text itself, or the path of a ``.sql`` file."""
        place = place_of_caller(self.root)
        text = query
        if query.strip().endswith(".sql") and "\n" not in query.strip():
            path = self.root / query.strip()
            if not path.is_file():
                raise DefinitionError(f"`{name}` names a file that is not there", code="GM-P020", where=str(path))
            text, place = path.read_text(encoding="utf-8"), Place(query.strip(), 1)
        self.graph.add(
            Node(
                name=name,
                kind="sql",
                place=place,
                reads=_names(reads),
                key=_columns(key),
                sql=text,
                rules=tuple(rules),
                contract=contract,
                cluster_by=_columns(cluster_by),
            )
        )
        return Source(name)

    def model(
        self,
        name: str,
        *,
        reads: Sequence[Readable],
        held: Readable | None = None,
        env: Sequence[str] = (),
        files: Sequence[str] = (),
    ) -> Callable[[F], F]:
        """Define a model: a function of its training frames, the held frame, and a folder to write files into.

        It returns its metrics on the held table as a dict of numbers. gristmill keeps the folder and never loads
        what is in it.
        """

        def decorate(function: F) -> F:
            names, place = _names(reads), place_of(function, self.root)
            held_name = _names([held])[0] if held is not None else None
            tables = [*names, *([held_name] if held_name else [])]
            signature = check_signature(function, tables=tables, place=place, extra=["folder to write into"])
            self.graph.add(
                Node(
                    name=name,
                    kind="model",
                    place=place,
                    reads=names,
                    held=held_name,
                    function=function,
                    rows=signature.rows if signature.rows != "ibis" else "arrow",
                    parameters=signature.parameters,
                    environment=tuple(env),
                    files=tuple(files),
                )
            )
            return _named(function, name)

        return decorate

    def predictions(self, name: str, *, reads: Sequence[Readable], model: Readable, key: Columns) -> Callable[[F], F]:
        """Define predictions: a function of the rows' frame and the model's folder, which keeps the key."""

        def decorate(function: F) -> F:
            names, place = _names(reads), place_of(function, self.root)
            if len(names) != 1:
                raise DefinitionError(f"`{name}` reads {len(names)} tables, not one", code="GM-P021", where=str(place))
            signature = check_signature(function, tables=names, place=place, extra=["folder of the model"])
            self.graph.add(
                Node(
                    name=name,
                    kind="predictions",
                    place=place,
                    reads=names,
                    model=_names([model])[0],
                    key=_columns(key),
                    function=function,
                    rows=signature.rows if signature.rows != "ibis" else "arrow",
                    parameters=signature.parameters,
                )
            )
            return _named(function, name)

        return decorate

    # -- verbs ---------------------------------------------------------------------------------------------

    @cached_property
    def store(self) -> Store:
        """The project's store, made at first use."""
        from gristmill.store import open_store

        url = self.settings.store.url
        place = url if "://" in url else str(self.root / url)
        return open_store(place, create=True, data=self.settings.store.data)

    @contextmanager
    def context(
        self, *, parameters: Mapping[str, object] | None = None, listener: Listener = silent
    ) -> Iterator[Context]:
        """Open what planning and running need: store and kernel, with this run's time and parameters."""
        from gristmill.engines.kernel import Kernel
        from gristmill.run.context import Context

        self._check_parameters(parameters or {})
        memory = self.settings.run.memory_gib
        kernel: Kernel
        with Kernel(
            memory_limit_bytes=int(memory * 2**30) if memory else None, threads=self.settings.run.threads
        ) as kernel:
            yield Context(
                root=self.root,
                settings=self.settings,
                graph=self.graph,
                open_store=lambda: self.store,
                kernel=kernel,
                run_time_us=time.time_ns() // 1000,
                parameters=dict(parameters or {}),
                listener=listener,
            )

    def _check_parameters(self, parameters: Mapping[str, object]) -> None:
        from gristmill.errors import did_you_mean

        known = sorted({name for node in self.graph for name in node.parameters})
        for name in parameters:
            if name not in known:
                hint = did_you_mean(name, known) or f"known: {', '.join(known) or 'none'}"
                raise UsageError(f"no definition has a parameter `{name}`", code="GM-U005", hint=hint)

    def branch(self, on: str | None = None) -> str:
        """Return the branch a verb works on: the argument, else GRISTMILL_BRANCH, else the settings."""
        return branch_of(self.settings, on)

    def plan(
        self, select: Sequence[str] = (), *, on: str | None = None, params: Mapping[str, object] | None = None
    ) -> PlanResult:
        """Say what ``run`` would do and why; write nothing."""
        from gristmill.run.plan import make_plan

        branch = self.branch(on)
        with self.context(parameters=params) as ctx:
            ref = branch if branch in self.store.branches() else "main"
            return PlanResult(make_plan(ctx, self.store.snapshot(ref), on=branch, select=select))

    def run(
        self,
        select: Sequence[str] = (),
        *,
        on: str | None = None,
        params: Mapping[str, object] | None = None,
        message: str = "",
        listener: Listener = silent,
    ) -> RunResult:
        """Bring a branch up to date: land, compute, check, train, publish as one commit.

        Args:
            select: selectors of tables and models; empty means everything.
            on: the branch; a new one is made from ``main``.
            params: values for keyword parameters of definitions.
            message: the commit's message.
            listener: takes the events as they happen.

        Returns a RunResult; ``.ok`` is False where a check said no, and nothing was published.
        """
        from gristmill.run.execute import execute

        with self.context(parameters=params, listener=listener) as ctx:
            return RunResult(execute(ctx, on=self.branch(on), select=select, message=message))

    def preview(
        self,
        table: str,
        *,
        where: str | None = None,
        limit: int | None = 20,
        on: str | None = None,
        params: Mapping[str, object] | None = None,
    ) -> pa.Table:
        """Compute rows of a table on real data with the definitions as they are now; commit nothing."""
        from gristmill.run.preview import preview

        with self.context(parameters=params) as ctx:
            return preview(ctx, self.store.snapshot(self.branch(on)), table, where=where, limit=limit)

    def test(self, rows: Mapping[str, object], *, params: Mapping[str, object] | None = None) -> dict[str, pa.Table]:
        """Compute every table that follows from the given rows; touch no store.

        Args:
            rows: for each input table its rows: a list of dicts, or an Arrow, Polars or pandas frame.
            params: values for keyword parameters of definitions.
        """
        from gristmill.run.preview import evaluate_rows

        with self.context(parameters=params) as ctx:
            return evaluate_rows(ctx, {name: _rows(value) for name, value in rows.items()})

    def check(self, select: Sequence[str] = (), *, on: str | None = None) -> CheckReport:
        """Check tables as they are stored on a branch against their rules; write nothing."""
        from gristmill.api.checking import CheckReport
        from gristmill.run.preview import check_tables

        names = self.graph.select(select)
        with self.context() as ctx:
            snapshot = self.store.snapshot(self.branch(on))
            return CheckReport(check_tables(ctx, snapshot, [n.name for n in self.graph.order() if n.name in names]))


def _rows(value: object) -> pa.Table:
    import pyarrow as pa

    from gristmill.run.tables import to_table

    return pa.Table.from_pylist(value) if isinstance(value, list) else to_table(value)


def _folder_of_caller() -> Path:
    place = place_of_caller(Path("/"))
    file = Path("/") / place.file
    start = file.parent if file.is_file() else Path.cwd()
    for folder in (start, *start.parents):
        if (folder / FILE_NAME).is_file():
            return folder.resolve()
    return start.resolve()


def _columns(names: Columns) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _named(function: F, name: str) -> F:
    function.__gristmill_name__ = name  # type: ignore[attr-defined]
    return function


def _names(reads: Sequence[Readable]) -> tuple[str, ...]:
    names = []
    for item in reads:
        name = item if isinstance(item, str) else getattr(item, "__gristmill_name__", getattr(item, "name", None))
        if not isinstance(name, str):
            raise DefinitionError(
                f"`reads=` holds a {type(item).__name__}",
                code="GM-P022",
                where=str(place_of_caller(Path("/"))),
                hint="give a source, a function decorated by this project, or a dotted name",
            )
        names.append(name)
    return tuple(names)
