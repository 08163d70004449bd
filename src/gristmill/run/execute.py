"""One run from start to end: on its own branch, checked, then published as one commit or kept aside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import CheckFailed, GristmillError, Stale
from gristmill.model.events import Assumed, NothingToDo, Published, RunFailed, RunStarted
from gristmill.run import records
from gristmill.run.checking import Acceptance, add_acceptances
from gristmill.run.context import Context
from gristmill.run.inferring import write_first_contracts
from gristmill.run.lanes import run_stages
from gristmill.run.measuring import Meter
from gristmill.run.plan import make_plan
from gristmill.run.planned import Plan, Step
from gristmill.run.rechecking import MERGED, needs_recheck
from gristmill.run.records import RunRecord, Status
from gristmill.run.restating import Stretch, refuse_unfit
from gristmill.run.stage import Progress

if TYPE_CHECKING:
    from gristmill.store import Store

_TRIES = 3
_LOOK_BACK = 20
_SAVE_S = 0.25
"""How often the record of a run that goes on is written, at the most; what it finished stands on its branch."""


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
        restate: a stretch of tables to be computed again, whatever they hold.
    """

    on: str
    select: Sequence[str] = ()
    message: str = ""
    accept: Sequence[Acceptance] = ()
    set_aside: Sequence[tuple[str, str]] = ()
    merge: str | None = None
    restate: Stretch | None = None


def execute(ctx: Context, request: Request) -> RunRecord:
    """Bring a branch up to date with its sources and definitions.

    Returns the record: ``published``, ``unchanged`` or ``failed`` (kept on ``run/N``, the branch untouched).

    Raises Stale where the branch kept moving, Conflict where a merge needs a person; user and engine errors after
    the run was recorded as failed.
    """
    ctx = replace(ctx, set_aside=frozenset(request.set_aside), restate=request.restate)
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
    ctx = replace(ctx, base=base)
    merged = store.resolve(request.merge) if request.merge else ""
    resumed = unfinished(store, on=on, base=base, merged=merged)
    start = resumed or base
    for name in request.restate.tables if request.restate is not None else ():
        refuse_unfit(ctx.graph[name], store.snapshot(start))
    plan = make_plan(ctx, store.snapshot(start), on=on, select=request.select)
    if plan.empty and start == base and not merged and request.restate is None:
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
    progress = Progress()
    try:
        add_acceptances(ctx, run, request.accept)
        steps = plan.steps
        if record.merged:
            store.merge(record.merged, into=run)
            steps = _merge_steps(ctx, record)
        with closing(Meter(ctx.kernel)) as meter:
            saved = time.monotonic()
            for brought in run_stages(replace(ctx, meter=meter), run, steps):
                progress.take(brought)
                progress.in_order_of(steps)
                if time.monotonic() - saved > _SAVE_S:
                    records.save(store, _record(record, progress, "running"), along=progress.computed)
                    progress.computed.clear()
                    saved = time.monotonic()
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


def _merge_steps(ctx: Context, record: RunRecord) -> tuple[Step, ...]:
    """Return what a merged state needs: derived tables brought up to date, and sources checked again.

    Nothing is landed. A source has been checked where one of the sides had just its rows, checked by just these
    rules; where rows of both came together, or the rules of one met rows of the other, it is looked at again.
    """
    store = ctx.store
    now = store.snapshot(record.run)
    sides = [store.snapshot(ref) for ref in (record.base, record.merged)]
    steps = []
    for step in make_plan(ctx, now, on=record.on).steps:
        if step.kind != "source":
            steps.append(step)
        elif step.name in now and needs_recheck(ctx, ctx.graph[step.name], now, sides):
            steps.append(Step(name=step.name, kind=step.kind, mode="check", reason=MERGED, rows=step.rows))
    return tuple(steps)


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


def _finish(ctx: Context, record: RunRecord, progress: Progress, message: str) -> RunRecord:
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


def _publish(ctx: Context, record: RunRecord, progress: Progress, message: str) -> RunRecord:
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
        for name, path in write_first_contracts(ctx, closed).items():
            shown = path.relative_to(ctx.root).as_posix()
            ctx.listener(Assumed(name=name, text=f'written down in {shown}; let it hold with contract="{shown}"'))
    undo = f"gristmill revert {head[:7]}" + ("" if record.on == "main" else f" --on {record.on}")
    ctx.listener(Published(run=record.run, on=record.on, commit=head, undo=undo))
    return closed


def _summary(record: RunRecord, progress: Progress) -> str:
    if record.merged:
        return f"merge {record.merged[:7]}"
    names = [stage.name for stage in progress.stages if stage.changed]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"run: {shown}" if names else "run"


def _record(record: RunRecord, progress: Progress, status: Status) -> RunRecord:
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
    progress: Progress,
    status: Status,
    *,
    head: str | None = None,
    message: str = "",
    code: str = "",
) -> RunRecord:
    done = msgspec.structs.replace(_record(record, progress, status), head=head, message=message, code=code)
    records.save(ctx.store, done, along=progress.computed)
    progress.computed.clear()
    return done


def _failed(ctx: Context, record: RunRecord, message: str, code: str) -> RunFailed:
    head = ctx.store.resolve(record.on) if record.on in ctx.store.branches() else record.base
    return RunFailed(run=record.run, on=record.on, head=head, message=message, code=code)
