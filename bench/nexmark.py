"""NEXMark's queries in one batch, by increments, and as a stream out of order: one answer, and what each pace costs.

Run: ``python bench/nexmark.py [EVENTS] [SEED]`` (20,000 unless given). Prints per query whether the three agree, how
increments brought it up to date, and CPU seconds of each pace; exit code 1 where they differ.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from harness import cpu_s

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.nexmark import QUERIES, Event, deliver, digests, disordered, events, nexmark_project

import gristmill as gm

PARTS = 10


def main(count: int, seed: int) -> int:
    """Play the three paces, compare, and return the exit code."""
    found, modes = events(count, seed=seed), Counter[tuple[str, str]]()
    answers: dict[str, dict[str, str]] = {}
    for name, pace in {"batch": batch, "increments": increments, "stream": stream}.items():
        with tempfile.TemporaryDirectory() as folder:
            project = nexmark_project(Path(folder))
            started = cpu_s()
            pace(project, found, modes)
            print(f"{name}: {cpu_s() - started:.1f} CPU s for {count:,} events", flush=True)
            answers[name] = digests(project)
    wrong = 0
    for query in QUERIES:
        same = len({answer[query] for answer in answers.values()}) == 1
        wrong += not same
        how = ", ".join(f"{mode} {n}" for (name, mode), n in sorted(modes.items()) if name == f"q.{query}")
        print(f"{query:<4} {'equal' if same else 'DIFFERENT'}  {how}")
    return int(wrong > 0)


def batch(project: gm.Project, found: list[Event], modes: Counter[tuple[str, str]]) -> None:
    """All events at once."""
    deliver(project.root, found)
    project.run().raise_if_failed()


def increments(project: gm.Project, found: list[Event], modes: Counter[tuple[str, str]]) -> None:
    """Equal parts in order, a run after each."""
    for number, part in enumerate(_parts(found)):
        deliver(project.root, part, name=str(number))
        result = project.run()
        result.raise_if_failed()
        modes.update((stage.name, stage.mode) for stage in result.record.stages if stage.kind == "table" and number)


def stream(project: gm.Project, found: list[Event], modes: Counter[tuple[str, str]]) -> None:
    """Parts out of order, in micro-batches."""
    project.run(["raw.side"]).raise_if_failed()
    for number, part in enumerate(_parts(disordered(found, seed=1))):
        deliver(project.root, part, name="ab"[number % 2])
        project.stream(until_end=True, max_rows=2_000)


def _parts(found: list[Event]) -> list[list[Event]]:
    size = -(-len(found) // PARTS)
    return [found[first : first + size] for first in range(0, len(found), size)]


if __name__ == "__main__":
    arguments = [int(value) for value in sys.argv[1:]]
    sys.exit(main(*(arguments + [20_000, 0][len(arguments) :])))
