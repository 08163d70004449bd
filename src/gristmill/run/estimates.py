"""What a step will take: rows, seconds, memory, disk; from what its table took before, and how far off that was."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import chain, islice
from typing import TYPE_CHECKING

import msgspec

from gristmill.run.records import RunRecord, StageRecord, history

if TYPE_CHECKING:
    from gristmill.store import Store, View

_RUNS = 30
_LOOK_AT = 3
"""The median of so many past stages stands for the memory and the disk of the next."""
_FIXED_BYTES = 16_000_000
"""So much of what a stage holds does not grow with its rows."""


class Off(msgspec.Struct, frozen=True):
    """By which factor past estimates were off, the median, and over how many stages; zeros without any."""

    factor: float = 0.0
    stages: int = 0

    @property
    def share(self) -> float | None:
        """The same as a share of what was taken: 0.5 for a factor of 1.5; None without any."""
        return self.factor - 1 if self.stages else None


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

    def like(self, name: str, mode: str) -> list[StageRecord]:
        """Return the newest stages of a table in the mode that stands for this one, of which memory is known."""
        newest = self.of(name, mode)
        if newest is None:
            return []
        known = (s for s in self.stages[name] if s.mode == newest.mode and (s.peak_bytes or s.written_bytes))
        return list(islice(known, _LOOK_AT))

    def off_by(self, name: str = "") -> tuple[Off, Off, Off]:
        """Return how far the estimates of time, memory and disk were off, for a table or for all of them."""
        stages = self.stages.get(name, []) if name else list(chain.from_iterable(self.stages.values()))
        return (
            _off((s.estimate_s, s.wall_s) for s in stages),
            _off((s.planned_peak_bytes, s.peak_bytes) for s in stages),
            _off((s.planned_disk_bytes, s.disk_bytes + s.written_bytes) for s in stages),
        )


def _off(pairs: Iterable[tuple[float, float]]) -> Off:
    factors = [max(said / was, was / said) for said, was in pairs if said > 0 and was > 0]
    return Off(statistics.median(factors), len(factors)) if factors else Off()


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


class Bytes(msgspec.Struct, frozen=True):
    """What a step will take in bytes: held in memory, on the disk on the way, and written into the store."""

    peak: int = 0
    on_the_way: int = 0
    written: int = 0


def estimate_bytes(found: Past, name: str, mode: str, rows_in: int) -> Bytes | None:
    """Return what a step takes by what it took before, in proportion to its rows; None where that is not known."""
    before = found.like(name, mode)
    if not before:
        return None
    shares = [rows_in / stage.rows_in if rows_in and stage.rows_in else 1.0 for stage in before]
    peaks = [
        min(s.peak_bytes, _FIXED_BYTES) + max(0, s.peak_bytes - _FIXED_BYTES) * share
        for s, share in zip(before, shares, strict=True)
    ]
    return Bytes(
        peak=round(statistics.median(peaks)),
        on_the_way=round(statistics.median(s.disk_bytes * share for s, share in zip(before, shares, strict=True))),
        written=round(statistics.median(s.written_bytes * share for s, share in zip(before, shares, strict=True))),
    )
