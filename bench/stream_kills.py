"""Kill a stream at random moments, many times over, and count what is lost or doubled.

``python bench/stream_kills.py 100`` ends after so many kills; without a number it goes on to 10,000. Sources take
turns: growing files, a real Redis where one is installed, and librdkafka's mock cluster, which is a double of Kafka in
this process; each has a sink of its own kind. A round lands 120 rows in 6 parts. Processes are forked from one that
has imported everything, and go at a step of the commit or of the sending, or after some CPU time, wherever they are
then. Some have a rival beside them; some fall asleep at a step and wake up after others have gone on, as a zombie that
still holds its batch. Then the tables must be those of a batch over the same rows, every row must be accounted for
once, and what the sink got must, taken once by id, make the table. The goal is 0 of each.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from tests.redis_server import redis_server  # noqa: E402
from tests.run.kill_child import TAKEN_OVER, Fate, shop  # noqa: E402
from tests.run.streams import append, digests, event, lines  # noqa: E402

Event = dict[str, object]
Message = dict[str, object]
ALL, ROWS, PART = 10_000, 120, 20
DEAD = (-signal.SIGKILL, -signal.SIGPROF)


class Nursery:
    """A process that has imported everything, and forks streams that will be killed, fall asleep, or end."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.run.kill_child", "--nursery"]
        path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=1,
        )

    def ask(self, **request: object) -> object:
        """Ask for something and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        return json.loads(self._process.stdout.readline())

    def start(self, root: Path, fate: Fate, given: tuple[str, ...]) -> int:
        """Start a stream and return its process id."""
        return int(str(self.ask(start=str(root), fate=asdict(fate), given=given)))

    def look(self, pid: int) -> tuple[str, int, float]:
        """Wait until it is gone or asleep; returns which, its exit code, and its CPU seconds."""
        word, code, cpu_s = self.ask(look=pid)  # type: ignore[misc]
        return word, code, cpu_s

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@dataclass
class Way:
    """A source and a sink: what names them, what puts rows there, and what the sink got."""

    kind: str
    given: tuple[str, ...]
    put: Callable[[list[Event]], None]
    got: Callable[[], list[Message]]


@dataclass
class Counts:
    """What has happened so far; ``whole_s`` is about the CPU that a stream takes which nobody kills."""

    kills: Counter[str] = field(default_factory=Counter)
    rivals: int = 0
    zombies: int = 0
    beaten: int = 0
    whole_s: float = 0.3


def fate_of(rng: random.Random, counts: Counts) -> Fate:
    """Draw when a process goes."""
    seed, way = rng.randrange(2**32), rng.random()
    if way < 0.5:
        return Fate(seed=seed, cpu_s=rng.uniform(0.05, max(counts.whole_s, 0.4)), fsync=False)
    return Fate(seed=seed, steps=rng.choice([30, 80, 160]), sleeps=way > 0.94, fsync=False)


def one(nursery: Nursery, root: Path, rng: random.Random, way: Way, counts: Counts) -> None:
    """Run one round."""
    events = [event(i, at_s=max(0, i * 3 + rng.randint(-100, 100))) for i in range(ROWS)]
    for start in range(0, ROWS, PART):
        way.put(events[start : start + PART])
        while not attempt(nursery, root / "killed", rng, way, counts):
            pass
    compare(root, way)


def attempt(nursery: Nursery, root: Path, rng: random.Random, way: Way, counts: Counts) -> bool:
    """Start a stream, now and then two; returns whether all that is there has been read."""
    running = [nursery.start(root, fate_of(rng, counts), way.given)]
    if rng.random() < 0.05:
        counts.rivals += 1
        running.append(nursery.start(root, fate_of(rng, counts), way.given))
    ended = [nursery.look(pid) for pid in running]
    for pid, (word, _, _) in zip(running, ended, strict=True):
        if word == "asleep":
            counts.zombies += 1
            for _ in range(rng.randint(1, 3)):
                note(nursery.look(nursery.start(root, Fate(seed=1, fsync=False), way.given)), way, counts)
            nursery.ask(wake=pid)
            code = note(nursery.look(pid), way, counts)
            counts.beaten += code == TAKEN_OVER
    codes = [note(found, way, counts) for found in ended if found[0] == "gone"]
    return codes == [0]


def note(found: tuple[str, int, float], way: Way, counts: Counts) -> int:
    """Count how a process ended; returns its code."""
    _, code, cpu_s = found
    assert code in (0, TAKEN_OVER, *DEAD), f"a stream ended with {code}"
    counts.kills[way.kind] += code in DEAD
    if code == 0:
        counts.whole_s += (cpu_s - counts.whole_s) / 20
    return code


def compare(root: Path, way: Way) -> None:
    """Compare with a batch, count every row, and take what the sink got."""
    if way.kind == "files":
        shutil.copytree(root / "killed/in", root / "batch/in")
    batch, made = shop(root / "batch", *way.given), shop(root / "killed", *way.given)
    batch.run()
    assert digests(made) == digests(batch), "rows were lost or doubled"
    snapshot = made.store.snapshot("main")
    units = snapshot.units("raw.ev").values()
    assert sum(unit.ledger.accepted for unit in units) == ROWS, "the ledger does not add up"
    assert sum(unit.ledger.delivered for unit in units) == ROWS, "the ledger does not add up"
    stored = {(str(row["minute"]), row["k"]): row["n"] for row in snapshot.to_arrow("marts.minute").to_pylist()}
    assert taken(way.got()) == stored, "the sink's receiver has other rows than the table"


def taken(messages: list[Message]) -> dict[tuple[str, str], int]:
    """Return what a receiver has that takes every message once by its id."""
    seen: set[object] = set()
    held: dict[tuple[str, str], int] = {}
    for message in messages:
        if message["id"] in seen:
            continue
        seen.add(message["id"])
        place, row = message["key"], message["row"]
        key = (place["minute"].replace("T", " "), place["k"])  # type: ignore[index]
        if message["op"] == "delete":
            held.pop(key, None)
        else:
            held[key] = row["n"]  # type: ignore[index]
    return held


def files(root: Path) -> Way:
    """Return growing files, and a folder of files that come out."""
    outbox = root / "killed/outbox"

    def got() -> list[Message]:
        paths = sorted(path for path in outbox.iterdir() if path.suffix == ".ndjson")
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    return Way("files", (), lambda events: append(root / "killed/in/a.ndjson", lines(events)), got)


@contextmanager
def kafka(number: int, producer: object, address: str) -> Iterator[Way]:
    """Give topics of the mock cluster."""
    from confluent_kafka import Consumer, TopicPartition

    topic = f"t{number}"

    def put(events: list[Event]) -> None:
        for found in events:
            producer.produce(topic, json.dumps(found).encode(), key=str(found["k"]).encode())  # type: ignore[attr-defined]
        assert producer.flush(10) == 0  # type: ignore[attr-defined]

    def got() -> list[Message]:
        settings = {"bootstrap.servers": address, "group.id": "g", "enable.partition.eof": True, "log_level": 0}
        reader, found = Consumer(settings), []
        parts = reader.list_topics(f"{topic}-out", timeout=10).topics[f"{topic}-out"].partitions
        reader.assign([TopicPartition(f"{topic}-out", part, 0) for part in parts])
        ended = 0
        while ended < len(parts):
            for message in reader.consume(500, 1):
                if message.error() is not None:
                    ended += 1
                    continue
                headers = {name: value.decode() for name, value in message.headers()}
                value = message.value()
                row = json.loads(value) if value is not None else None
                found.append({**headers, "key": json.loads(message.key()), "row": row})
        reader.close()
        return found

    yield Way("kafka", ("kafka", address, topic), put, got)


@contextmanager
def redis(number: int, url: str) -> Iterator[Way]:
    """Give streams of the Redis server."""
    from redis import Redis

    name = f"s{number}"
    with Redis.from_url(url, decode_responses=True) as client:

        def put(events: list[Event]) -> None:
            pipeline = client.pipeline()
            for found in events:
                pipeline.xadd(name, {key: str(value) for key, value in found.items()})
            pipeline.execute()

        def got() -> list[Message]:
            return [
                {**fields, "key": json.loads(fields["key"]), "row": json.loads(fields["row"])}
                for _, fields in client.xrange(f"{name}-out")
            ]

        yield Way("redis", ("redis", url, name), put, got)
        client.delete(name, f"{name}-out")


def main() -> None:
    """Go on until that many kills are done, and print the count."""
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else ALL
    counts, rounds, began = Counts(), int(os.environ.get("GRISTMILL_BENCH_SEED", "0")), time.monotonic()
    nursery = Nursery()
    with ExitStack() as stack:
        stack.callback(nursery.close)
        from confluent_kafka import Producer

        producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
        broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
        server = stack.enter_context(redis_server())
        while counts.kills.total() < wanted:
            with tempfile.TemporaryDirectory() as folder, ExitStack() as used:
                root = Path(folder)
                if rounds % 3 == 0:
                    way = files(root)
                elif rounds % 3 == 1:
                    way = used.enter_context(redis(rounds, server.url))
                else:
                    way = used.enter_context(kafka(rounds, producer, f"{broker.host}:{broker.port}"))
                one(nursery, root, random.Random(rounds), way, counts)
            rounds += 1
            words = f"{counts.kills.total():,} kills in {rounds} rounds, {time.monotonic() - began:.0f} s"
            print(words, file=sys.stderr, flush=True)
    words = ", ".join(f"{number:,} with {kind}" for kind, number in sorted(counts.kills.items()))
    more = f"{counts.rivals} rivals, {counts.zombies} zombies of which {counts.beaten} found a successor"
    took = f"{time.monotonic() - began:.0f} s"
    print(f"met     {counts.kills.total():,} kills ({words}), {more}: 0 lost, 0 doubled; {took}")


if __name__ == "__main__":
    main()
