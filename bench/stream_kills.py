"""Kill a stream at random steps, many times over, and count what is lost or doubled.

``python bench/stream_kills.py 100`` ends after so many kills.

Each round lands 120 rows in three parts, starts the stream again after every kill, and compares digests and ledger
with a batch over the same file. The goal is 0 of each.
"""

import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.run.streams import append, digests, event, lines, project  # noqa: E402


def one(root: Path, rng: random.Random) -> int:
    """Run one round; returns how often the stream was killed."""
    events = [event(i, at_s=max(0, i * 3 + rng.randint(-100, 100))) for i in range(120)]
    kills = 0
    for start in range(0, 120, 40):
        append(root / "killed/in/a.ndjson", lines(events[start : start + 40]))
        while True:
            given = [str(root / "killed"), str(rng.random())[2:], str(rng.choice([40, 160, 320]))]
            words = ["-m", "tests.run.kill_child", *given]
            done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            kills += 1
    batch = project(root / "batch")
    append(root / "batch/in/a.ndjson", lines(events))
    batch.run()
    made = project(root / "killed")
    assert digests(made) == digests(batch), "rows were lost or doubled"
    units = made.store.snapshot("main").units("raw.ev").values()
    assert sum(unit.ledger.accepted for unit in units) == 120
    return kills


def main() -> None:
    """Go on until that many kills are done, and print the count."""
    wanted, kills, rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20, 0, 0
    while kills < wanted:
        with tempfile.TemporaryDirectory() as folder:
            kills += one(Path(folder), random.Random(rounds))
        rounds += 1
    print(f"{kills} kills in {rounds} rounds: 0 lost, 0 doubled")


if __name__ == "__main__":
    main()
