"""Random projects over random histories: the same for the same seed, and a history can be shortened act by act.

A history is a list of acts, each with a seed of its own: files come, change, are delivered again and go; people edit
source tables; branches are merged, commits reverted; runs are cut in anywhere, and some are stopped or die in the
middle. After every run that ends, every derived table must be what computing it in full gives.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import ibis
import ibis.expr.operations as ops
import msgspec
import pyarrow.parquet as pq
from ibis.common.exceptions import IbisError

import gristmill as gm
from gristmill import algebra
from gristmill.errors import Conflict, DataError, DefinitionError
from gristmill.run import incremental, stage
from gristmill.run.witnesses import Witnesses
from tests.programs import TABLES, arrow, edited, inputs, program, rows_of

Act = tuple[str, int]
ACTS = (
    *("new", "new", "change", "change", "again", "copy", "go", "edit", "edit", "delete"),
    *("merge", "revert", "run", "run", "run", "stopped", "killed"),
)
MIDDLE = "mid.a"


class Killed(BaseException):
    """The process is gone: nothing is cleaned up, nothing said."""


@dataclass
class World:
    """One project, its folder, and what its tables were made by.

    Args:
        root: the project's folder.
        seed: of the definitions.
        many: how many random definitions there are.
        modes: how tables were brought up to date, counted.
    """

    root: Path
    seed: int
    many: int = 3
    files: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    modes: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    _programs: dict[str, ibis.Table] = field(default_factory=dict)

    def project(self) -> gm.Project:
        """Load the project anew, as another process would."""
        project = gm.Project(self.root)
        for name in TABLES:
            project.source(name, gm.files(f"landing/{name}/*.parquet"))
        for name, expr in self.programs().items():
            _define(project, name, expr)
        return project

    def programs(self) -> dict[str, ibis.Table]:
        """Return the definitions by name; they are made once, so that what is known of them can be kept."""
        if not self._programs:
            rng = random.Random(self.seed)
            a = inputs()["raw.a"]
            middle = a.filter(a.b.notnull()) if rng.random() < 0.5 else a.mutate(k=ibis.coalesce(a.k, 1))
            self._programs[MIDDLE] = middle
            for number in range(self.many):
                with suppress(DefinitionError, IbisError):  # what a definition may not be is tested elsewhere
                    made = _over_middle(program(rng)) if number % 3 == 2 else program(rng)
                    if algebra.maintain(made, {}).reads:
                        self._programs[f"made.t{number}"] = made
        return self._programs


def _over_middle(expr: ibis.Table) -> ibis.Table:
    """Return a program that reads the derived table instead of its source."""
    return _replaced(expr, {"raw.a": ibis.table(inputs()["raw.a"].schema(), name=MIDDLE)})


def _replaced(expr: ibis.Table, tables: Mapping[str, ibis.Table]) -> ibis.Table:
    """Return a program with its inputs replaced by name; landed times have a zone, those of programs have none."""
    leaves = {
        leaf: tables[leaf.name].cast(dict(leaf.schema.items())).op()
        for leaf in expr.op().find(ops.UnboundTable)
        if leaf.name in tables
    }
    made: ibis.Table = expr.op().replace(leaves).to_expr()
    return made


def _define(project: gm.Project, name: str, expr: ibis.Table) -> None:
    reads = sorted(algebra.reads(expr))

    def made(*tables: ibis.Table) -> ibis.Table:
        return _replaced(expr, dict(zip(reads, tables, strict=True)))

    functions: dict[int, Callable[..., ibis.Table]] = {
        1: lambda one: made(one),
        2: lambda one, two: made(one, two),
        3: lambda one, two, three: made(one, two, three),
        4: lambda one, two, three, four: made(one, two, three, four),
    }
    if reads:
        project.table(name, reads=reads)(functions[len(reads)])


def random_history(seed: int, length: int = 9) -> list[Act]:
    """Return acts; the first lands something of every table."""
    rng = random.Random(seed)
    acts = [("new", rng.randrange(2**32)) for _ in range(2)] + [("run", 0)]
    return [*acts, *((rng.choice(ACTS), rng.randrange(2**32)) for _ in range(length)), ("run", 1)]


def play(seed: int, acts: list[Act], *, follow: bool = True, many: int = 3, lineage: bool = True) -> World:
    """Play a history and check parity after each run.

    Args:
        seed: of the definitions.
        acts: what happens.
        follow: whether tables follow changes even where computing them in full would cost less.
        many: how many random definitions there are.
        lineage: whether runs also write down how rows hang on their inputs, which takes a fifth of the time.

    Raises AssertionError that shows what differs.
    """
    with tempfile.TemporaryDirectory() as folder, _following(follow), _with_lineage(lineage):
        world = World(Path(folder), seed, many)
        (world.root / "gristmill.toml").write_text(
            "[run]\nworkers = 1\nthreads = 1\nmax_quarantine = 1.0\n[store]\n" + 'url = "store"\n'
        )
        for name in TABLES:
            (world.root / "landing" / name).mkdir(parents=True)
            _write(world, f"{name}/0", name, rows_of(random.Random(f"{seed} {name}"), name))
        for number, (kind, act_seed) in enumerate(acts):
            try:
                _ACTS[kind](world, random.Random(act_seed))
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, act {number} {kind} of {acts}: {error}") from error
        return world


@contextmanager
def _following(always: bool) -> Iterator[None]:
    real = incremental._too_much
    if always:
        incremental._too_much = lambda *arguments: ""
    try:
        yield
    finally:
        incremental._too_much = real


@contextmanager
def _with_lineage(wanted: bool) -> Iterator[None]:
    real = stage.dump_witnesses
    if not wanted:
        nothing = msgspec.json.encode(Witnesses(kind="table", identity=(), inputs={}))
        stage.dump_witnesses = lambda *arguments: nothing
    try:
        yield
    finally:
        stage.dump_witnesses = real


def _write(world: World, unit: str, name: str, rows: list[tuple[object, ...]]) -> None:
    world.files[unit] = rows
    pq.write_table(arrow(name, rows), world.root / "landing" / f"{unit}.parquet")


def _new(world: World, rng: random.Random) -> None:
    name = rng.choice(list(TABLES))
    _write(world, f"{name}/{rng.randrange(10**6)}", name, rows_of(rng, name, 6))


def _change(world: World, rng: random.Random) -> None:
    unit = rng.choice(sorted(world.files))
    name = unit.split("/")[0]
    _write(world, unit, name, edited(rng, name, world.files[unit], "any")[0])


def _again(world: World, rng: random.Random) -> None:
    unit = rng.choice(sorted(world.files))
    rows = list(world.files[unit])
    rng.shuffle(rows)
    _write(world, unit, unit.split("/")[0], rows)


def _copy(world: World, rng: random.Random) -> None:
    unit = rng.choice(sorted(world.files))
    _write(world, f"{unit.split('/')[0]}/copy{rng.randrange(10**6)}", unit.split("/")[0], world.files[unit])


def _go(world: World, rng: random.Random) -> None:
    unit = rng.choice(sorted(world.files))
    if len(world.files) > len(TABLES):
        del world.files[unit]
        (world.root / "landing" / f"{unit}.parquet").unlink()


def _edit(world: World, rng: random.Random, on: str = "main") -> None:
    name = rng.choice(list(TABLES))
    store = world.project().store
    if name in store.snapshot(on):
        with store.begin(on, message="edit") as tx:
            tx.append(name, arrow(name, rows_of(rng, name, 3)).cast(tx.table(name).schema.to_arrow()))


def _delete(world: World, rng: random.Random, on: str = "main") -> None:
    from gristmill.model.predicates import Compare

    name = rng.choice(list(TABLES))
    store = world.project().store
    if name in store.snapshot(on):
        with store.begin(on, message="delete") as tx:
            tx.delete(name, where=Compare("k", "=", rng.choice([0, 1, 2, 3])))


def _merge(world: World, rng: random.Random) -> None:
    project = world.project()
    store, name = project.store, f"side{rng.randrange(10**6)}"
    store.create_branch(name, at="main")
    rng.choice([_edit, _delete])(world, rng, name)
    rng.choice([_edit, _delete])(world, rng, "main")
    try:
        result = project.merge(name)
    except Conflict:
        return
    _after(world, project, result)


def _revert(world: World, rng: random.Random) -> None:
    store = world.project().store
    commits = [commit.id for commit in store.log("main", limit=3) if commit.parents]
    if commits:
        try:
            store.revert(rng.choice(commits), on="main")
        except Conflict:
            return
        project = world.project()
        _after(world, project, project.run())


def _run(world: World, rng: random.Random) -> None:
    project = world.project()
    _after(world, project, project.run())


def _stopped(world: World, rng: random.Random, error: type[BaseException] = KeyboardInterrupt) -> None:
    left = rng.randrange(1, 14)

    def listener(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise error

    project = world.project()
    try:
        result = project.run(listener=listener)
    except (KeyboardInterrupt, Killed):
        return
    _after(world, project, result)


def _killed(world: World, rng: random.Random) -> None:
    _stopped(world, rng, Killed)


def _after(world: World, project: gm.Project, result: gm.api.results.RunResult) -> None:
    refused = [finding.rule.origin for finding in result.failures]
    assert result.ok or set(refused) == {"default"}, result.failures
    world.runs += 1
    world.modes.update(stage.mode for stage in result.record.stages if stage.kind == "table")
    report = project.parity()
    assert report.ok, repr(report)
    if not result.ok:
        return
    there = project.store.snapshot("main")
    unseen = [table.table for table in report.tables if table.outcome != "equal" and table.table in there]
    assert not unseen, repr(report)
    again = [table for table in report.tables if table.why and table.table in there]
    assert not again, again


_ACTS: dict[str, Callable[[World, random.Random], None]] = {
    "new": _new,
    "change": _change,
    "again": _again,
    "copy": _copy,
    "go": _go,
    "edit": _edit,
    "delete": _delete,
    "merge": _merge,
    "revert": _revert,
    "run": _run,
    "stopped": _stopped,
    "killed": _killed,
}


def shortened(seed: int, acts: list[Act], *, many: int = 3) -> list[Act]:
    """Return a shorter history that still fails, by leaving out one act at a time."""

    def fails(some: list[Act]) -> bool:
        try:
            play(seed, some, many=many)
        except (AssertionError, DataError):
            return True
        return False

    at = len(acts) - 1
    while at >= 0:
        less = [*acts[:at], *acts[at + 1 :]]
        if fails(less):
            acts = less
        at -= 1
    return acts
