"""How a project's sources, tables, steps, SQL, models and predictions are defined."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from gristmill.define import (
    Changes,
    EventTime,
    Graph,
    Late,
    Node,
    Place,
    Settings,
    Sink,
    check_signature,
    place_of,
    place_of_caller,
    read_settings,
)
from gristmill.define.settings import FILE_NAME
from gristmill.define.streams import Accepts, SideConnector, check_stream, late_policy
from gristmill.errors import DefinitionError

if TYPE_CHECKING:
    from gristmill.connect import SinkTarget
    from gristmill.define.nodes import Connector, Grain
    from gristmill.model.rules import Rule

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


class Definitions:
    """What a project defines: each method adds one node to its graph.

    Args:
        root: the project's folder; default: that of the file that makes the project.
        environment: name of an ``[env.NAME]`` table of the settings.
    """

    def __init__(self, root: str | Path | None = None, *, environment: str | None = None) -> None:
        self.root = Path(root).resolve() if root is not None else _folder_of_caller()
        self.settings: Settings = read_settings(self.root, environment=environment)
        self.graph = Graph()
        self.loaded: list[Path] = []

    def source(
        self,
        name: str,
        connector: Connector,
        *,
        key: Columns = (),
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
        partition_by: Columns = (),
        event_time: str | EventTime | None = None,
        late: Late | None = None,
        changes: Changes | None = None,
    ) -> Source:
        """Define a source: what a connector delivers, landed as a table.

        Args:
            name: the table's dotted name.
            connector: ``gm.files(...)``, ``gm.query(...)`` or another one.
            key: columns that identify a row; a later row of the same key replaces the earlier. Where none are given,
                those that ``gm.query(..., key=)`` names.
            rules: what must hold for its rows.
            contract: path of its ODCS document.
            cluster_by: columns by which rows are ordered in files.
            partition_by: what files are divided by: columns, or terms such as ``day(at)``, ``month(at)``,
                ``bucket(16, id)`` and ``truncate(4, name)``; a condition then opens only the files that can hold its
                rows. Where it changes, files that are there move when ``maintain`` runs.
            event_time: for a stream: the column that says when a row was true, or ``gm.event_time(...)``.
            late: for a stream with an event time: ``gm.late.correct()`` (default), ``.side()`` or ``.drop(...)``.
            changes: for a stream with a key: ``gm.changes(...)``, where messages set and delete keys.
        """
        node = Node(
            name=name,
            kind="source",
            place=place_of_caller(self.root),
            connector=connector,
            key=_columns(key) or tuple(getattr(connector, "key", ())),
            rules=tuple(rules),
            contract=contract,
            cluster_by=_columns(cluster_by),
            partition_by=_columns(partition_by),
            event_time=EventTime(column=event_time) if isinstance(event_time, str) else event_time,
            late=late_policy(name, late),
            changes=changes,
        )
        check_stream(node)
        self.graph.add(node)
        if node.late.policy == "side":
            self.graph.add(_side_of(node))
        return Source(name)

    def sink(
        self,
        name: str,
        *,
        reads: Readable,
        to: SinkTarget,
        accepts: Accepts = "corrections",
        final: str = "",
    ) -> None:
        """Define a sink: the changes of a table leave for elsewhere, each at least once and with an id of its own.

        Args:
            name: what its pointer is called.
            reads: the table.
            to: ``gm.kafka(...)``, ``gm.redis_stream(...)``, ``gm.http(...)``, or ``gm.files("outbox/*.ndjson")``.
            accepts: ``corrections``: every insert, update and delete; ``final``: only rows that will not change.
            final: for ``final``: the column of the table that must be behind the watermark, such as a window's end.
        """
        place = place_of_caller(self.root)
        if accepts not in ("corrections", "final") or (accepts == "final") != bool(final):
            raise DefinitionError(
                f"the sink `{name}` does not say what it accepts",
                code="GM-P141",
                where=str(place),
                hint='accepts="corrections", or accepts="final" with final="COLUMN"',
            )
        (table,) = _names([reads])
        self.graph.add_sink(Sink(name=name, reads=table, target=to, accepts=accepts, final=final, place=place))

    def table(
        self,
        name: str,
        *,
        reads: Sequence[Readable],
        key: Columns = (),
        rules: Sequence[Rule] = (),
        contract: str | None = None,
        cluster_by: Columns = (),
        partition_by: Columns = (),
        slow: str = "",
    ) -> Callable[[F], F]:
        """Define a table by a function from Ibis tables to an Ibis table; the options are those of ``source``, and:

        Args:
            slow: a schedule, such as ``"0 3 * * *"`` or ``"0 3 * * * Europe/Berlin"``: runs compute the table in full
                then, and leave it alone in between; ``project.serve(name)`` gives it as of now.
        """

        def decorate(function: F) -> F:
            names, place = _names(reads), place_of(function, self.root)
            if slow:
                from gristmill.run.layers import moments

                next(moments(slow, 0, where=str(place)))
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
                    partition_by=_columns(partition_by),
                    parameters=signature.parameters,
                    slow=slow,
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
        partition_by: Columns = (),
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
                    partition_by=_columns(partition_by),
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
        partition_by: Columns = (),
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
                partition_by=_columns(partition_by),
            )
        )
        return Source(name)

    def history(self, table: Readable, *, key: Columns, name: str | None = None, rules: Sequence[Rule] = ()) -> Source:
        """Define the history of a table: every version of every row, from the commit log (SCD type 2).

        It has the table's columns, ``valid_from`` (the time of the commit, or of the run, that brought the version)
        and ``valid_to`` (when it was changed or deleted; null while it stands), both in UTC. Commits between runs
        count one by one. Other definitions read it like any table.

        Args:
            table: the table, by object or dotted name.
            key: the columns that identify a row of it.
            name: the history's dotted name; ``history.`` and the table's name unless given.
            rules: what must hold for its rows.
        """
        [read] = _names([table])
        made = name or f"history.{read}"
        self.graph.add(
            Node(
                name=made,
                kind="history",
                place=place_of_caller(self.root),
                reads=(read,),
                key=(*_columns(key), "valid_from"),
                rules=tuple(rules),
            )
        )
        return Source(made)

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


def _side_of(node: Node) -> Node:
    """Return the table of a source's late rows, which other definitions may read."""
    plain = replace(node, key=(), rules=(), contract=None, event_time=None, late=Late(), changes=None)
    return replace(plain, name=node.late.table, connector=SideConnector(node.name))


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
