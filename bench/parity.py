"""Random programs over random histories of files, edits, merges, reverts and kills: parity after every run.

Run: ``python bench/parity.py [PROGRAMS] [FIRST_SEED] [--seen FILE]`` (1,000 programs unless given). A history defines
a source-like table and eight random ones over three sources, plays about a dozen acts, and computes every table in full
after every run. With a file, seeds that are written in it are not played again, so that it can be gone on with. Prints
how tables were brought up to date and every history that failed, shortened; exit code 1 where one did.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.histories import play, random_history, shortened

MANY = 8


def main(programs: int, first: int, seen: Path | None) -> int:
    """Play histories until there were as many programs, and return how many histories failed."""
    modes: Counter[str] = Counter()
    total = runs = failed = histories = 0
    started = time.monotonic()
    known = dict(_known(seen))
    seed = first
    while total < programs:
        line = known.get(seed) or _played(seed)
        if seed not in known and seen is not None:
            with seen.open("a") as file:
                file.write(json.dumps(line) + "\n")
        histories, total, runs = histories + 1, total + line["programs"], runs + line["runs"]
        failed += bool(line["failed"])
        modes.update(line["modes"])
        seed += 1
        if histories % 20 == 0:
            print(f"{histories} histories, {total:,} programs, {time.monotonic() - started:.0f} s", flush=True)
    print(f"{histories} histories, {total:,} programs, {runs:,} runs, {failed} failed; tables brought up to date:")
    print("  " + ", ".join(f"{mode} {number:,}" for mode, number in modes.most_common()))
    return failed


def _known(seen: Path | None) -> Iterator[tuple[int, dict[str, object]]]:
    if seen is not None and seen.exists():
        for text in seen.read_text().splitlines():
            line = json.loads(text)
            yield line["seed"], line


def _played(seed: int) -> dict[str, object]:
    acts = random_history(seed)
    line: dict[str, object] = {"seed": seed, "programs": MANY + 1, "runs": 0, "modes": {}, "failed": ""}
    try:
        world = play(seed, acts, follow=seed % 4 != 3, many=MANY, lineage=seed % 8 == 0)
    except Exception as error:
        line["failed"] = f"{type(error).__name__}: {str(error)[:1500]}"
        print(f"FAILED seed {seed}: {line['failed']}")
        print("".join(traceback.format_tb(error.__traceback__)[-2:]))
        print(f"  shortened: play({seed}, {shortened(seed, acts, many=MANY)}, many={MANY})", flush=True)
        return line
    return line | {"programs": len(world.programs()), "runs": world.runs, "modes": dict(world.modes)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("programs", nargs="?", type=int, default=1_000)
    parser.add_argument("first", nargs="?", type=int, default=0)
    parser.add_argument("--seen", type=Path)
    given = parser.parse_args()
    sys.exit(1 if main(given.programs, given.first, given.seen) else 0)
