"""What a run would do to each table, and why, without writing anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import DataError, DefinitionError
from gristmill.run.breaking import lost_columns, told_of
from gristmill.run.compiling import Compiled, compile_node, output_schema
from gristmill.run.context import Context
from gristmill.run.derivation import RULES_CHANGED, load_derivation
from gristmill.run.estimates import Past, arriving_rows, estimate, past
from gristmill.run.incremental import Way, way
from gristmill.run.landing import Arrivals, arrivals, shape_of
from gristmill.run.layers import WAITING, rests
from gristmill.run.memo import made_by
from gristmill.run.planned import GONE, NOTHING, SAME, Mode, Plan, Step
from gristmill.run.rechecking import can_recheck
from gristmill.run.restating import load_backfill
from gristmill.run.rules import checked_with, checks_digest, ordered, referenced
from gristmill.run.sizing import advice, sized
from gristmill.run.streaming.outbox import check_sinks
from gristmill.run.suspects import suspected

if TYPE_CHECKING:
    import pyarrow as pa

    from gristmill.store import Snapshot

_EMPTY = "GM-D117"
_FULL = Way("full")


def make_plan(ctx: Context, snapshot: Snapshot, *, on: str, select: Iterable[str] = (), strict: bool = True) -> Plan:
    """Compare sources and definitions with what ``snapshot`` holds.

    Args:
        ctx: the project.
        snapshot: what is there.
        on: the branch.
        select: selectors; empty means everything.
        strict: whether a definition that reads a column which a change takes away is an error, as it is for a run;
            else its step is ``broken``.

    Raises DefinitionError where a definition does not fit its inputs.
    """
    check_sinks(ctx)
    planner = _Planner(ctx, snapshot, past(ctx.store, on=on), strict=strict)
    order = ordered(ctx)
    steps = {node.name: planner.step(node) for node in order}
    changed = [name for name, step in steps.items() if step.acts]
    chosen = ctx.graph.select(select, changed=changed)
    kept = tuple(steps[node.name] for node in order if node.name in chosen)
    told = tuple(_with_breaks(step, planner.breaks) for step in kept)
    off_time, off_memory, off_disk = planner.past.off_by()
    plan = Plan(
        on=on,
        commit=snapshot.commit.id,
        steps=told,
        time_error=off_time.share,
        memory_error=off_memory.share,
        disk_error=off_disk.share,
    )
    return msgspec.structs.replace(plan, advice=advice(ctx, plan.steps))


def _with_breaks(step: Step, breaks: Mapping[str, list[tuple[str, str]]]) -> Step:
    found = breaks.get(step.name)
    return msgspec.structs.replace(step, breaks=tuple(found)) if found else step


class _Planner:
    """Walks the nodes in order and remembers what is known of each: schema, rows, and whether it will change."""

    def __init__(self, ctx: Context, snapshot: Snapshot, past: Past, *, strict: bool) -> None:
        self.ctx, self.snapshot, self.past, self.strict = ctx, snapshot, past, strict
        self.compiled: dict[str, Compiled] = {}
        self.breaks: dict[str, list[tuple[str, str]]] = {}
        self.schemas: dict[str, pa.Schema | None] = {}
        self.acting: set[str] = set()
        self.rows: dict[str, int] = {}

    def step(self, node: Node) -> Step:
        made = self._source(node) if node.kind == "source" else self._derived(node)
        if made.acts:
            self.acting.add(node.name)
            made = self._estimated(node, made)
        arriving = made.rows_in if node.kind == "source" else 0
        self.rows[node.name] = made.rows_out or made.rows + arriving
        return made

    def _estimated(self, node: Node, step: Step) -> Step:
        if node.kind == "source":
            rows_in = arriving_rows(self.snapshot, node.name, step.input_bytes)
        else:
            rows_in = sum(self.rows.get(name, 0) for name in node.reads)
        rows_out, time_s = estimate(self.past, node.name, step.mode, rows_in)
        if node.kind == "source":
            rows_out = step.rows + rows_in if rows_in else 0
        made = msgspec.structs.replace(step, rows_in=rows_in, rows_out=rows_out, time_s=time_s)
        return sized(self.ctx, self.snapshot, made, self.compiled.get(node.name), self.rows, self.past)

    def _rows(self, name: str) -> int:
        return self.snapshot.table(name).row_count if name in self.snapshot else 0

    def _stored_schema(self, name: str) -> pa.Schema | None:
        return self.snapshot.table(name).schema.to_arrow() if name in self.snapshot else None

    def _source(self, node: Node) -> Step:
        there = arrivals(self.ctx, node, self.snapshot)
        self.schemas[node.name] = self._stored_schema(node.name)
        if self.schemas[node.name] is None and not (there.held and not there.fresh):
            try:
                self.schemas[node.name] = shape_of(self.ctx, node, self.snapshot, there.fresh).schema
            except DataError as error:
                return self._unread(node, there, error)
        mode: Mode = "land" if there.fresh else "held" if there.held else "reuse"
        reason = _arrival_words(there)
        if mode != "land" and (why := self._recheck(node)):
            mode, reason = "check", why
        return Step(
            name=node.name,
            kind=node.kind,
            mode=mode,
            reason=reason,
            rows=self._rows(node.name),
            units=tuple(found.name for found in there.fresh),
            gone=there.gone,
            held=there.held,
            input_bytes=sum(found.size_bytes for found in there.fresh),
        )

    def _unread(self, node: Node, there: Arrivals, error: DataError) -> Step:
        """Wait where nothing, or nothing but empty files, has arrived; a file that cannot be read is for the run."""
        reason, empty = NOTHING, error.code == _EMPTY
        if there.fresh:
            reason = f"{error.where}: {error.message.split(':')[0]}" if error.where else error.message
        mode: Mode = "wait" if empty or not there.fresh else "land"
        units = tuple(found.name for found in there.fresh) if mode == "land" else ()
        return Step(name=node.name, kind=node.kind, mode=mode, reason=reason, units=units)

    def _recheck(self, node: Node) -> str:
        """Why the stored rows of a source must be looked at again; empty where they need not be."""
        if node.name not in self.snapshot:
            return ""
        if checks_digest(self.ctx, node, self.snapshot) != checked_with(self.snapshot, node.name):
            return RULES_CHANGED
        return self._looks_into(node)

    def _looks_into(self, node: Node) -> str:
        changing = [name for name in referenced(self.ctx, node) if name in self.acting] if self.acting else []
        return f"its rules look into {changing[0]}" if changing else ""

    def _derived(self, node: Node) -> Step:
        waiting = [name for name in node.reads if self.schemas.get(name) is None and name not in self.acting]
        rows = self._rows(node.name)
        if waiting and any(name not in self.snapshot for name in waiting):
            self.schemas[node.name] = self._stored_schema(node.name)
            return Step(name=node.name, kind=node.kind, mode="wait", reason=f"waits for {waiting[0]}", rows=rows)
        try:
            reason, found = self._reason(node)
        except DefinitionError as error:
            gone = lost_columns(self.snapshot, node, self.schemas)
            self._note_breaks(node.name, gone)
            if self.strict or not gone:
                raise told_of(error, gone) from None
            self.schemas[node.name] = self._stored_schema(node.name)
            words = "; ".join(f"reads `{column}` of {name}, which is gone" for name, column in gone)
            return Step(name=node.name, kind=node.kind, mode="broken", reason=words, why=error.message, rows=rows)
        if node.kind in ("step", "model", "predictions"):
            self._note_breaks(node.name, lost_columns(self.snapshot, node, self.schemas))
        if reason.startswith(WAITING):
            return Step(name=node.name, kind=node.kind, mode="reuse", reason=reason, rows=rows)
        mode: Mode = "reuse" if not reason else "train" if node.kind == "model" else found.mode
        if reason == RULES_CHANGED and can_recheck(self.ctx, node, self.snapshot):
            mode = "check"
        if not reason and node.is_table and node.name in self.snapshot and (why := self._looks_into(node)):
            mode, reason = "check", why
        if mode in ("full", "delta", "touched") and self.acting.isdisjoint(node.inputs) and not node.slow:
            made = made_by(self.ctx.store, node, self.compiled[node.name].derivation.fingerprint)
            reason = f"{reason}; {made} computed the same, which is taken over" if made else reason
        filled = load_backfill(self.snapshot, node.name) if mode == "full" else None
        if filled is not None and filled.fingerprint == self.compiled[node.name].derivation.fingerprint:
            reason = f"{reason}; brought over so far: {filled.words}"
        return Step(
            name=node.name,
            kind=node.kind,
            mode=mode,
            reason=reason or "nothing changed",
            why=found.why,
            rules=tuple((rule.operation, rule.rule, rule.why) for rule in found.maintained.rules)
            if found.maintained is not None
            else (),
            rows=rows,
        )

    def _note_breaks(self, reader: str, gone: Sequence[tuple[str, str]]) -> None:
        for name, column in gone:
            self.breaks.setdefault(name, []).append((reader, column))

    def _reason(self, node: Node) -> tuple[str, Way]:
        """Return why a table is out of date (empty where it is not), and how it would be brought up to date."""
        known = {name: schema for name in node.reads if (schema := self.schemas.get(name)) is not None}
        before = load_derivation(self.snapshot, node.name)
        if len(known) < len(node.reads) and node.kind in ("table", "sql", "history"):
            self.schemas[node.name] = self._stored_schema(node.name)
            return f"reads {next(name for name in node.reads if name not in known)}, which is not there yet", _FULL
        compiled = self.compiled[node.name] = compile_node(self.ctx, node, self.snapshot, known)
        self.schemas[node.name] = output_schema(self.ctx, compiled, known) or self._stored_schema(node.name)
        doubted = suspected(self.ctx.store, self.snapshot, node.name)
        reason = compiled.derivation.reason(before) or doubted
        affected = [name for name in node.inputs if name in self.acting]
        if not reason and affected:
            reason = f"reads {affected[0]}"
        if not reason or node.kind not in ("table", "sql", "step"):
            return reason, _FULL
        if node.slow and not doubted:
            resting = rests(self.ctx, self.snapshot, node, compiled.derivation, before)
            return resting or reason, Way("full", "its slow layer is computed in full")
        if doubted:
            return reason, Way("full", doubted)
        return reason, way(self.ctx, self.snapshot, compiled, before, acting=affected)


def _arrival_words(there: Arrivals) -> str:
    new = sum(1 for found in there.fresh if found.status == "new")
    changed = len(there.fresh) - new
    words = []
    for number, word in ((new, "new"), (changed, "changed")):
        if number:
            words.append(f"{number} {word} unit{'s' if number > 1 else ''}")
    if there.held:
        words.append(f"{len(there.held)} held")
    if there.gone:
        words.append(f"{len(there.gone)} {GONE}")
    return ", ".join(words) or SAME
