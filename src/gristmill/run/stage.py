"""One stage of a run: bring one table or model up to date on the run's branch, in a commit of its own."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import EngineError, GristmillError, Stale
from gristmill.model.events import Retrying, StageFinished, StageStarted
from gristmill.model.findings import Finding
from gristmill.model.units import Ledger
from gristmill.run.columnwise import Columns, column_digests
from gristmill.run.compiling import Compiled, compile_node
from gristmill.run.context import Context
from gristmill.run.derivation import (
    RULES_CHANGED,
    Derivation,
    alike,
    document_path,
    dump_derivation,
    load_derivation,
)
from gristmill.run.incremental import Way, follow, way
from gristmill.run.landing import land
from gristmill.run.layers import note_layer, rests
from gristmill.run.measuring import Taken
from gristmill.run.memo import adopt, entry, made_by
from gristmill.run.models import predict, train
from gristmill.run.parity import followed_share
from gristmill.run.partials import as_computed, drop_partials
from gristmill.run.planned import Step
from gristmill.run.rechecking import can_recheck, recheck
from gristmill.run.records import StageRecord
from gristmill.run.restating import backfill_path, refuse_other_columns, restate
from gristmill.run.rules import rules_of, write_checks
from gristmill.run.spread import NO_MEMORY
from gristmill.run.streaming.bounded import is_stream, land_stream
from gristmill.run.suspects import cleared, suspected
from gristmill.run.tables import compute_table
from gristmill.run.witnesses import dump_witnesses, witnesses_path

if TYPE_CHECKING:
    from gristmill.store import Transaction, View

_PAUSE_S = 0.5
OFF = 3.0
"""A stage that reads so many times more, or fewer, rows than planned is decided on again; and says so."""


@dataclass(slots=True)
class Progress:
    """What one stage, or all stages of a run so far, have brought; ``broken`` names what must not be read on."""

    stages: list[StageRecord] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    computed: list[tuple[str, str, bytes]] = field(default_factory=list)

    def in_order_of(self, steps: Sequence[Step]) -> None:
        """Bring stages and findings into the plan's order, whichever ended first."""
        rank = {step.name: position for position, step in enumerate(steps)}
        self.stages.sort(key=lambda stage: rank.get(stage.name, 0))
        self.findings.sort(key=lambda finding: rank.get(finding.table, 0))

    def take(self, more: Progress) -> None:
        """Add what another stage has brought."""
        self.stages += more.stages
        self.findings += more.findings
        self.ledgers |= more.ledgers
        self.metrics |= more.metrics
        self.broken |= more.broken
        self.computed += more.computed


def run_stage(ctx: Context, run: str, step: Step, broken: Set[str]) -> Progress:
    """Run a stage, again after a pause where an error says that a retry can help (and is not a lost race).

    Args:
        ctx: what the run works with.
        run: the run's branch.
        step: what the plan says of the table or model.
        broken: names of what may not be read on, because a check said no there.
    """
    for attempt in range(ctx.settings.run.retries + 1):
        progress = Progress()
        try:
            _stage(ctx, run, step, broken, progress)
            return progress
        except Stale:
            raise
        except GristmillError as error:
            node = ctx.graph[step.name]
            error.where = error.where or (f"{step.name} ({node.place})" if str(node.place) else step.name)
            if not error.retryable or attempt == ctx.settings.run.retries:
                raise
            wait_s = _PAUSE_S * 2**attempt * (1 + random.random())
            ctx.listener(Retrying(name=step.name, attempt=attempt + 1, wait_s=wait_s, message=error.message))
            time.sleep(wait_s)
    raise AssertionError("unreachable")


def _stage(ctx: Context, run: str, step: Step, broken: Set[str], progress: Progress) -> None:
    node = ctx.graph[step.name]
    if not broken.isdisjoint(node.inputs):
        progress.broken.add(node.name)
    if step.mode in ("wait", "held") or node.name in progress.broken:
        return
    started, cpu = time.monotonic(), time.process_time()
    watched = ctx.meter.stage(step.peak_bytes) if ctx.meter is not None else nullcontext(Taken())
    with watched as taken, ctx.store.begin(run, message=f"{run}: {node.name}") as tx:
        ctx = replace(ctx, taken=taken)
        outcome = (
            _land(ctx, tx, node, step, run, progress)
            if node.kind == "source"
            else bring_up(ctx, tx, node, run, progress)
        )
        rows_in, written = _rows_in(tx, node, step), tx.written_bytes
    if outcome is None:
        return
    mode, reason, rows, changed = outcome
    wall = time.monotonic() - started
    asked = ctx.restate is not None and node.name in ctx.restate.tables
    replanned = "" if asked else _replanned(step, mode, rows_in)
    note = f"{reason}; {replanned}" if replanned and mode != step.mode else reason
    progress.stages.append(
        StageRecord(
            name=node.name,
            kind=node.kind,
            mode=mode,
            reason=reason,
            rows=rows,
            changed=changed,
            wall_s=wall,
            cpu_s=time.process_time() - cpu,
            rows_in=rows_in,
            estimate_s=step.time_s,
            planned=step.mode,
            planned_rows=step.rows_out,
            pieces=ctx.spread.pop(node.name, ""),
            replanned=replanned,
            peak_bytes=taken.peak_bytes,
            disk_bytes=taken.spilled_bytes + taken.exchanged_bytes,
            written_bytes=written,
            planned_peak_bytes=step.peak_bytes,
            planned_disk_bytes=step.disk_bytes,
        )
    )
    ctx.listener(
        StageFinished(name=node.name, kind=node.kind, mode=mode, rows=rows, changed=changed, wall_s=wall, note=note)
    )


def _replanned(step: Step, mode: str, rows_in: int) -> str:
    """Say where a stage was done in another way than planned, because what it reads is not what was expected."""
    expected = step.rows_in
    off = max(rows_in, 1) / max(expected, 1)
    far = expected > 0 and (off >= OFF or off <= 1 / OFF)
    if mode in ("reuse", step.mode) and not far:
        return ""
    words = f"{rows_in:,} rows where {expected:,} were expected" if far else "what changed is known only now"
    return f"planned {step.mode}, done {mode}: {words}" if mode != step.mode else words


def _rows_in(view: View, node: Node, step: Step) -> int:
    """Return the rows that a stage read: those of its inputs, or those that its units delivered."""
    if node.kind == "source":
        units = view.units(node.name)
        return sum(units[name].ledger.delivered for name in step.units if name in units)
    return sum(view.table(name).row_count for name in node.reads if name in view)


Outcome = tuple[str, str, int, bool]
"""Mode, reason, rows of the table, and whether it changed."""


def _land(ctx: Context, tx: Transaction, node: Node, step: Step, run: str, progress: Progress) -> Outcome | None:
    if step.mode == "check":
        return _recheck(ctx, tx, node, step.reason, run, progress)
    if step.mode != "land":
        return "reuse", step.reason, step.rows, False
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode=step.mode, reason=step.reason))
    landed = (land_stream if is_stream(node) else land)(ctx, tx, node, rules_of(ctx, node), run)
    progress.findings += landed.findings
    progress.ledgers[node.name] = landed.ledger
    if not landed.ok:
        progress.broken.add(node.name)
    return step.mode, step.reason, landed.rows, True


def _recheck(ctx: Context, tx: Transaction, node: Node, reason: str, run: str, progress: Progress) -> Outcome:
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode="check", reason=reason))
    before = tx.table(node.name).id
    findings = recheck(ctx, tx, node, run)
    progress.findings += findings
    if any(finding.blocks for finding in findings):
        progress.broken.add(node.name)
    return "check", reason, tx.table(node.name).row_count, tx.table(node.name).id != before


def bring_up(
    ctx: Context, tx: Transaction, node: Node, run: str, progress: Progress, *, anew: bool = False
) -> Outcome | None:
    """Bring a derived table or model up to date with what it reads in ``tx``, in the cheapest way that is right.

    With ``anew`` it is computed in full, whatever is there or was computed before.

    Returns None where an input is not there.
    """
    missing = [name for name in node.inputs if name not in tx and name not in tx.file_trees()]
    if missing:
        progress.broken.add(node.name)
        return None
    schemas = {name: tx.table(name).schema.to_arrow() for name in node.reads}
    compiled = compile_node(ctx, node, tx, schemas)
    before = load_derivation(tx, node.name)
    doubted = suspected(ctx.store, tx, node.name) or ("computed again from the start" if anew else "")
    reason = compiled.derivation.reason(before) or doubted
    if ctx.restate is not None and node.name in ctx.restate.tables:
        return _restate(ctx, tx, compiled, run, progress)
    if reason and not doubted and (words := rests(ctx, tx, node, compiled.derivation, before)):
        return "reuse", words, tx.table(node.name).row_count, False
    slow = bool(node.slow) and not ctx.fast
    if reason == RULES_CHANGED and not anew and can_recheck(ctx, node, tx):
        assert before is not None
        outcome = _recheck(ctx, tx, node, reason, run, progress)
        _note(tx, compiled, before.partials, clean=False)
        return outcome
    if not reason:
        rows = tx.table(node.name).row_count if node.is_table else 0
        return "reuse", "nothing it reads changed", rows, False
    if not doubted and not slow and (there := adopt(ctx.store, tx, node, compiled.derivation)) is not None:
        _note(tx, compiled, there.partials, clean=there.clean)
        tx.put_document(witnesses_path(node.name), dump_witnesses(ctx, tx, compiled, schemas))
        write_checks(ctx, tx, node)
        rows = tx.table(node.name).row_count if node.is_table else 0
        made = made_by(ctx.store, node, compiled.derivation.fingerprint)
        return "reuse", f"the same was computed by {made}", rows, True
    found = Way("full") if doubted or slow else way(ctx, tx, compiled, before)
    if found.follows and before is not None:
        followed = _follow(ctx, run, tx, compiled, found, before, reason, progress)
        if followed is not None:
            return followed
    mode = "train" if node.kind == "model" else "full"
    started = "columns" if found.columns is not None else mode
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode=started, reason=reason))
    before_id = tx.table(node.name).id if node.name in tx else None
    if doubted:
        cleared(ctx.store, tx, node.name)
    rows, columnwise = _compute(ctx, tx, compiled, run, progress, columns=found.columns)
    if columnwise:
        mode, reason = "columns", f"{reason}: {found.why}"
    if slow:
        note_layer(ctx, tx, node.name)
    write_checks(ctx, tx, node)
    tx.put_document(witnesses_path(node.name), dump_witnesses(ctx, tx, compiled, schemas))
    _keep(ctx, compiled, run, progress)
    changed = not node.is_table or tx.table(node.name).id != before_id
    return mode, reason, rows, changed


def _restate(ctx: Context, tx: Transaction, compiled: Compiled, run: str, progress: Progress) -> Outcome | None:
    """Compute a stretch of a table again; where its definition is the same, changed inputs are followed first."""
    node, stretch = compiled.node, ctx.restate
    assert stretch is not None
    before = load_derivation(tx, node.name)
    changed = before is None or alike(compiled.derivation, before).fingerprint != before.fingerprint
    if changed:
        refuse_other_columns(ctx, tx, compiled)
    else:
        behind = compiled.derivation.reason(before) and rests(ctx, tx, node, compiled.derivation, before)
        bring_up(replace(ctx, restate=None), tx, node, run, progress, anew=bool(behind))  # all rows as of one moment
        before = load_derivation(tx, node.name)
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode="touched", reason="asked for"))
    made = restate(ctx, tx, compiled, stretch, rules_of(ctx, node), changed=changed)
    progress.findings += made.findings
    if any(finding.blocks for finding in made.findings):
        progress.broken.add(node.name)
    write_checks(ctx, tx, node)
    if not changed:
        assert before is not None
        _note(tx, compiled, before.partials, clean=made.clean)
    elif made.backfill is not None and made.backfill.whole:
        drop_partials(tx, node.name)
        schemas = {name: tx.table(name).schema.to_arrow() for name in node.reads}
        tx.put_document(witnesses_path(node.name), dump_witnesses(ctx, tx, compiled, schemas))
        _note(tx, compiled, {}, clean=made.clean)
        if node.slow:
            note_layer(ctx, tx, node.name)
    else:
        tx.put_document(backfill_path(node.name), msgspec.json.encode(made.backfill))
    words = f"asked for {made.words}: +{made.came:,} -{made.gone:,} rows"
    return "touched", words, tx.table(node.name).row_count, bool(made.came or made.gone)


def _follow(
    ctx: Context,
    run: str,
    tx: Transaction,
    compiled: Compiled,
    found: Way,
    before: Derivation,
    reason: str,
    progress: Progress,
) -> Outcome | None:
    """Bring a table up to date by its inputs' changes; None where only a full computation can tell."""
    from gristmill.engines.kernel.kernel import engine_errors

    node = compiled.node
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode=found.mode, reason=reason))
    tree = tx.tree
    try:
        with engine_errors():
            followed = follow(ctx, tx, compiled, found, before, rules_of(ctx, node))
    except EngineError as error:
        if error.code != NO_MEMORY:
            raise
        tx.tree = tree  # changes are held at once; a full computation is done in parts where that is too much
        return None
    if followed is None:
        return None
    findings = (*followed.findings, *followed_share(ctx, run, tx, compiled))
    progress.findings += findings
    if any(finding.blocks for finding in findings):
        progress.broken.add(node.name)
    write_checks(ctx, tx, node)
    _note(tx, compiled, before.partials, clean=followed.clean)
    _keep(ctx, compiled, run, progress)
    words = f"{reason}: +{followed.came:,} -{followed.gone:,} rows"
    return found.mode, words, tx.table(node.name).row_count, bool(followed.came or followed.gone)


def _keep(ctx: Context, compiled: Compiled, run: str, progress: Progress) -> None:
    """Let others take this result over, unless its rules had something to say that would be lost with that."""
    node = compiled.node
    said = any(
        found.accepted or found.outcome in ("warn", "error") or found.failed_rows > found.quarantined
        for found in progress.findings
    )
    if node.name not in progress.broken | {table for table, _ in ctx.set_aside} and not said:
        progress.computed.append(entry(node, compiled.derivation.fingerprint, run))


def _note(tx: Transaction, compiled: Compiled, partials: Mapping[str, str], *, clean: bool) -> None:
    """Write down what a table was made from, and how it and its partial results were left."""
    name, output, columns = compiled.node.name, "", {}
    if compiled.node.is_table:
        output = as_computed(tx, name, partials)
        columns = column_digests(tx, compiled, load_derivation(tx, name))
    made = msgspec.structs.replace(
        compiled.derivation, partials=dict(partials), output=output, clean=clean, columns=columns
    )
    if tx.document(backfill_path(name)) is not None:
        tx.drop_document(backfill_path(name))
    tx.put_document(document_path(name), dump_derivation(made))


def _compute(
    ctx: Context, tx: Transaction, compiled: Compiled, run: str, progress: Progress, *, columns: Columns | None
) -> tuple[int, bool]:
    """Compute a table or model; return its rows, and whether only some columns were computed."""
    node = compiled.node
    if node.kind == "model":
        record = train(ctx, tx, compiled, run)
        progress.metrics[node.name] = record.metrics
        _note(tx, compiled, {}, clean=False)
        return sum(rows for rows, _ in record.trained_on.values()), False
    if node.kind == "predictions":
        rows = predict(ctx, tx, compiled)
        _note(tx, compiled, {}, clean=False)
        return rows, False
    computed = compute_table(ctx, tx, compiled, rules_of(ctx, node), run, columns=columns)
    progress.findings += computed.findings
    if not computed.ok:
        progress.broken.add(node.name)
    _note(tx, compiled, computed.partials, clean=computed.clean)
    findings = followed_share(ctx, run, tx, compiled) if computed.columnwise else ()
    progress.findings += findings
    if any(finding.blocks for finding in findings):
        progress.broken.add(node.name)
    return computed.rows, computed.columnwise
