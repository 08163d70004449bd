"""Paired measurement: two ways in turn (A, B, A, B), CPU time of each, the median of the ratios.

Absolute times mean little on a shared machine; the ratio of neighbours holds. Every script compares the answers of
both sides before it measures.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gristmill.run.records import peak_memory_bytes as peak_memory_bytes


@dataclass(frozen=True, slots=True)
class Ratio:
    """Ratios of A to B over the rounds: median, lowest, highest; and the median CPU seconds of each side."""

    median: float
    low: float
    high: float
    a_s: float
    b_s: float


def cpu_s() -> float:
    """Return the CPU seconds of this process and its finished children."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def measured(work: Callable[[], object]) -> float:
    """Run something and return the CPU seconds it took."""
    before = cpu_s()
    work()
    return cpu_s() - before


def alternate(a: Callable[[], object], b: Callable[[], object], *, rounds: int = 5, warm: int = 1) -> Ratio:
    """Run A and B in turn, ``warm`` rounds uncounted, and return the ratio A / B."""
    pairs = [(measured(a), measured(b)) for _ in range(warm + rounds)][warm:]
    ratios = [first / max(second, 1e-9) for first, second in pairs]
    return Ratio(
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        statistics.median(first for first, _ in pairs),
        statistics.median(second for _, second in pairs),
    )


def process(arguments: Sequence[str], *, cwd: str | None = None, expect: int = 0) -> Callable[[], object]:
    """Return something that runs a whole process with this Python."""

    def run() -> object:
        done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, check=False)
        if done.returncode != expect:
            raise SystemExit(f"{arguments} exited {done.returncode}: {done.stderr.decode()[-2000:]}")
        return None

    return run


def report(goal: str, value: float, limit: float, *, unit: str = "x", at_least: bool = False, note: str = "") -> None:
    """Print one line: the goal, what was measured, the limit, and whether it is met."""
    met = value >= limit if at_least else value <= limit
    sign = ">=" if at_least else "<="
    print(
        f"{'met' if met else 'NOT MET':<8}{goal}: {value:.3g}{unit} (goal {sign} {limit:g}{unit}) {note}".rstrip(),
        flush=True,
    )


def report_ratio(goal: str, ratio: Ratio, limit: float, *, at_least: bool = False, note: str = "") -> None:
    """Print one line for a ratio, with its spread."""
    spread = f"[{ratio.low:.3g} to {ratio.high:.3g}; {ratio.a_s:.3g} s against {ratio.b_s:.3g} s CPU]"
    report(goal, ratio.median, limit, at_least=at_least, note=f"{spread} {note}".rstrip())


def scale() -> float:
    """Return the factor by which GRISTMILL_BENCH_SCALE makes inputs smaller (below 1) or larger."""
    return float(os.environ.get("GRISTMILL_BENCH_SCALE", "1"))
