"""The record of each run: what went in, what was found, what came out; kept and queryable."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from gristmill._version import __version__
from gristmill.contracts.kinds import ROW_KINDS
from gristmill.errors import NotFound, UsageError, did_you_mean
from gristmill.model.findings import Finding
from gristmill.model.units import Ledger

if TYPE_CHECKING:
    from gristmill.store import Store

KIND = "run"
_NAME_ROWS = (*ROW_KINDS, "unique", "references")

Status = Literal["running", "published", "failed", "unchanged", "stopped"]


class StageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one table or model took and gave.

    ``estimate_s`` and ``planned_rows`` are what the plan had said, 0 where it said nothing; ``planned`` is the mode
    that it had said. ``pieces`` says how the table was computed by pieces, ``replanned`` what was decided again because
    a stage before gave another number of rows than expected. ``peak_bytes`` is what it held in memory at the most,
    ``disk_bytes`` what it spilled and passed on between pieces through files, ``written_bytes`` what it wrote into the
    store; ``planned_peak_bytes`` and ``planned_disk_bytes`` (all of that on the disk) are what the plan had said.
    """

    name: str
    kind: str
    mode: str
    reason: str
    rows: int = 0
    changed: bool = False
    wall_s: float = 0.0
    cpu_s: float = 0.0
    rows_in: int = 0
    estimate_s: float = 0.0
    planned: str = ""
    planned_rows: int = 0
    pieces: str = ""
    replanned: str = ""
    peak_bytes: int = 0
    disk_bytes: int = 0
    written_bytes: int = 0
    planned_peak_bytes: int = 0
    planned_disk_bytes: int = 0


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run, from its start to what became of it; times in microseconds since 1970, UTC."""

    run: str
    on: str
    base: str
    status: Status
    started_us: int
    finished_us: int = 0
    head: str | None = None
    selected: tuple[str, ...] = ()
    parameters: dict[str, str] = {}
    stages: tuple[StageRecord, ...] = ()
    findings: tuple[Finding, ...] = ()
    ledgers: dict[str, Ledger] = {}
    metrics: dict[str, dict[str, float]] = {}
    environment: dict[str, str] = {}
    peak_memory_bytes: int = 0
    message: str = ""
    code: str = ""
    process: str = ""
    resumed: str = ""
    merged: str = ""

    @property
    def blocked(self) -> bool:
        """Whether a check forbade publishing."""
        return any(finding.blocks for finding in self.findings)

    @property
    def alive(self) -> bool:
        """Whether the process that runs it may still be at work."""
        host, _, number = self.process.rpartition(":")
        if self.status != "running" or not number:
            return False
        return host != platform.node() or _is_process(int(number))


def this_process() -> str:
    """Return a name for this process: host and number."""
    return f"{platform.node()}:{os.getpid()}"


def _is_process(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def next_run(store: Store) -> str:
    """Reserve the next run's name, ``run/N``; two processes never get the same one."""
    number = 1 + max((int(key.split("/")[1]) for key, _ in store.records.items(KIND, limit=1)), default=0)
    while not store.records.put_if_absent(KIND, _key(f"run/{number}"), b""):
        number += 1
    return f"run/{number}"


def save(store: Store, record: RunRecord, *, along: Sequence[tuple[str, str, bytes]] = ()) -> None:
    """Keep a record, over an earlier state of the same run, and others ``along`` with it, by kind and key.

    That of a run that goes on need not outlive a power cut: what it finished stands on its branch.
    """
    lasting = record.status != "running" or not record.stages
    own = (KIND, _key(record.run), msgspec.json.encode(record))
    store.records.put_all([*along, own], lasting=lasting)


def load(store: Store, run: str) -> RunRecord:
    """Return one run's record; NotFound where there is none."""
    data = store.records.get(KIND, _key(run if run.startswith("run/") else f"run/{run}"))
    if not data:
        raise NotFound(f"there is no {run}", hint="`gristmill runs` lists them")
    return msgspec.json.decode(data, type=RunRecord)


def history(store: Store, *, limit: int | None = None) -> Iterator[RunRecord]:
    """Yield records, the newest first."""
    for _, data in store.records.items(KIND, limit=limit):
        if data:
            yield msgspec.json.decode(data, type=RunRecord)


def _key(run: str) -> str:
    return f"run/{int(run.split('/')[1]):010d}"


def environment(root: Path) -> dict[str, str]:
    """Return what a run depends on besides its inputs: versions, platform, the Git commit and its dirtiness."""
    found = {
        "gristmill": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform}-{platform.machine()}",
        "user": os.environ.get("USER", ""),
    }
    commit = _git(root, "rev-parse", "HEAD")
    if commit:
        found["git_commit"] = commit
        found["git_dirty"] = "yes" if _git(root, "status", "--porcelain") else "no"
    return found


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def peak_memory_bytes() -> int:
    """Return the largest resident memory of this process so far.

    On Linux by ``VmHWM``: what getrusage gives also counts the process that this one was forked from.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def refused_rows(record: RunRecord, wanted: Sequence[tuple[str, str]]) -> None:
    """Make sure that rules, as (table, rule), failed in a run for rows that can be set aside; raises UsageError."""
    there = {(found.table, found.rule.code) for found in record.findings if names_rows(found)}
    for table, rule in wanted:
        if (table, rule) not in there:
            known = [f"{code}@{name}" for name, code in sorted(there)]
            raise UsageError(
                f"{record.run} refused no rows by {rule}@{table}",
                code="GM-U030",
                hint=did_you_mean(f"{rule}@{table}", known) or f"it did by: {', '.join(known) or 'nothing'}",
            )


def names_rows(finding: Finding) -> bool:
    """Whether a finding refuses rows that its rule can tell from the others."""
    return finding.blocks and finding.failed_rows > 0 and finding.rule.kind in _NAME_ROWS
