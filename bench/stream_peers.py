"""One streaming job in gristmill, Spark Structured Streaming, Quix Streams and Bytewax: answers, cost, latency, kills.

The job is that of ``peers/job.py``: parse JSON, filter, look up 100,000 items, windows of 5 minutes by shop, a sink.
Spark reads and writes files, and so does gristmill beside it; Quix Streams and Bytewax read and write Kafka, and so
does gristmill beside them, all on librdkafka's mock cluster, which is a double of Kafka and no broker. Every engine
runs on one core as its own guide says; see the scripts in ``peers``. First the windows that come out must be equal,
row for row; then come rows per second of CPU (children included, so the JVM too), latency from a row's arrival to the
result that holds it, and what kill -9 costs: seconds to the first new result, rows lost or doubled.

``python bench/stream_peers.py spark`` measures that peer only. Peers are found in the Python that runs this, or in the
one that GRISTMILL_BENCH_PEERS names; one that is not installed is skipped with a word.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "src")]

from harness import report, scale  # noqa: E402
from peers.driving import Engine, Files, Kafka  # noqa: E402
from peers.job import write_items  # noqa: E402

PEERS = os.environ.get("GRISTMILL_BENCH_PEERS", sys.executable)
SMALL = 1_000
WINDOW = 10_000
KILLS = 3
NEEDS = {"quix": "quixstreams", "bytewax": "bytewax", "spark": "pyspark"}
CANNOT = {
    "spark": "Spark's wheel has no Kafka connector; it reads files",
    "quix": "Quix Streams reads Kafka only; its exactly-once wants transactions, which the mock cluster does not abort",
    "bytewax": "Bytewax follows no growing files, and gives a window's result when the window closes, not before: its "
    "latency is that of the row that closes a window",
}


@dataclass
class Found:
    """What one engine did.

    Args:
        small_s: CPU seconds of a batch of 1,000 rows.
        rows_per_s: rows in a second of CPU, given many.
        wall_rows_per_s: the same by the clock.
        latency_s: from giving rows to the result that holds them, sorted.
        recovery_s: from the start after a kill to the first new result.
        lost, doubled: rows that are missing in the results at the end, or there twice.
    """

    small_s: float = 0.0
    rows_per_s: float = 0.0
    wall_rows_per_s: float = 0.0
    latency_s: list[float] = field(default_factory=list)
    recovery_s: list[float] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0

    def line(self, name: str) -> str:
        """Return all of it in a line."""
        words = f"{name:<22}{self.rows_per_s:>10,.0f} rows per CPU s {self.wall_rows_per_s:>10,.0f} rows/s"
        words += f"   1,000 rows {self.small_s * 1000:>6.1f} ms CPU"
        half, most = (quantile(self.latency_s, hundredth) * 1000 for hundredth in (50, 99))
        words += f"   latency p50 {half:,.0f} p99 {most:,.0f} ms"
        if self.recovery_s:
            words += (
                f"   after kill -9 {statistics.median(self.recovery_s):.1f} s, lost {self.lost}, doubled {self.doubled}"
            )
        return words


def quantile(values: list[float], hundredth: int) -> float:
    """Return a quantile by rank."""
    return sorted(values)[min(len(values) * hundredth // 100, len(values) - 1)]


def engine(name: str, folder: Path, *words: str, kafka: bool) -> Engine:
    """Start an engine's script in a folder of its own."""
    root = folder / f"{name}{'-kafka' if kafka else ''}{''.join(words)}"
    root.mkdir()
    write_items(root / "items.parquet")
    feed = Kafka(root.name) if kafka else Files(root, *words)
    python = sys.executable if name == "gristmill" else PEERS
    script = str(ROOT / f"bench/peers/{name}_job.py")
    return Engine([python, script], root, feed, closed=name == "bytewax")


def small(made: Engine, found: Found, *, batches: int, warm: int = 10) -> None:
    """Give 1,000 rows, wait for their result, and again."""
    for number in range(warm + batches):
        if number == warm:
            before = made.cpu_s()
        began = time.monotonic()
        made.give(SMALL)
        made.reach()
        if number >= warm:
            found.latency_s.append(time.monotonic() - began)
    found.small_s = (made.cpu_s() - before) / batches


def large(made: Engine, found: Found, windows: int) -> None:
    """Give many rows, some of them uncounted before."""
    made.bulk(windows // 3, WINDOW)
    made.reach()
    cpu, began = made.cpu_s(), time.monotonic()
    made.bulk(windows, WINDOW)
    made.reach()
    found.rows_per_s = windows * WINDOW / (made.cpu_s() - cpu)
    found.wall_rows_per_s = windows * WINDOW / (time.monotonic() - began)


def killed(made: Engine, found: Found, kills: int) -> None:
    """Kill it in the middle of many rows, start it again, and wait for a new result."""
    rng = random.Random(7)
    for _ in range(kills):
        made.bulk(6, WINDOW)
        before = made.look()
        made.until(lambda least=before: made.look() > least, "a first result")  # type: ignore[misc]
        time.sleep(rng.random() * 30_000 / found.wall_rows_per_s)
        made.kill()
        made.give(WINDOW)  # so that there is something new, however far it came
        before, began = made.look(), time.monotonic()
        made.start()
        made.until(lambda least=before: made.look() > least, "a new result")  # type: ignore[misc]
        found.recovery_s.append(time.monotonic() - began)
        made.reach()


def measure(name: str, folder: Path, *words: str, kafka: bool, batches: int = 40, windows: int = 30) -> Found:
    """Run all of it on one engine, and refuse to go on where its results are not the right ones."""
    made, found = engine(name, folder, *words, kafka=kafka), Found()
    try:
        small(made, found, batches=batches)
        if windows:
            large(made, found, windows)
        made.feed.give(made.events.last())
        made.reach()
        assert made.wrong() == (0, 0), f"{name} lost, doubled {made.wrong()}"
        if windows:
            killed(made, found, KILLS)
            made.feed.give(made.events.last())
            made.until(lambda: made.look() >= made.events.visible(closed=made.closed), "the end")
            found.lost, found.doubled = made.wrong()
    finally:
        made.kill()
    print(found.line(f"{name}{' on Kafka' if kafka else ''}"), flush=True)
    return found


def installed(name: str) -> bool:
    """Say whether a peer can run here; prints why not."""
    asked = [PEERS, "-c", f"import {NEEDS[name]}"]
    there = subprocess.run(asked, capture_output=True, check=False).returncode == 0
    if there and name == "spark":
        there = subprocess.run(["java", "-version"], capture_output=True, check=False).returncode == 0
    if not there:
        print(f"{name} is not installed, and left out", flush=True)
    return there


def compare(name: str, ours: Found, theirs: Found) -> None:
    """Print the ratios."""
    report(f"rows per CPU second against {name}", ours.rows_per_s / theirs.rows_per_s, 1, at_least=True)
    report(f"CPU of 1,000 rows, {name}'s to ours", theirs.small_s / ours.small_s, 1, at_least=True)
    for hundredth in (50, 99):
        ratio = quantile(theirs.latency_s, hundredth) / quantile(ours.latency_s, hundredth)
        report(f"p{hundredth} of latency, {name}'s to ours", ratio, 1, at_least=True)
    ratio = statistics.median(theirs.recovery_s) / statistics.median(ours.recovery_s)
    report(f"seconds to a new result after kill -9, {name}'s to ours", ratio, 1, at_least=True)
    report(f"rows lost or doubled after kills, ours beside {name}'s", ours.lost + ours.doubled, 0, unit="")
    print(f"        {name}'s: {theirs.lost + theirs.doubled}; {CANNOT[name]}", flush=True)


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that engines end with this
    windows = max(int(30 * scale()), 6)
    wanted = [name for name in NEEDS if not sys.argv[1:] or name in sys.argv[1:]]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        folder = Path(place)
        there = [name for name in wanted if installed(name)]
        ours = {
            kafka: measure("gristmill", folder, kafka=kafka, windows=windows)
            for kafka in dict.fromkeys(name != "spark" for name in there)
        }
        for name in there:
            theirs = measure(name, folder, kafka=name != "spark", windows=windows)
            compare(name, ours[name != "spark"], theirs)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)  # the mock cluster's threads wait for nothing
