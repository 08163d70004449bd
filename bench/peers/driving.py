"""Feeds an engine's script, reads its results, kills it, and says what that cost; all in the measuring process.

Kafka is librdkafka's mock cluster in this process: a double that speaks the protocol, with no disk and no retention but
5 MB a partition, so that rows are given only as fast as they are taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Protocol

from peers.job import START_S, WINDOW_S, Events

_TICKS = os.sysconf("SC_CLK_TCK")
_PARTITIONS = 4
LIMIT_S = 600.0


class Feed(Protocol):
    """A way in and a way out."""

    words: tuple[str, ...]
    most: int

    def give(self, rows: list[tuple[int, str]]) -> None:
        """Make rows visible to the engine at once."""
        ...

    def results(self) -> Iterable[dict[str, object]]:
        """Return the results that came since the last call."""
        ...


class Files:
    """Files that appear whole, and result files that appear whole."""

    most = 10**9

    def __init__(self, root: Path, *words: str) -> None:
        self.words, self._in, self._out, self._seen, self._given = words, root / "in", root / "out", set[str](), 0
        self._in.mkdir()
        self._out.mkdir()

    def give(self, rows: list[tuple[int, str]]) -> None:
        part = self._in.parent / "part"
        part.write_text("".join(text + "\n" for _, text in rows))
        part.replace(self._in / f"{self._given:06}.ndjson")
        self._given += 1

    def results(self) -> Iterable[dict[str, object]]:
        names = {entry.name for entry in os.scandir(self._out) if entry.name.endswith(".ndjson")} - self._seen
        self._seen |= names
        return [json.loads(line) for name in sorted(names) for line in (self._out / name).read_text().splitlines()]


@cache
def _mock() -> tuple[object, str]:
    from confluent_kafka import Producer

    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))
    return producer, f"{broker.host}:{broker.port}"


class Kafka:
    """Topics of the mock cluster."""

    most = 60_000

    def __init__(self, topic: str) -> None:
        from confluent_kafka import Consumer, TopicPartition

        self._producer, address = _mock()
        self.words, self._topic = (address, topic), topic
        for name in (topic, f"{topic}-out"):
            while not self._producer.list_topics(name, timeout=10).topics[name].partitions:  # type: ignore[attr-defined]
                time.sleep(0.05)
        self._consumer = Consumer(
            {"bootstrap.servers": address, "group.id": "results", "log_level": 0, "fetch.wait.max.ms": 10}
        )
        self._consumer.assign([TopicPartition(f"{topic}-out", number, 0) for number in range(_PARTITIONS)])

    def give(self, rows: list[tuple[int, str]]) -> None:
        for shop, text in rows:
            self._producer.produce(self._topic, text, key=str(shop), partition=shop % _PARTITIONS)  # type: ignore[attr-defined]
            self._producer.poll(0)  # type: ignore[attr-defined]
        self._producer.flush()  # type: ignore[attr-defined]

    def results(self) -> Iterable[dict[str, object]]:
        found = self._consumer.consume(20_000, 0)
        return [json.loads(message.value()) for message in found if message.error() is None]


class Engine:
    """A process that does the job, which may be killed and started again."""

    def __init__(self, command: list[str], folder: Path, feed: Feed, *, closed: bool) -> None:
        self.events, self.feed, self.closed = Events(), feed, closed
        self.held: dict[tuple[int, int], tuple[int, int]] = {}
        self.messages = 0
        self._command, self._folder, self._visible = [*command, str(folder), *feed.words], folder, 0
        self._environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(_ROOT / "bench/peers"), str(_ROOT / "src"))),
        }
        self.start()

    def start(self) -> None:
        """Start it, with its words kept in a file."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self) -> None:
        """Kill it and every process that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def cpu_s(self) -> float:
        """Return the CPU seconds of its processes so far."""
        return _cpu_s(self._process.pid)

    def look(self) -> int:
        """Take results; returns how many rows are in what has come out so far."""
        for found in self.feed.results():
            self.messages += 1
            row = found.get("row", found)
            assert isinstance(row, dict)
            start = row["start"] if "start" in row else _epoch_s(str(row["window_start"]))
            window, shop = (int(start) - START_S) // WINDOW_S, int(row["shop"])
            self._visible += int(row["n"]) - self.held.get((window, shop), (0, 0))[0]
            self.held[window, shop] = (int(row["n"]), int(row["value"]))
        return self._visible

    def give(self, rows: int) -> None:
        """Give the rows of one more window."""
        self.feed.give(self.events.window(rows))

    def reach(self, rows: int | None = None) -> None:
        """Wait until so many rows are in results; by default all that can be."""
        wanted = self.events.visible(closed=self.closed) if rows is None else rows
        self.until(lambda: self.look() >= wanted, f"{wanted:,} rows")

    def until(self, done: Callable[[], bool], words: str) -> None:
        """Wait for something; says what was in the log where it does not come."""
        end = time.monotonic() + LIMIT_S
        while not done():
            if time.monotonic() > end or self._process.poll() is not None:
                log = (self._folder / "log").read_text()[-3000:]
                raise SystemExit(f"{self._command[1]} did not reach {words}, it is at {self._visible:,}\n{log}")
            time.sleep(0.004)

    def bulk(self, windows: int, rows: int) -> None:
        """Give many windows, only as fast as they are taken where the way in holds few."""
        given = self.look()
        for _ in range(windows):
            self.give(rows)
            given += rows
            room = given - self.feed.most
            if room > 0:
                self.until(lambda least=room: self.look() >= least * 0.85, "room for more")  # type: ignore[misc]

    def wrong(self) -> tuple[int, int]:
        """Return how many rows are missing in all windows but the last, and how many are there twice."""
        last = max(window for window, _ in self.events.expected)
        lost = doubled = 0
        for name in self.events.expected.keys() | self.held.keys():
            if name[0] >= last:
                continue
            (wanted, total), (n, value) = self.events.expected.get(name, (0, 0)), self.held.get(name, (0, 0))
            lost, doubled = lost + max(wanted - n, 0), doubled + max(n - wanted, 0)
            lost += n == wanted and value != total
        return lost, doubled


def _epoch_s(text: str) -> int:
    return int(datetime.fromisoformat(f"{text[:19]}+00:00").timestamp())


def _cpu_s(leader: int) -> float:
    """Return the CPU seconds of every process of a session, and of those that it has waited for."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader:
                    ticks += sum(map(int, fields[11:15]))
    return ticks / _TICKS


_ROOT = Path(__file__).parents[2]
