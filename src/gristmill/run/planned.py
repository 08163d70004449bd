"""Plans as values: what would happen to each table, and why. They know nothing of how they are made."""

from __future__ import annotations

from typing import Literal

import msgspec

NOTHING = "nothing has arrived yet"
GONE = "gone from the source, rows kept"
SAME = "no new units"
Mode = Literal["reuse", "land", "delta", "touched", "columns", "full", "train", "check", "held", "wait", "broken"]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen to one table or model.

    Args:
        name: its name.
        kind: kind of the node.
        mode: ``reuse`` (nothing to do), ``land`` (new or changed units), ``delta`` (changes follow from changes),
            ``touched`` (touched keys are computed again), ``columns`` (columns that changed are computed, the others
            stay), ``full`` (compute all again), ``train``, ``check`` (look at the stored rows again: rules changed),
            ``held`` (only units on hold have arrived), ``wait`` (nothing has arrived yet), ``broken`` (it reads a
            column that a change takes away; a run refuses).
        reason: why, in one phrase.
        why: why in this mode and no cheaper one.
        rules: how each operation is maintained: operation, rule, why.
        rows: rows now in the table.
        units: names of units that would be landed.
        gone: names of landed units that are no longer at their source; their rows are kept.
        held: names of units that a revert keeps back.
        input_bytes: bytes of the units that would be read.
        rows_in: rows that would be read, about; 0 where unknown.
        rows_out: rows that would come out, about; 0 where unknown.
        time_s: seconds that it would take, by what it took before; 0 where unknown.
        bytes_in, bytes_out: what would be read and written, as it lies in memory, about.
        peak_bytes: what is held in memory at once, by what was held before; until that is known, what must be held,
            for a table that is computed in full; 0 where nothing is known.
        disk_bytes: what goes to the disk: on the way, and as the result.
        passes: in how many parts it is computed in this process, so that it fits into memory.
        whole: why some of it is one piece of work, which cannot be parted.
        off_by, judged: by which factor the estimates of its time were off, and over how many runs; 0 where unknown.
        peak_off_by, peak_judged, disk_off_by, disk_judged: the same for memory and disk.
        breaks: for each column that is gone and that is read below: the reader, and the column.
    """

    name: str
    kind: str
    mode: Mode
    reason: str
    why: str = ""
    rules: tuple[tuple[str, str, str], ...] = ()
    rows: int = 0
    units: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    input_bytes: int = 0
    rows_in: int = 0
    rows_out: int = 0
    time_s: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    peak_bytes: int = 0
    disk_bytes: int = 0
    passes: int = 1
    whole: tuple[str, ...] = ()
    off_by: float = 0.0
    judged: int = 0
    peak_off_by: float = 0.0
    peak_judged: int = 0
    disk_off_by: float = 0.0
    disk_judged: int = 0
    breaks: tuple[tuple[str, str], ...] = ()

    @property
    def acts(self) -> bool:
        """Whether a run would compute, land, train or check here."""
        return self.mode in ("land", "delta", "touched", "columns", "full", "train", "check")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The steps of a run on a branch, inputs first.

    ``time_error``, ``memory_error`` and ``disk_error`` are how far past estimates were off (a share; the median over
    the stages of the last runs); ``advice`` says where work comes near to what this machine can do.
    """

    on: str
    commit: str
    steps: tuple[Step, ...]
    time_error: float | None = None
    memory_error: float | None = None
    disk_error: float | None = None
    advice: tuple[str, ...] = ()

    @property
    def time_s(self) -> float:
        """Seconds that the run would take, by what its steps took before."""
        return sum(step.time_s for step in self.steps)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not any(step.acts or step.mode == "broken" for step in self.steps)

    @property
    def held(self) -> list[str]:
        """Units that a revert keeps back, as ``source unit``."""
        return [name for step in self.steps for name in step.held]

    @property
    def gone(self) -> list[str]:
        """Landed units that are no longer at their source, whose rows are kept."""
        return [name for step in self.steps for name in step.gone]

    @property
    def waiting(self) -> list[str]:
        """Sources for which nothing has arrived yet, each with what did arrive where that holds nothing.

        Where no source is selected, the tables that wait for one.
        """
        waits = [step for step in self.steps if step.mode == "wait"]
        found = [step for step in waits if step.kind == "source"] or waits
        return [step.name if step.reason == NOTHING else f"{step.name} ({step.reason})" for step in found]


def with_gone(step: Step, gone: tuple[str, ...]) -> Step:
    """Return a step of a source that has nothing new, with the units that are gone from it now."""
    if step.kind != "source" or step.gone == gone:
        return step
    return msgspec.structs.replace(step, gone=gone, reason=f"{len(gone)} {GONE}" if gone else SAME)
