"""A million partitions of one table: how large their state is, and how long a plan takes.

What is done of a table stands as spans, not as one entry a partition: a backfill that has done a million days but for
some holes. And a source of many units, which have an entry each.
"""

from __future__ import annotations

import random
import tempfile
import time
from pathlib import Path

import msgspec
from harness import report, scale

import gristmill as gm
from gristmill.model.spans import Span, merged, missing
from gristmill.model.units import Unit
from gristmill.run.restating import Backfill, backfill_path

PARTS = int(1_000_000 * scale())
HOLES = PARTS // 100
UNITS = int(100_000 * scale())


def timed(work) -> float:  # type: ignore[no-untyped-def]
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def project_in(root: Path, factor: int) -> gm.Project:
    project = gm.Project(root)
    raw = project.source("raw.t", gm.files("landing/*.csv"))

    @project.table("marts.t", reads=[raw], key="part")
    def marts(t):  # type: ignore[no-untyped-def]
        return t.group_by("part").agg(n=t.count() * factor)

    return project


def main() -> None:
    rng = random.Random(1)
    parts = list(range(PARTS))
    rng.shuffle(parts)
    done: tuple[Span, ...] = ()

    def fill() -> None:
        nonlocal done
        done = merged(Span(part, part + 1) for part in parts[HOLES:])

    print(f"{PARTS:,} partitions in random order, {HOLES:,} of them not done: {timed(fill):.2f} s to gather")
    with tempfile.TemporaryDirectory(prefix="gristmill-bench-") as name:
        root = Path(name)
        (root / "landing").mkdir()
        (root / "gristmill.toml").write_text('[project]\nname = "parts"\n')
        (root / "landing" / "1.csv").write_text("part\n" + "\n".join(map(str, range(1000))) + "\n")
        assert project_in(root, 1).run().ok
        project = project_in(root, 2)
        assert project.run(["marts.t"], between="part=0..10").ok
        store = project.store
        found = store.snapshot("main").document(backfill_path("marts.t"))
        assert found is not None
        state = msgspec.structs.replace(msgspec.json.decode(found, type=Backfill), done=done)
        data = msgspec.json.encode(state)
        with store.begin("main", message="a long backfill") as tx:
            tx.put_document(backfill_path("marts.t"), data)
        again = project_in(root, 2)
        report(f"state of {PARTS:,} partitions", len(data) / 2**20, 1.0, unit=" MiB")
        report(f"plan with {PARTS:,} partitions", timed(again.plan), 1.0, unit=" s")
        report("what is missing", timed(lambda: missing(Span(0, PARTS), done)), 1.0, unit=" s")
        assert len(missing(Span(0, PARTS), done)) <= HOLES
        units = {
            f"landing/{i}.csv": Unit(name=f"landing/{i}.csv", number=i + 10, digest=f"{i:064x}") for i in range(UNITS)
        }
        with store.begin("main", message="many units") as tx:
            tx.put_units("raw.t", {**tx.units("raw.t"), **units})
        report(
            f"units of a source read, {UNITS:,}", timed(lambda: store.snapshot("main").units("raw.t")), 1.0, unit=" s"
        )


if __name__ == "__main__":
    main()
