"""Know that there is nothing to do without loading the project: no user code, no Ibis, no engine.

When a plan has come out empty, what it rested on is noted beside the store: the branch's commit, digests of the
project's files, settings, declared environment and files, versions of the packages that its code imports, and its
sources as values. While all of that is as noted, and the sources have nothing new, the plan is empty again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import blake3
import msgspec

from gristmill._version import __version__
from gristmill.define import Settings, code_state
from gristmill.define.settings import FILE_NAME
from gristmill.run.context import Context
from gristmill.run.derivation import declared_environment, declared_files, environment_digest, file_digest
from gristmill.run.planned import NOTHING, Plan, Step, with_gone
from gristmill.run.records import RunRecord

if TYPE_CHECKING:
    from gristmill.store import Store

KIND = "unchanged"
_CONNECTORS = {"FilesSource": "files", "QuerySource": "query"}


class SourceNote(msgspec.Struct, frozen=True):
    """A source whose connector is a plain value, encoded."""

    name: str
    connector: str
    value: bytes


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What an empty plan rested on."""

    commit: str
    steps: tuple[Step, ...]
    sources: tuple[SourceNote, ...]
    files: dict[str, str]
    environment: dict[str, str]
    packages: dict[str, str]


def settled(ctx: Context, record: RunRecord) -> Plan | None:
    """Return the empty plan that a published run of the whole project leaves behind; None where it leaves work."""
    stages = {stage.name: stage for stage in record.stages}
    if record.status != "published" or record.head is None or any(node.name not in stages for node in ctx.graph):
        return None
    snapshot = ctx.store.snapshot(record.head)
    steps = tuple(
        Step(
            name=node.name,
            kind=node.kind,
            mode="reuse",
            reason="no new units" if node.kind == "source" else "nothing changed",
            rows=snapshot.table(node.name).row_count if node.name in snapshot else stages[node.name].rows,
        )
        for node in ctx.graph.order()
    )
    return Plan(on=record.on, commit=record.head, steps=steps)


def note(ctx: Context, plan: Plan, loaded: Iterable[Path], *, select: Sequence[str] = ()) -> None:
    """Remember an empty plan, if everything it rests on can be told apart by value.

    Args:
        ctx: the run's values.
        plan: an empty plan.
        loaded: files of the project that were imported.
        select: the selectors it was made for.
    """
    if any(node.slow for node in ctx.graph):  # time alone makes such a table due
        return
    encoded = _encoded_sources(ctx)
    arrived_in_vain = any(
        step.mode == "wait" and step.kind == "source" and step.reason != NOTHING for step in plan.steps
    )
    if encoded is None or arrived_in_vain:
        return
    files = {_relative(path, ctx.root): file_digest(path) for path in [*loaded, ctx.root / FILE_NAME]}
    environment: dict[str, str] = {}
    packages = {"gristmill": __version__, "ibis-framework": metadata.version("ibis-framework")}
    for node in ctx.graph:
        files |= declared_files(node, ctx.root)
        environment |= declared_environment(node)
        if node.function is not None and node.kind != "table":
            packages |= code_state(node.function, ctx.root, known=ctx.code).packages
        if node.contract:
            files[node.contract] = file_digest(ctx.root / node.contract)
    made = Note(
        commit=plan.commit,
        steps=plan.steps,
        sources=encoded,
        files=files,
        environment=environment,
        packages=packages,
    )
    ctx.store.records.put(KIND, _key(plan.on, ctx.settings, ctx.parameters, select), msgspec.msgpack.encode(made))


def recall(
    store: Store, root: Path, settings: Settings, *, on: str, parameters: Mapping[str, object], select: Sequence[str]
) -> Plan | None:
    """Return the empty plan, where nothing that it rested on has changed; None where that cannot be told."""
    data = store.records.get(KIND, _key(on, settings, parameters, select))
    if not data or on not in store.branches():
        return None
    found = msgspec.msgpack.decode(data, type=Note)
    if store.resolve(on) != found.commit or not _same_code(root, found):
        return None
    snapshot = store.snapshot(found.commit)
    gone: dict[str, tuple[str, ...]] = {}
    for source in found.sources:
        known = {name: unit for name, unit in snapshot.units(source.name).items() if unit.state != "released"}
        there = _decoded(source).discover(root, known)
        if any(unit.status in ("new", "changed") for unit in there):
            return None
        gone[source.name] = tuple(u.name for u in there if u.status == "gone" and known[u.name].state != "held")
    steps = tuple(with_gone(step, gone.get(step.name, ())) for step in found.steps)
    return Plan(on=on, commit=found.commit, steps=steps)


def forget(store: Store) -> None:
    """Forget every empty plan, because something else than what they rested on says that there is work."""
    for key, _ in list(store.records.items(KIND)):
        store.records.delete(KIND, key)


def _same_code(root: Path, found: Note) -> bool:
    return (
        all(file_digest(root / path) == digest for path, digest in found.files.items())
        and all(environment_digest(name) == digest for name, digest in found.environment.items())
        and all(_version(name) == version for name, version in found.packages.items())
    )


def _version(name: str) -> str:
    if name == "gristmill":
        return __version__
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _encoded_sources(ctx: Context) -> tuple[SourceNote, ...] | None:
    notes = []
    for node in ctx.graph:
        if node.kind != "source":
            continue
        kind = _CONNECTORS.get(type(node.connector).__name__)
        if kind is None or not getattr(node.connector, "portable", True):
            return None
        notes.append(SourceNote(node.name, kind, msgspec.msgpack.encode(node.connector)))
    return tuple(notes)


def _decoded(source: SourceNote):  # type: ignore[no-untyped-def]
    from gristmill.connect import FilesSource, QuerySource

    return msgspec.msgpack.decode(source.value, type=QuerySource if source.connector == "query" else FilesSource)


def _key(on: str, settings: Settings, parameters: Mapping[str, object], select: Sequence[str]) -> str:
    text = repr((settings.environment, sorted((name, repr(value)) for name, value in parameters.items()), list(select)))
    return f"{on}\0{blake3.blake3(text.encode()).hexdigest()[:24]}"


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
