"""How many rows and seconds a step will take, from what its table took before, and how far off that was."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from gristmill.run.records import RunRecord, StageRecord, history

if TYPE_CHECKING:
    from gristmill.store import Store, View

_RUNS = 30


class Past(msgspec.Struct, frozen=True):
    """What each table took in its last runs, the newest first."""

    stages: dict[str, list[StageRecord]]

    def of(self, name: str, mode: str) -> StageRecord | None:
        """Return the newest stage of a table in this mode, or None.

        Until a table has followed changes once, a full computation stands for it: it took no less.
        """
        stages = self.stages.get(name, ())
        same = next((stage for stage in stages if stage.mode == mode), None)
        if same is None and mode in ("delta", "touched", "columns"):
            return next((stage for stage in stages if stage.mode in ("delta", "touched", "full")), None)
        return same

    @property
    def error(self) -> float | None:
        """How far past estimates of time were off, as a share of the time taken: the median; None without any."""
        judged = [stage for stages in self.stages.values() for stage in stages if stage.estimate_s and stage.wall_s]
        if not judged:
            return None
        return statistics.median(abs(stage.estimate_s - stage.wall_s) / stage.wall_s for stage in judged)

    def off_by(self, name: str) -> tuple[float, int]:
        """Return by which factor the estimates of a table's time were off, the median, and over how many runs."""
        judged = [stage for stage in self.stages.get(name, ()) if stage.estimate_s > 0 and stage.wall_s > 0]
        if not judged:
            return 0.0, 0
        factors = [max(s.estimate_s / s.wall_s, s.wall_s / s.estimate_s) for s in judged]
        return statistics.median(factors), len(judged)


def past(store: Store, *, on: str) -> Past:
    """Gather what the last runs took, those on the same branch first."""
    records = list(history(store, limit=_RUNS))
    return gathered([*(r for r in records if r.on == on), *(r for r in records if r.on != on)])


def gathered(records: Iterable[RunRecord]) -> Past:
    """Sort the stages of runs by table."""
    stages: dict[str, list[StageRecord]] = {}
    for record in records:
        for stage in record.stages:
            if stage.mode not in ("reuse", "wait"):
                stages.setdefault(stage.name, []).append(stage)
    return Past(stages)


def arriving_rows(snapshot: View, source: str, size_bytes: int) -> int:
    """Estimate the rows in so many bytes of new units, from the units that have landed; 0 where none have."""
    landed = [unit for unit in snapshot.units(source).values() if unit.size_bytes]
    total = sum(unit.size_bytes for unit in landed)
    return round(size_bytes * sum(unit.ledger.delivered for unit in landed) / total) if total else 0


def estimate(found: Past, name: str, mode: str, rows_in: int) -> tuple[int, float]:
    """Return the rows that will come out and the seconds that will take, by proportion; zeros where unknown."""
    before = found.of(name, mode)
    if before is None or not before.rows_in or not rows_in:
        return 0, before.wall_s if before is not None else 0.0
    share = rows_in / before.rows_in
    return round(before.rows * share), before.wall_s * max(share, 0.1)
