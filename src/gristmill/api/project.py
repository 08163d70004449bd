"""A project: what it defines, and every verb as a method, on a versioned store."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gristmill.api.definitions import Definitions
from gristmill.api.lineage import Follows
from gristmill.api.parity import Proves
from gristmill.api.results import PlanResult, RunResult
from gristmill.define import Settings, load_modules, read_settings
from gristmill.define.settings import FILE_NAME, branch_of
from gristmill.errors import DefinitionError, GristmillError, UsageError, did_you_mean
from gristmill.model.events import Listener, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.api.checking import CheckReport
    from gristmill.engines.kernel import Kernel
    from gristmill.engines.protocol import Executor
    from gristmill.run.checking import Acceptance
    from gristmill.run.context import Context
    from gristmill.run.execute import Request
    from gristmill.run.planned import Plan
    from gristmill.run.serving import Served
    from gristmill.run.streaming.replaying import Replayed
    from gristmill.store import Store

_HEADROOM_BYTES = 192 * 2**20
"""What rows on their way out of the kernel, into files and user code, may take besides."""


def up_to_date(
    root: Path, store: Store, settings: Settings, *, on: str, params: Mapping[str, object], select: Sequence[str]
) -> PlanResult | None:
    """Return the empty plan of a project that has not changed since its last empty one, without loading it."""
    from gristmill.run.unchanged import recall

    plan = recall(store, root, settings, on=on, parameters=params, select=select)
    return PlanResult(plan) if plan is not None else None


class Project(Definitions, Follows, Proves):
    """A folder with ``gristmill.toml``, the definitions in its modules, and its store.

    Args:
        root: the project's folder; default: that of the file that makes the project.
        environment: name of an ``[env.NAME]`` table of the settings.

    >>> project = Project("/tmp")
    >>> flights = project.sql("marts.one", "select 1 as x", reads=[])
    >>> [node.name for node in project.graph]
    ['marts.one']
    """

    clock_us: Callable[[], int] = staticmethod(lambda: time.time_ns() // 1000)
    """What tells the time of a run, in microseconds since 1970, UTC; tests set another."""

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
        project.loaded = _files_below(folder)
        if environment is not None:
            project.settings = read_settings(folder, environment=environment)
        return project

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
        from gristmill.store.compute import limit_memory

        self._check_parameters(parameters or {})
        kernel: Kernel
        kernel_bytes, store_bytes = self._memory_bytes()
        limit_memory(store_bytes)
        executor, kernel_bytes = self._executor(kernel_bytes)
        with Kernel(memory_limit_bytes=kernel_bytes, threads=self.settings.run.threads) as kernel:
            yield Context(
                root=self.root,
                settings=self.settings,
                graph=self.graph,
                open_store=lambda: self.store,
                kernel=kernel,
                run_time_us=self.clock_us(),
                parameters=dict(parameters or {}),
                listener=listener,
                modules=bool(self.loaded),
                workers=self.settings.run.workers or os.cpu_count() or 1,
                executor=executor,
            )

    def _executor(self, kernel_bytes: int | None) -> tuple[Executor | None, int | None]:
        """Return where large tables are computed, and what is left to this process's own kernel."""
        if (os.environ.get("GRISTMILL_EXECUTOR") or self.settings.run.executor) != "pool":
            return None, kernel_bytes
        from gristmill.engines.local import shared_pool

        workers = self.settings.run.workers or os.cpu_count() or 1
        share = None if kernel_bytes is None else kernel_bytes // 2
        return shared_pool(workers, memory_bytes=share, threads=1), share

    def _memory_bytes(self) -> tuple[int | None, int | None]:
        """Return what the kernel and the store's own joins may take of the process's limit.

        It is what is left after Python, its parts, and rows on their way; the store gets the smaller part.
        """
        from gristmill.run.records import peak_memory_bytes

        if self.settings.run.memory_gib is None:
            return None, None
        limit = int(self.settings.run.memory_gib * 2**30)
        left = max(limit - peak_memory_bytes() - _HEADROOM_BYTES, limit // 4)
        return left * 2 // 3, left // 3

    def _check_parameters(self, parameters: Mapping[str, object]) -> None:
        """Refuse a parameter that no definition has, or a value of another type than its default."""
        known = {name: default for node in self.graph for name, default in node.parameters.items()}
        for name, value in parameters.items():
            if name not in known:
                hint = did_you_mean(name, sorted(known)) or f"known: {', '.join(sorted(known)) or 'none'}"
                raise UsageError(f"no definition has a parameter `{name}`", code="GM-U005", hint=hint)
            wanted = type(known[name])
            fits = isinstance(value, wanted) or (wanted is float and isinstance(value, int))
            if known[name] is not None and (not fits or (wanted is int and isinstance(value, bool))):
                raise UsageError(
                    f"parameter `{name}` is {wanted.__name__}, and {value!r} is {type(value).__name__}",
                    code="GM-U006",
                    hint=f"its default is {known[name]!r}",
                )

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
            plan = make_plan(ctx, self.store.snapshot(ref), on=branch, select=select, strict=False)
            self._note(ctx, plan, select)
            return PlanResult(plan)

    def _note(self, ctx: Context, plan: Plan, select: Sequence[str]) -> None:
        """Remember an empty plan, so that the next one need not load the project."""
        from gristmill.run.unchanged import note

        if self.loaded and plan.empty and plan.on in self.store.branches():
            note(ctx, plan, self.loaded, select=select)

    def run(
        self,
        select: Sequence[str] = (),
        *,
        on: str | None = None,
        params: Mapping[str, object] | None = None,
        message: str = "",
        since: str | None = None,
        between: str | None = None,
        listener: Listener = silent,
    ) -> RunResult:
        """Bring a branch up to date: land, compute, check, train, publish as one commit.

        Args:
            select: selectors of tables and models; empty means everything.
            on: the branch; a new one is made from ``main``.
            params: values for keyword parameters of definitions.
            message: the commit's message.
            since: a date; of the tables in ``select`` the rows from it on are computed again, whatever they hold.
            between: the same for any stretch of a column, as ``COLUMN=FROM..TO``; the end is left out, and each end
                may be missing. A changed definition can be brought over stretch by stretch like this.
            listener: takes the events as they happen.

        Returns a RunResult; ``.ok`` is False where a check said no, and nothing was published.
        """
        from gristmill.run.execute import Request
        from gristmill.run.restating import stretch_of

        restate = stretch_of(select, since=since, between=between)
        request = Request(on=self.branch(on), select=select, message=message, restate=restate)
        return self._execute(request, params, listener)

    def merge(
        self, source: str, *, into: str | None = None, message: str = "", listener: Listener = silent
    ) -> RunResult:
        """Bring what one branch changed into another: source tables are merged row by row, then what is computed
        from them is computed again, checked, and all of it becomes one commit.

        Raises Conflict, changing nothing, where both sides changed the same thing.
        """
        from gristmill.run.execute import Request

        return self._execute(
            Request(on=self.branch(into), merge=source, message=message or f"merge {source}"), None, listener
        )

    def stream(
        self,
        select: Sequence[str] = (),
        *,
        on: str | None = None,
        start: str = "earliest",
        until_end: bool = False,
        latency_s: float = 0.5,
        max_rows: int = 100_000,
        max_bytes: int = 64 * 2**20,
        params: Mapping[str, object] | None = None,
        stop: Callable[[], bool] | None = None,
        listener: Listener = silent,
    ) -> int:
        """Follow the project's streams: land what comes, bring up what follows from it, commit, batch after batch.

        Args:
            select: selectors of tables to keep up, with what they need; empty means all that follow from a stream.
            on: the branch; a new one is made from ``main``.
            start: where partitions begin that were never read: ``earliest``, ``latest``, an offset, a moment.
            until_end: whether to stop at the end that the sources have now.
            latency_s: how long a record should wait at most, about, until it is in a commit.
            max_rows: rows in one batch at most.
            max_bytes: bytes in one batch at most.
            params: values for keyword parameters of definitions.
            stop: asked between batches whether to stop; None goes on for ever.
            listener: takes the events as they happen.

        Returns how many records came.

        Raises:
            CheckFailed: a check said no; everything before that batch is committed.
            Conflict: another stream took over.
            DataError: something was lost at a source before it was read.
        """
        from gristmill.run.streaming.loop import Flow, stream

        flow = Flow(
            on=self.branch(on),
            select=select,
            start=start,
            until_end=until_end,
            latency_s=latency_s,
            max_rows=max_rows,
            max_bytes=max_bytes,
            stop=stop or (lambda: False),
        )
        with self.context(parameters=params, listener=listener) as ctx:
            return stream(ctx, flow).rows

    def replay_stream(
        self,
        select: Sequence[str] = (),
        *,
        on: str | None = None,
        sources: bool = False,
        swap: bool = False,
        params: Mapping[str, object] | None = None,
        listener: Listener = silent,
    ) -> Replayed:
        """Build what follows from streams again on a branch (``replay/`` and the name of ``on``), and compare.

        Sinks get nothing of it before it is swapped in. A replay that was cut off goes on where it was.

        Args:
            select: selectors of tables, with what they need; empty means all that follow from a stream.
            on: the branch.
            sources: whether to read the sources again, from the earliest that they hold, rather than the stored rows.
            swap: whether to swap the result in, as one commit that holds what others committed meanwhile too.
            params: values for keyword parameters of definitions.
            listener: takes the events as they happen.

        Raises:
            CheckFailed: a check said no; ``on`` is unchanged.
            Stale: ``on`` kept moving.
        """
        from gristmill.run.streaming.replaying import Replay, replay

        asked = Replay(on=self.branch(on), select=select, sources=sources, swap=swap)
        with self.context(parameters=params, listener=listener) as ctx:
            return replay(ctx, asked)

    def serve(self, table: str, *, on: str | None = None, params: Mapping[str, object] | None = None) -> Served:
        """Return a derived table as its definition gives it from everything that a branch holds now; write nothing.

        The rows that are stored, and what has changed in the inputs since, followed by the same definition. Each row
        has ``_layer``, ``slow`` for one as stored and ``fast`` for one that is new or changed since, and ``_as_of``,
        the event time up to which that layer is final.

        Args:
            table: its name.
            on: the branch.
            params: values for keyword parameters of definitions.

        Raises:
            CheckFailed: a check says no to what came since.
            NotFound: an input is not there yet.
            UsageError: it is no derived table.
        """
        from gristmill.run.serving import serve

        with self.context(parameters=params) as ctx:
            return serve(ctx, self.branch(on), table)

    def _execute(self, request: Request, params: Mapping[str, object] | None, listener: Listener) -> RunResult:
        from gristmill.run.execute import execute
        from gristmill.run.unchanged import settled

        with self.context(parameters=params, listener=listener) as ctx:
            try:
                record = execute(ctx, request)
            except GristmillError:
                self._tell(listener)
                raise
            if record.run:
                self._tell(listener)
            plan = settled(ctx, record) if request.restate is None else None
            if plan is not None:
                self._note(ctx, plan, ())
            return RunResult(record)

    def _tell(self, listener: Listener) -> None:
        """Tell who wants to know, where the last run is news."""
        from gristmill.model.events import Assumed
        from gristmill.run.notify import notify
        from gristmill.run.records import history

        recent = list(history(self.store, limit=10))
        previous = next((found for found in recent[1:] if found.on == recent[0].on), None)
        trouble = notify(self.settings, recent[0], previous) if recent else None
        if trouble:
            listener(Assumed(name="notify", text=trouble))

    def publish(
        self,
        run: str,
        *,
        accept: Sequence[Acceptance] = (),
        set_aside: Sequence[tuple[str, str]] = (),
        because: str = "",
        listener: Listener = silent,
    ) -> RunResult:
        """Publish a run that was kept aside. What it finished is taken over, the rest is computed now.

        Args:
            run: its name, such as ``run/17``.
            accept: failing rules that may pass, each with a reason and an end.
            set_aside: (table, rule) of failing row rules whose rows go to quarantine, this once.
            because: why; it stands in the commit's message.
            listener: takes the events.

        Raises UsageError where a rule to set rows aside for did not fail in the run, or names no rows.
        """
        from gristmill.run.execute import Request, execute
        from gristmill.run.records import load, refused_rows

        record = load(self.store, run)
        refused_rows(record, set_aside)
        with self.context(listener=listener) as ctx:
            request = Request(
                on=record.on,
                select=record.selected,
                accept=accept,
                set_aside=set_aside,
                message=f"publish {record.run}" + (f": {because}" if because else ""),
                merge=record.merged,
            )
            return RunResult(execute(ctx, request))

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


def _files_below(folder: Path) -> list[Path]:
    """Return the files of imported modules that lie in a folder."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    paths = {Path(file).resolve() for file in files if file}
    return sorted(path for path in paths if folder in path.parents and path.suffix == ".py")


def _rows(value: object) -> pa.Table:
    import pyarrow as pa

    from gristmill.run.frames import to_table

    return pa.Table.from_pylist(value) if isinstance(value, list) else to_table(value)
