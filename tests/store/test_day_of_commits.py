"""Very many small commits: what a read or a commit has to look at stays bounded. The whole day is in ``bench``."""

import runpy
from pathlib import Path

from gristmill.store import open_store

BENCH = Path(__file__).parents[2] / "bench/day_of_commits.py"


def test_what_must_be_looked_at_stays_bounded(tmp_path: Path) -> None:
    bench = runpy.run_path(str(BENCH))
    store = bench["begin"](tmp_path / "store")
    bench["run"](store, 150, reads_every=50)
    early = bench["shape"](store)
    for second in range(150, 900):
        bench["commit"](store, second)
    found: dict[str, list[float]] = {}
    bench["read"](store, 899, found)
    assert len(found) == 4
    late = bench["shape"](store)
    assert late["catalog reads to open the head"] <= early["catalog reads to open the head"] + 1
    assert late["files of the appended table"] <= 80
    assert late["files of the keyed table"] <= 80
    again = open_store(tmp_path / "store")
    assert again.snapshot("main").table("raw.ticks").row_count == 4500
    assert again.snapshot("main").table("marts.last").row_count == 500
