"""Random programs over random histories of files, edits, merges, reverts and kills: parity after every run.

Run: ``python bench/parity.py [HISTORIES] [FIRST_SEED]`` (200 unless given). Each history defines four tables, plays
about a dozen acts, and computes every table in full after every run. Prints how tables were brought up to date and
every history that failed, shortened; exit code 1 where one did.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.histories import play, random_history, shortened


def main(count: int, first: int) -> int:
    """Play histories and return how many failed."""
    modes: Counter[str] = Counter()
    runs, failed, started = 0, 0, time.monotonic()
    for seed in range(first, first + count):
        acts = random_history(seed)
        try:
            world = play(seed, acts, follow=seed % 4 != 3)
        except Exception as error:
            failed += 1
            print(f"FAILED seed {seed}: {type(error).__name__}: {str(error)[:1500]}")
            print("".join(traceback.format_tb(error.__traceback__)[-2:]))
            print(f"  shortened: play({seed}, {shortened(seed, acts)})", flush=True)
            continue
        modes.update(world.modes)
        runs += world.runs
        if (seed - first) % 50 == 49:
            print(f"{seed - first + 1} histories, {time.monotonic() - started:.0f} s", flush=True)
    tables = 4
    print(f"{count} histories, {tables * count} definitions, {runs} runs, {failed} failed; tables brought up to date:")
    print("  " + ", ".join(f"{mode} {number}" for mode, number in modes.most_common()))
    return failed


if __name__ == "__main__":
    arguments = [int(value) for value in sys.argv[1:]]
    sys.exit(1 if main(*(arguments + [200, 0][len(arguments) :])) else 0)
