"""Killed at any step, a stream goes on with nothing lost and nothing twice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from gristmill.model.units import Ledger
from tests.run.streams import append, digests, event, lines, project
from tests.run.test_stream import total

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_killed_anywhere_nothing_is_lost_or_doubled(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    events = [event(i, at_s=max(0, i * 3 + rng.randint(-100, 100))) for i in range(120)]
    events[50]["n"] = "poison"
    kills = 0
    for start in range(0, 120, 40):
        append(tmp_path / "killed/in/a.ndjson", lines(events[start : start + 40]))
        while True:
            kill_at = 40 * 2 ** min(kills, 3)
            words = [
                sys.executable,
                "-m",
                "tests.run.kill_child",
                str(tmp_path / "killed"),
                str(rng.random())[2:],
                str(kill_at),
            ]
            done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            kills += 1
    batch = project(tmp_path / "batch")
    append(tmp_path / "batch/in/a.ndjson", lines(events))
    batch.run()
    made = project(tmp_path / "killed")
    assert digests(made) == digests(batch)
    assert total(made) == Ledger(delivered=120, accepted=119, quarantined=1)
    assert kills > 1
