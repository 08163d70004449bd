"""NEXMark's queries: one answer in a batch, in increments, and in a stream that is out of order."""

import random
from pathlib import Path

import pytest

from tests.nexmark import QUERIES, deliver, digests, disordered, events, nexmark_project


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    batch = nexmark_project(tmp_path_factory.mktemp("batch"))
    deliver(batch.root, events(400))
    assert batch.run().ok
    snapshot = batch.store.snapshot("main")
    empty = [name for name in QUERIES if not snapshot.table(f"q.{name}").row_count]
    assert not empty
    return digests(batch)


@pytest.mark.slow
def test_increments_give_what_a_batch_gives(tmp_path: Path, expected: dict[str, str]) -> None:
    project = nexmark_project(tmp_path)
    found = events(400)
    modes = set()
    for first in range(0, len(found), 140):
        deliver(project.root, found[first : first + 140], name=str(first))
        result = project.run()
        assert result.ok, result.failures
        modes |= {stage.mode for stage in result.record.stages if stage.kind == "table"}
    assert digests(project) == expected
    assert {"delta", "touched"} & modes


@pytest.mark.slow
def test_a_stream_out_of_order_gives_what_a_batch_gives(tmp_path: Path, expected: dict[str, str]) -> None:
    rng = random.Random(3)
    project = nexmark_project(tmp_path)
    assert project.run(["raw.side"]).ok
    left = disordered(events(400), seed=5)
    while left:
        cut = rng.randint(130, 200)
        deliver(project.root, left[:cut], name=rng.choice("ab"))
        left = left[cut:]
        project.stream(until_end=True, max_rows=rng.choice([90, 1000]))
    assert digests(project) == expected
