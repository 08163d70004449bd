"""Kill a stream at random steps, many times over, and count what is lost or doubled.

``python bench/stream_kills.py 100`` ends after so many kills; without a number it goes on to 10,000. Sources take
turns: growing files, a real Redis where one is installed, and librdkafka's mock cluster, which is a double of Kafka in
this process. Each round lands 120 rows in three parts, kills the stream within its commits and within what its sink
gets, now and then starts a second one beside it (the first must stop), and starts again until all is there. Then the
tables must be those of a batch over the same rows, every row must be accounted for once, and what the sink got must,
taken once by id, make the table. The goal is 0 of each.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.redis_server import redis_server  # noqa: E402
from tests.run.kill_child import TAKEN_OVER, shop  # noqa: E402
from tests.run.streams import append, digests, event, lines  # noqa: E402

Event = dict[str, object]
Put = Callable[[list[Event]], None]
ALL = 10_000


class Nursery:
    """A process that has imported everything, and forks streams that will kill themselves, or end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.run.kill_child", "--nursery"]
        self._process = subprocess.Popen(
            command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
        )

    def _ask(self, *words: str) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\t".join(words) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def start(self, root: Path, rng: random.Random, given: tuple[str, ...]) -> int:
        """Start a stream and return its process id."""
        return self._ask(str(root), str(rng.random())[2:], str(rng.choice([40, 160, 320])), *given)

    def wait(self, pid: int) -> int:
        """Return its exit code, -9 where it killed itself."""
        return self._ask("wait", str(pid))

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def one(nursery: Nursery, root: Path, rng: random.Random, given: tuple[str, ...], put: Put) -> tuple[int, int]:
    """Run one round; returns how often the stream was killed, and how often a second one ran beside it."""
    events = [event(i, at_s=max(0, i * 3 + rng.randint(-100, 100))) for i in range(120)]
    kills = rivals = 0
    for start in range(0, 120, 40):
        put(events[start : start + 40])
        while True:
            running = [nursery.start(root / "killed", rng, given)]
            if rng.random() < 0.15:
                rivals += 1
                running.append(nursery.start(root / "killed", rng, given))
            codes = [nursery.wait(pid) for pid in running]
            assert set(codes) <= {0, -9, TAKEN_OVER}, f"a stream ended with {codes}"
            kills += codes.count(-9)
            if codes == [0]:
                break
    compare(root, given)
    return kills, rivals


def compare(root: Path, given: tuple[str, ...]) -> None:
    """Compare with a batch, count every row, and take what the sink got."""
    batch, made = shop(root / "batch", *given), shop(root / "killed", *given)
    batch.run()
    assert digests(made) == digests(batch), "rows were lost or doubled"
    snapshot = made.store.snapshot("main")
    units = snapshot.units("raw.ev").values()
    assert sum(unit.ledger.accepted for unit in units) == 120, "the ledger does not add up"
    stored = {(str(row["minute"]), row["k"]): row["n"] for row in snapshot.to_arrow("marts.minute").to_pylist()}
    assert taken(root / "killed/outbox") == stored, "the sink's receiver has other rows than the table"


def taken(folder: Path) -> dict[tuple[str, str], int]:
    """Return what a receiver has that takes every message once by its id."""
    seen: set[str] = set()
    held: dict[tuple[str, str], int] = {}
    for path in sorted(folder.iterdir()):
        for line in path.read_text().splitlines() if path.suffix == ".ndjson" else ():
            message = json.loads(line)
            if message["id"] in seen:
                continue
            seen.add(message["id"])
            key = (message["key"]["minute"].replace("T", " "), message["key"]["k"])
            if message["op"] == "delete":
                held.pop(key, None)
            else:
                held[key] = message["row"]["n"]
    return held


def kafka(number: int, producer: object, address: str) -> tuple[tuple[str, ...], Put]:
    """Return a topic of the mock cluster, and what puts rows there."""
    topic = f"t{number}"

    def put(events: list[Event]) -> None:
        for found in events:
            producer.produce(topic, json.dumps(found).encode(), key=str(found["k"]).encode())  # type: ignore[attr-defined]
        assert producer.flush(10) == 0  # type: ignore[attr-defined]

    return ("kafka", address, topic), put


def redis(number: int, url: str) -> tuple[tuple[str, ...], Put]:
    """Return a stream of the Redis server, and what puts rows there."""
    from redis import Redis

    name = f"s{number}"

    def put(events: list[Event]) -> None:
        with Redis.from_url(url) as client:
            for found in events:
                client.xadd(name, {key: str(value) for key, value in found.items()})

    return ("redis", url, name), put


def main() -> None:
    """Go on until that many kills are done, and print the count."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else ALL
    kills, rounds, rivals, began = dict.fromkeys(("files", "redis", "kafka"), 0), 0, 0, time.monotonic()
    nursery = Nursery()
    with ExitStack() as stack:
        stack.callback(nursery.close)
        from confluent_kafka import Producer

        producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
        server = stack.enter_context(redis_server())
        while sum(kills.values()) < wanted:
            kind = ("files", "redis", "kafka")[rounds % 3]
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                if kind == "files":
                    given: tuple[str, ...] = ()

                    def put(events: list[Event], root: Path = root) -> None:
                        for side in ("killed", "batch"):
                            append(root / side / "in/a.ndjson", lines(events))

                elif kind == "redis":
                    given, put = redis(rounds, server.url)  # type: ignore[assignment]
                else:
                    given, put = kafka(rounds, producer, f"{broker.host}:{broker.port}")  # type: ignore[assignment]
                more, beside = one(nursery, root, random.Random(rounds), given, put)
            kills[kind] += more
            rivals += beside
            rounds += 1
            print(f"{sum(kills.values()):,} kills in {rounds} rounds", file=sys.stderr, flush=True)
    words = ", ".join(f"{number} with {kind}" for kind, number in kills.items())
    total = sum(kills.values())
    print(f"met     {total:,} kills ({words}), {rivals} rivals: 0 lost, 0 doubled; {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
