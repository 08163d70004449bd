"""The job in Quix Streams: Kafka in and out, state in RocksDB with changelog topics, its defaults otherwise.

Messages are keyed by shop already, so that no topic is needed to regroup them; the dimension table is a dictionary in
memory; the session time-out is as short as brokers allow, since a killed member's partitions wait for it. librdkafka's
mock cluster answers a waiting fetch only at its end, so that fetches are short; it makes topics by itself and has no
configuration to ask for, so that asking for it is answered here.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import quixstreams.app
from job import BOUND_S, WINDOW_S, read_items
from quixstreams import Application
from quixstreams.models.topics import TopicAdmin, TopicConfig

KEPT = {"cleanup.policy": "delete", "retention.ms": "604800000", "retention.bytes": "-1"}


class MockAdmin(TopicAdmin):
    """Answers what the mock cluster does not."""

    def inspect_topics(self, topic_names: list[str], timeout: float = 30) -> dict[str, TopicConfig]:
        return {name: TopicConfig(self._partitions(name, timeout), 1, KEPT) for name in topic_names}

    def _partitions(self, name: str, timeout: float) -> int:
        while not (found := self.admin_client.list_topics(name, timeout=timeout).topics[name].partitions):
            time.sleep(0.05)
        return len(found)

    def create_topics(self, topics: list[object], timeout: float = 30, finalize_timeout: float = 60) -> None:
        """They are there: asking for one makes it."""


def moment_ms(value: dict[str, object], *_: object) -> int:
    """Return a message's event time."""
    return int(datetime.fromisoformat(str(value["at"])).timestamp() * 1000)


def main(root: Path, brokers: str, topic: str) -> None:
    quixstreams.app.TopicAdmin = MockAdmin
    items = read_items(root / "items.parquet")
    app = Application(
        broker_address=brokers,
        consumer_group=topic,
        auto_offset_reset="earliest",
        state_dir=root / "state",
        loglevel="WARNING",
        consumer_extra_config={"session.timeout.ms": 6000, "fetch.wait.max.ms": 10},
    )
    given = app.topic(topic, key_deserializer="str", value_deserializer="json", timestamp_extractor=moment_ms)
    out = app.topic(f"{topic}-out", key_serializer="str", value_serializer="json")
    rows = app.dataframe(given)
    rows = rows[rows["amount"] > 0]
    rows = rows.apply(lambda row: row["amount"] * items[row["item"]][1])
    windows = rows.tumbling_window(timedelta(seconds=WINDOW_S), grace_ms=timedelta(seconds=BOUND_S))
    found = windows.reduce(lambda held, value: [held[0] + 1, held[1] + value], lambda value: [1, value]).current()
    shaped = found.apply(
        lambda window, key, *_: {
            "start": window["start"] // 1000,
            "shop": int(key),
            "n": window["value"][0],
            "value": window["value"][1],
        },
        metadata=True,
    )
    shaped.to_topic(out)
    app.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
