"""One run from start to end: on its own branch, checked, then published as one commit or kept aside."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import CheckFailed, GristmillError, Stale
from gristmill.model.events import (
    Assumed,
    NothingToDo,
    Published,
    Retrying,
    RunFailed,
    RunStarted,
    StageFinished,
    StageStarted,
)
from gristmill.model.findings import Finding
from gristmill.model.units import Ledger
from gristmill.run import records
from gristmill.run.checking import Acceptance, add_acceptances
from gristmill.run.compiling import Compiled, compile_node
from gristmill.run.context import Context
from gristmill.run.derivation import RULES_CHANGED, document_path, dump_derivation, load_derivation
from gristmill.run.inferring import write_first_contracts
from gristmill.run.landing import land
from gristmill.run.memo import adopt, entry
from gristmill.run.models import predict, train
from gristmill.run.plan import Plan, Step, make_plan
from gristmill.run.rechecking import can_recheck, recheck
from gristmill.run.records import RunRecord, StageRecord, Status
from gristmill.run.rules import rules_of, write_checks
from gristmill.run.tables import compute_table
from gristmill.run.witnesses import dump_witnesses, witnesses_path

if TYPE_CHECKING:
    from gristmill.store import Store, Transaction, View

_TRIES = 3
_LOOK_BACK = 20
_PAUSE_S = 0.5


@dataclass(slots=True)
class _Progress:
    """What a run has gathered so far."""

    stages: list[StageRecord] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    computed: list[tuple[str, str, bytes]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a run is asked for.

    Args:
        on: the branch; a new one is made from ``main``.
        select: selectors of what to bring up to date; empty means everything.
        message: the commit's message.
        set_aside: (table, rule) of rules that block, whose rows are set aside instead, this once.
        accept: failing rules that may pass, each with a reason and an end.
        merge: a branch whose changes are taken in first; then only derived tables are brought up to date.
    """

    on: str
    select: Sequence[str] = ()
    message: str = ""
    accept: Sequence[Acceptance] = ()
    set_aside: Sequence[tuple[str, str]] = ()
    merge: str | None = None


def execute(ctx: Context, request: Request) -> RunRecord:
    """Bring a branch up to date with its sources and definitions.

    Returns the record: ``published``, ``unchanged`` or ``failed`` (kept on ``run/N``, the branch untouched).

    Raises Stale where the branch kept moving, Conflict where a merge needs a person; user and engine errors after
    the run was recorded as failed.
    """
    ctx = replace(ctx, set_aside=frozenset(request.set_aside))
    for attempt in range(_TRIES):
        try:
            return _attempt(ctx, request)
        except Stale:
            if attempt == _TRIES - 1:
                raise
    raise AssertionError("unreachable")


def _attempt(ctx: Context, request: Request) -> RunRecord:
    store, on = ctx.store, request.on
    base = store.resolve(on if on in store.branches() else "main")
    merged = store.resolve(request.merge) if request.merge else ""
    resumed = unfinished(store, on=on, base=base, merged=merged)
    start = resumed or base
    plan = make_plan(ctx, store.snapshot(start), on=on, select=request.select)
    if plan.empty and start == base and not merged:
        if on not in store.branches():
            store.create_branch(on, at=base)
        ctx.listener(NothingToDo(on=on, commit=base, held=plan.held, waiting=plan.waiting, gone=plan.gone))
        return RunRecord(run="", on=on, base=base, status="unchanged", started_us=ctx.run_time_us, head=base)
    record = RunRecord(
        run=records.next_run(store),
        on=on,
        base=base,
        status="running",
        started_us=ctx.run_time_us,
        selected=tuple(request.select),
        parameters={name: repr(value) for name, value in ctx.parameters.items()},
        environment=records.environment(ctx.root),
        process=records.this_process(),
        resumed=resumed or "",
        merged=merged,
    )
    records.save(store, record)
    store.create_branch(record.run, at=start)
    ctx.listener(RunStarted(run=record.run, on=on, base=base, tables=len(plan.steps)))
    return _work(ctx, record, request, plan)


def _work(ctx: Context, record: RunRecord, request: Request, plan: Plan) -> RunRecord:
    """Run the steps of a plan on the run's branch and publish; whatever happens is recorded."""
    store, run = ctx.store, record.run
    progress = _Progress()
    try:
        add_acceptances(ctx, run, request.accept)
        steps = plan.steps
        if record.merged:
            store.merge(record.merged, into=run)
            steps = make_plan(ctx, store.snapshot(run), on=record.on).steps
            steps = tuple(step for step in steps if step.kind != "source")
        for step in steps:
            _with_retries(ctx, run, step, progress)
            records.save(store, _record(record, progress, "running"), along=progress.computed)
            progress.computed.clear()
        return _finish(ctx, record, progress, request.message)
    except Stale:
        store.delete_branch(run)
        _close(ctx, record, progress, "stopped", message="the branch moved; planned again")
        raise
    except KeyboardInterrupt:
        _close(ctx, record, progress, "stopped", message="stopped by the user")
        raise
    except GristmillError as error:
        _close(ctx, record, progress, "failed", message=error.message, code=error.code)
        ctx.listener(_failed(ctx, record, error.message, error.code))
        raise


def unfinished(store: Store, *, on: str, base: str, merged: str = "") -> str | None:
    """Return the run branch to go on from: the newest of this branch and base that ended early and was not refused.

    What it finished is not done again.
    """
    for record in records.history(store, limit=_LOOK_BACK):
        if (record.on, record.base, record.merged) != (on, base, merged):
            continue
        ended_early = record.status in ("stopped", "failed") or (record.status == "running" and not record.alive)
        if ended_early and not record.blocked and record.run in store.branches():
            return store.resolve(record.run)
        return None
    return None


def _with_retries(ctx: Context, run: str, step: Step, progress: _Progress) -> None:
    """Run a stage, again after a pause where an error says that a retry can help (and is not a lost race)."""
    for attempt in range(ctx.settings.run.retries + 1):
        try:
            return _stage(ctx, run, step, progress)
        except Stale:
            raise
        except GristmillError as error:
            if not error.retryable or attempt == ctx.settings.run.retries:
                raise
            wait_s = _PAUSE_S * 2**attempt * (1 + random.random())
            ctx.listener(Retrying(name=step.name, attempt=attempt + 1, wait_s=wait_s, message=error.message))
            time.sleep(wait_s)
    return None


def _stage(ctx: Context, run: str, step: Step, progress: _Progress) -> None:
    node = ctx.graph[step.name]
    if step.mode in ("wait", "held") or set(node.inputs) & progress.broken:
        if set(node.inputs) & progress.broken:
            progress.broken.add(node.name)
        return
    started, cpu = time.monotonic(), time.process_time()
    with ctx.store.begin(run, message=f"{run}: {node.name}") as tx:
        outcome = (
            _land(ctx, tx, node, step, run, progress)
            if node.kind == "source"
            else _derive(ctx, tx, node, run, progress)
        )
        rows_in = _rows_in(tx, node, step)
    if outcome is None:
        return
    mode, reason, rows, changed = outcome
    wall = time.monotonic() - started
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
        )
    )
    ctx.listener(
        StageFinished(name=node.name, kind=node.kind, mode=mode, rows=rows, changed=changed, wall_s=wall, note=reason)
    )


def _rows_in(view: View, node: Node, step: Step) -> int:
    """Return the rows that a stage read: those of its inputs, or those that its units delivered."""
    if node.kind == "source":
        units = view.units(node.name)
        return sum(units[name].ledger.delivered for name in step.units if name in units)
    return sum(view.table(name).row_count for name in node.reads if name in view)


_Outcome = tuple[str, str, int, bool]


def _land(ctx: Context, tx: Transaction, node: Node, step: Step, run: str, progress: _Progress) -> _Outcome | None:
    if step.mode == "check":
        return _recheck(ctx, tx, node, step.reason, run, progress)
    if step.mode != "land":
        return "reuse", step.reason, step.rows, False
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode=step.mode, reason=step.reason))
    landed = land(ctx, tx, node, rules_of(ctx, node, tx), run)
    progress.findings += landed.findings
    progress.ledgers[node.name] = landed.ledger
    if not landed.ok:
        progress.broken.add(node.name)
    return step.mode, step.reason, landed.rows, True


def _recheck(ctx: Context, tx: Transaction, node: Node, reason: str, run: str, progress: _Progress) -> _Outcome:
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode="check", reason=reason))
    before = tx.table(node.name).id
    findings = recheck(ctx, tx, node, run)
    progress.findings += findings
    if any(finding.blocks for finding in findings):
        progress.broken.add(node.name)
    return "check", reason, tx.table(node.name).row_count, tx.table(node.name).id != before


def _derive(ctx: Context, tx: Transaction, node: Node, run: str, progress: _Progress) -> _Outcome | None:
    missing = [name for name in node.inputs if name not in tx and name not in tx.file_trees()]
    if missing:
        progress.broken.add(node.name)
        return None
    schemas = {name: tx.table(name).schema.to_arrow() for name in node.reads}
    compiled = compile_node(ctx, node, tx, schemas)
    reason = compiled.derivation.reason(load_derivation(tx, node.name))
    if reason == RULES_CHANGED and can_recheck(ctx, node, tx):
        outcome = _recheck(ctx, tx, node, reason, run, progress)
        tx.put_document(document_path(node.name), dump_derivation(compiled.derivation))
        return outcome
    if not reason:
        rows = tx.table(node.name).row_count if node.is_table else 0
        return "reuse", "nothing it reads changed", rows, False
    if adopt(ctx.store, tx, node, compiled.derivation.fingerprint):
        tx.put_document(document_path(node.name), dump_derivation(compiled.derivation))
        tx.put_document(witnesses_path(node.name), dump_witnesses(ctx, tx, compiled, schemas))
        write_checks(ctx, tx, node)
        rows = tx.table(node.name).row_count if node.is_table else 0
        return "reuse", "the same was computed before", rows, True
    mode = "train" if node.kind == "model" else "full"
    ctx.listener(StageStarted(name=node.name, kind=node.kind, mode=mode, reason=reason))
    before = tx.table(node.name).id if node.name in tx else None
    rows = _compute(ctx, tx, compiled, run, progress)
    write_checks(ctx, tx, node)
    tx.put_document(document_path(node.name), dump_derivation(compiled.derivation))
    tx.put_document(witnesses_path(node.name), dump_witnesses(ctx, tx, compiled, schemas))
    if node.name not in progress.broken | {table for table, _ in ctx.set_aside}:
        progress.computed.append(entry(node, compiled.derivation.fingerprint, run))
    changed = not node.is_table or tx.table(node.name).id != before
    return mode, reason, rows, changed


def _compute(ctx: Context, tx: Transaction, compiled: Compiled, run: str, progress: _Progress) -> int:
    node = compiled.node
    if node.kind == "model":
        record = train(ctx, tx, compiled, run)
        progress.metrics[node.name] = record.metrics
        return sum(rows for rows, _ in record.trained_on.values())
    if node.kind == "predictions":
        return predict(ctx, tx, compiled)
    computed = compute_table(ctx, tx, compiled, rules_of(ctx, node, tx), run)
    progress.findings += computed.findings
    if not computed.ok:
        progress.broken.add(node.name)
    return computed.rows


def _finish(ctx: Context, record: RunRecord, progress: _Progress, message: str) -> RunRecord:
    blocking = [finding for finding in progress.findings if finding.blocks]
    if blocking:
        words = f"{len(blocking)} check{'s' if len(blocking) > 1 else ''} said no"
        ctx.listener(_failed(ctx, record, words, CheckFailed.default_code))
        return _close(ctx, record, progress, "failed", message=words, code=CheckFailed.default_code)
    if ctx.store.resolve(record.run) == record.base:
        ctx.store.delete_branch(record.run)
        if record.on not in ctx.store.branches():
            ctx.store.create_branch(record.on, at=record.base)
        ctx.listener(NothingToDo(on=record.on, commit=record.base, held=[]))
        return _close(ctx, record, progress, "unchanged", head=record.base)
    return _publish(ctx, record, progress, message)


def _publish(ctx: Context, record: RunRecord, progress: _Progress, message: str) -> RunRecord:
    store = ctx.store
    with store.begin(record.run, message=f"{record.run}: record") as tx:
        done = _record(record, progress, "published")
        tx.put_document(f"runs/{record.run.removeprefix('run/')}.json", msgspec.json.encode(done))
    head = store.publish(
        record.run,
        into=record.on,
        base=record.base,
        message=message or _summary(record, progress),
        meta={"run": record.run},
        merged=record.merged or None,
    )
    store.delete_branch(record.run)
    closed = _close(ctx, record, progress, "published", head=head)
    if ctx.modules:
        for name, path in write_first_contracts(store, ctx.graph, ctx.root, closed).items():
            shown = path.relative_to(ctx.root).as_posix()
            ctx.listener(Assumed(name=name, text=f'written down in {shown}; let it hold with contract="{shown}"'))
    undo = f"gristmill revert {head[:7]}" + ("" if record.on == "main" else f" --on {record.on}")
    ctx.listener(Published(run=record.run, on=record.on, commit=head, undo=undo))
    return closed


def _summary(record: RunRecord, progress: _Progress) -> str:
    if record.merged:
        return f"merge {record.merged[:7]}"
    names = [stage.name for stage in progress.stages if stage.changed]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"run: {shown}" if names else "run"


def _record(record: RunRecord, progress: _Progress, status: Status) -> RunRecord:
    return msgspec.structs.replace(
        record,
        status=status,
        finished_us=time.time_ns() // 1000,
        stages=tuple(progress.stages),
        findings=tuple(progress.findings),
        ledgers=dict(progress.ledgers),
        metrics=dict(progress.metrics),
        peak_memory_bytes=records.peak_memory_bytes(),
    )


def _close(
    ctx: Context,
    record: RunRecord,
    progress: _Progress,
    status: Status,
    *,
    head: str | None = None,
    message: str = "",
    code: str = "",
) -> RunRecord:
    done = msgspec.structs.replace(_record(record, progress, status), head=head, message=message, code=code)
    records.save(ctx.store, done)
    return done


def _failed(ctx: Context, record: RunRecord, message: str, code: str) -> RunFailed:
    head = ctx.store.resolve(record.on) if record.on in ctx.store.branches() else record.base
    return RunFailed(run=record.run, on=record.on, head=head, message=message, code=code)
