"""How large a planned step is, and where that comes near to what this machine can do: figures and words for a plan."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from gristmill.run.compiling import Compiled
from gristmill.run.context import Context
from gristmill.run.estimates import Past, estimate_bytes
from gristmill.run.fitting import fit, memory_bytes, row_bytes

if TYPE_CHECKING:
    from gristmill.run.planned import Step
    from gristmill.store import View

ONE_MACHINE_BYTES = 100_000_000_000
"""Up to so many bytes read, one machine is enough: it works through them in parts, at the speed of its disk."""
NEAR = 0.3
"""The share of a bound from which on a plan speaks of it."""
_DISK_SHARE = 0.7
_LONG_S = 600.0
_CLUSTER_S = 30.0
"""What a cluster's start takes, at the least."""


def sized(
    ctx: Context,
    view: View,
    step: Step,
    compiled: Compiled | None,
    rows: Mapping[str, int],
    past: Past,
) -> Step:
    """Return a step with bytes in and out, memory, disk, and what its estimates were worth.

    Memory and disk are by what the table took before; where nothing is known of that, by what is read and held.
    """
    time, peak, disk = past.off_by(step.name)
    made = msgspec.structs.replace(
        step,
        off_by=time.factor,
        judged=time.stages,
        peak_off_by=peak.factor,
        peak_judged=peak.stages,
        disk_off_by=disk.factor,
        disk_judged=disk.stages,
        bytes_in=step.input_bytes,
    )
    if compiled is not None and compiled.expression is not None:
        made = _thought(ctx, view, made, compiled, rows)
    found = estimate_bytes(past, step.name, step.mode, step.rows_in)
    if found is None:
        return made
    in_kernel = step.kind in ("table", "sql", "history")
    most = memory_bytes(ctx) if in_kernel else found.peak
    spilled = max(0, found.peak - most)
    return msgspec.structs.replace(
        made, peak_bytes=min(found.peak, most), disk_bytes=found.on_the_way + spilled + found.written
    )


def _thought(ctx: Context, view: View, step: Step, compiled: Compiled, rows: Mapping[str, int]) -> Step:
    """Return a step of an Ibis definition with what it takes by the rows and the width of what it reads and holds."""
    assert compiled.expression is not None
    out = step.rows_out * row_bytes(compiled.expression.schema())
    if step.mode != "full":
        return msgspec.structs.replace(step, bytes_out=out, disk_bytes=out)
    found = fit(ctx, view, compiled, rows)
    return msgspec.structs.replace(
        step,
        bytes_in=found.input_bytes,
        bytes_out=out,
        peak_bytes=min(found.peak_bytes // found.passes, found.limit_bytes),
        disk_bytes=found.spill_bytes + out,
        passes=found.passes,
        whole=found.whole if found.passes > 1 or ctx.executor is not None else (),
    )


def advice(ctx: Context, steps: Sequence[Step]) -> tuple[str, ...]:
    """Say where a plan comes near to what this machine can do, and what would help above that; mostly nothing."""
    words: list[str] = []
    acting = [step for step in steps if step.acts and step.kind != "source"]
    if not acting:
        return ()
    free = shutil.disk_usage(ctx.root).free
    for step in acting:
        words += _words(ctx, step, free)
    return tuple(words)


def _words(ctx: Context, step: Step, free: int) -> list[str]:
    words = []
    if step.passes > 1:
        but = f", but {step.whole[0]}, so that part relies on spilling" if step.whole else ""
        limit = _gb(memory_bytes(ctx))
        words.append(
            f"{step.name} holds more than the {limit} that it may: it is computed in {step.passes} passes"
            f" through the disk{but}"
        )
    if step.disk_bytes > NEAR * _DISK_SHARE * free:
        words.append(
            f"{step.name} needs about {_gb(step.disk_bytes)} of disk, and {_gb(free)} are free here: above"
            f" {_gb(int(_DISK_SHARE * free))} give it a larger disk, or workers with disks of their own"
        )
    if step.bytes_in > NEAR * ONE_MACHINE_BYTES:
        words.append(
            f"{step.name} reads about {_gb(step.bytes_in)}: up to about {_gb(ONE_MACHINE_BYTES)} this machine is"
            f" the quickest (a cluster takes {_CLUSTER_S:.0f} s to start and moves rows over the network); above,"
            " Spark, Ray or Dask help, which run this same kernel on many machines that read side by side"
        )
    if step.time_s > _LONG_S and ctx.executor is None and ctx.workers > 1 and step.mode == "full":
        words.append(
            f'{step.name} takes about {step.time_s / 60:.0f} minutes: `[run] executor = "pool"` computes it by'
            f" pieces on {ctx.workers} processes"
        )
    return words


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:,.1f} GB"
