"""Kafka topics as a source and a sink: each partition is a unit, its position the next offset."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from gristmill.connect.sinks import Outgoing, SinkWriter, as_json, secret
from gristmill.connect.stream_decode import SAMPLE_ROWS, Decoder, DecodingReader, check_types
from gristmill.connect.stream_decode import shape_of_messages as shape_of
from gristmill.connect.stream_rows import StreamRows
from gristmill.connect.stream_values import WAITING, Fetched, Message, Position, Reader, status_of
from gristmill.connect.values import Found, Shape, UnitRows
from gristmill.connect.wire_codecs import Wire, codec_of
from gristmill.errors import DataError, EngineError, UsageError
from gristmill.model.units import Unit

if TYPE_CHECKING:
    from confluent_kafka import Consumer

_TIMEOUT_S = 15.0
_LIST_EVERY_S = 30.0
_CHUNK = 1_000
_FATAL = ("_AUTHENTICATION", "TOPIC_AUTHORIZATION_FAILED", "SASL_AUTHENTICATION_FAILED", "_INVALID_ARG")


class KafkaSource(msgspec.Struct, frozen=True, kw_only=True):
    """A Kafka topic; made by ``kafka``.

    Args:
        brokers: ``host:port``, several with commas.
        topic: its name.
        wire: how values are written.
        key: columns that a message's key fills.
        types: declared types by column.
        options: settings of librdkafka; values may be ``env:NAME``.
    """

    brokers: str
    topic: str
    wire: Wire = Wire()
    key: tuple[str, ...] = ()
    types: dict[str, str] = {}
    options: dict[str, str] = {}

    def describe(self) -> dict[str, str]:
        """Return what this source is, in words, without secrets."""
        return {"kind": "kafka", "brokers": self.brokers, "topic": self.topic, "value": self.wire.format}

    def settings(self) -> dict[str, Any]:
        """Return librdkafka's settings, secrets filled in."""
        given = {name: secret(value) if value.startswith("env:") else value for name, value in self.options.items()}
        return {"bootstrap.servers": self.brokers, **given}

    def discover(self, root: Path, known: Mapping[str, Unit]) -> list[Found]:
        """Return the partitions, compared with the next offset of each."""
        consumer = open_consumer(self)
        try:
            found = []
            for number in partitions(consumer, self):
                name = f"{self.topic}/{number}"
                low, high = watermarks(consumer, self, number)
                unit = known.get(name)
                more = high > (int(unit.detail[WAITING]) if unit is not None else low)
                found.append(Found(name=name, status=status_of(unit, more=more), detail={"end": str(high)}))
            return found
        finally:
            consumer.close()

    def infer(self, root: Path, found: Sequence[Found]) -> Shape:
        """Return the shape of the first messages."""
        ends = {item.name: item.detail["end"] for item in found if item.status in ("new", "changed")}
        messages: list[Message] = []
        if ends:
            fetcher = KafkaFetcher(self, {}, "earliest", ends)
            try:
                parts = fetcher.fetch(max_rows=SAMPLE_ROWS, max_bytes=2**22, timeout_s=_TIMEOUT_S)
            finally:
                fetcher.close()
            messages = [message for part in parts for message in part.messages]
        codec, typed = codec_of(self.wire, root)
        return shape_of(messages, codec, types=self.types, key=self.key, where=self.topic, typed=typed)

    def read(self, root: Path, found: Found, *, shape: Shape, number: int) -> UnitRows:
        """Return the rows of one partition as it is now."""
        return StreamRows(self, root, found, shape, number)

    def open(
        self,
        root: Path,
        positions: Mapping[str, Position],
        *,
        shape: Shape,
        start: str = "earliest",
        ends: Mapping[str, str] | None = None,
    ) -> Reader:
        """Go on reading; see `gristmill.connect.stream_values.StreamConnector`."""
        codec, typed = codec_of(self.wire, root)
        decoder = Decoder(shape, codec, typed=typed, key=self.key)
        return DecodingReader(KafkaFetcher(self, positions, start, ends), decoder)

    def writer(self, root: Path) -> SinkWriter:
        """Return what produces a sink's messages to the topic."""
        return KafkaWriter(self)


class KafkaFetcher:
    """Reads partitions by ``assign`` from the offsets of our own commits; no consumer group decides anything."""

    def __init__(
        self, source: KafkaSource, positions: Mapping[str, Position], start: str, ends: Mapping[str, str] | None
    ) -> None:
        self._source, self._start = source, start
        self._ends = None if ends is None else {int(name.rpartition("/")[2]): int(end) for name, end in ends.items()}
        self._at = {int(name.rpartition("/")[2]): int(position[WAITING]) for name, position in positions.items()}
        self._consumer = open_consumer(source)
        self._listed_s = 0.0
        self._following: set[int] = set()
        try:
            self._assign(start)
        except BaseException:
            self._consumer.close()
            raise

    def fetch(self, *, max_rows: int, max_bytes: int, timeout_s: float) -> list[Fetched]:
        """Return messages of all partitions, waiting for the first of them."""
        if self._ends is not None and not self._open():
            return []
        if time.monotonic() - self._listed_s > _LIST_EVERY_S:
            self._assign("earliest")
        found: dict[int, list[Message]] = {}
        rows = size = 0
        wait = timeout_s if self._ends is None else _TIMEOUT_S
        until = time.monotonic() + wait
        while rows < max_rows and size < max_bytes:
            left = max(until - time.monotonic(), 0.0) if not rows else 0.0
            came = self._consumer.consume(min(max_rows - rows, _CHUNK), min(left, 0.5))
            for raw in came:
                taken = self._take(raw, found)
                rows, size = rows + (taken is not None), size + (taken or 0)
            done = self._ends is not None and not self._open()
            if done or (not came and (rows or left <= 0)):
                break
        return [self._fetched(number, messages) for number, messages in found.items()]

    def committed(self) -> None:
        """The broker is not told: offsets are ours."""

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _take(self, raw: Any, found: dict[int, list[Message]]) -> int | None:
        """Take one message; returns its size, None where it is none of ours."""
        error = raw.error()
        if error is not None:
            self._trouble(raw, error)
            return None
        number, offset = int(raw.partition()), int(raw.offset())
        if self._ends is not None and offset >= self._ends.get(number, 0):
            self._at[number] = max(self._at.get(number, 0), self._ends.get(number, 0))
            return None
        kind, moment = raw.timestamp()
        value, key = raw.value(), raw.key()
        found.setdefault(number, []).append(Message(offset, value, key, moment * 1000 if kind else None))
        self._at[number] = offset + 1
        return len(value or b"") + len(key or b"")

    def _trouble(self, raw: Any, error: Any) -> None:
        name = error.name()
        if name == "_PARTITION_EOF":
            number = int(raw.partition())
            self._at[number] = max(self._at.get(number, 0), int(raw.offset()))
            return
        if name in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            raise self._lost(int(raw.partition()), "the broker no longer has the next offset")
        if error.retriable() or name not in _FATAL:
            raise unanswered(self._source, error)
        raise unanswered(self._source, error, retryable=False)

    def _fetched(self, number: int, messages: list[Message]) -> Fetched:
        from confluent_kafka import TopicPartition

        place = TopicPartition(self._source.topic, number)
        marks = self._consumer.get_watermark_offsets(place, cached=True)
        at = self._at[number]
        lag = max(marks[1] - at, 0) if marks and marks[1] >= 0 else None
        size = sum(len(m.value or b"") + len(m.key or b"") for m in messages)
        return Fetched(f"{self._source.topic}/{number}", messages, {WAITING: str(at)}, lag, size)

    def _open(self) -> list[int]:
        """Return partitions that have not reached their end."""
        assert self._ends is not None
        return [number for number in self._following if self._at.get(number, 0) < self._ends.get(number, 0)]

    def _assign(self, start: str) -> None:
        """Follow every partition there is; a new one begins at its earliest offset."""
        from confluent_kafka import TopicPartition

        self._listed_s = time.monotonic()
        there = partitions(self._consumer, self._source)
        if self._ends is not None:
            there = [number for number in there if number in self._ends]
        new = [number for number in there if number not in self._following]
        for number in new:
            low, high = watermarks(self._consumer, self._source, number)
            if number not in self._at:
                self._at[number] = self._begin(number, start, low, high)
            elif self._at[number] < low:
                raise self._lost(number, f"its earliest offset is {low} now")
            elif self._at[number] > high:
                raise self._lost(number, f"it ends at {high}: another topic of that name")
        if new:
            self._following |= set(new)
            self._consumer.assign(
                [TopicPartition(self._source.topic, number, self._at[number]) for number in sorted(self._following)]
            )

    def _begin(self, number: int, start: str, low: int, high: int) -> int:
        from confluent_kafka import TopicPartition

        if start in ("earliest", "latest"):
            return low if start == "earliest" else high
        if start.isdigit():
            return min(max(int(start), low), high)
        from gristmill.connect.stream_start import moment_us

        place = TopicPartition(self._source.topic, number, moment_us(start) // 1000)
        found = self._consumer.offsets_for_times([place], timeout=_TIMEOUT_S)[0].offset
        return found if found >= 0 else high

    def _lost(self, number: int, why: str) -> DataError:
        return DataError(
            f"messages were lost before they were read: {why}, and the next one is {self._at.get(number)}",
            code="GM-D132",
            where=f"{self._source.topic}/{number}",
            hint="lengthen the topic's retention; `gristmill explain GM-D132` says what can be done now",
        )


class KafkaWriter:
    """Produces messages with an idempotent producer and waits for every acknowledgement."""

    def __init__(self, source: KafkaSource) -> None:
        from confluent_kafka import Producer

        self._source = source
        config = {"enable.idempotence": True, "acks": "all", "linger.ms": 5, **source.settings()}
        self._producer = Producer(config, logger=logging.getLogger("gristmill.kafka"))

    def send(self, batch: str, messages: Sequence[Outgoing]) -> None:
        """Produce a message per change: its key, the row as JSON (a tombstone for a delete), and headers."""
        failed: list[Any] = []

        def reported(error: Any, message: Any) -> None:
            if error is not None:
                failed.append(error)

        for message in messages:
            headers = {"id": message.id, "op": message.op, "table": message.table, "commit": message.commit}
            value = None if message.op == "delete" else as_json(message.row)
            while True:
                try:
                    self._producer.produce(
                        self._source.topic, value, as_json(message.key), headers=headers, on_delivery=reported
                    )
                    break
                except BufferError:
                    self._producer.poll(0.1)
        left = self._producer.flush(_TIMEOUT_S)
        if failed or left:
            raise EngineError(
                f"the sink did not take {len(failed) + left} messages" + (f": {failed[0].str()}" if failed else ""),
                code="GM-E051",
                where=self._source.topic,
                retryable=True,
            )

    def close(self) -> None:
        """Give up what was not sent."""
        self._producer.purge()
        self._producer.flush(1.0)


def open_consumer(source: KafkaSource) -> Consumer:
    """Return a consumer that stores no offsets anywhere. Raises UsageError."""
    try:
        from confluent_kafka import Consumer, KafkaException
    except ImportError as error:
        raise UsageError("Kafka wants the package confluent-kafka", hint="pip install 'gristmill[stream]'") from error
    fixed = {
        "group.id": f"gristmill-{uuid.uuid4().hex[:12]}",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
    }
    try:
        return Consumer({**source.settings(), **fixed}, logger=logging.getLogger("gristmill.kafka"))
    except KafkaException as error:
        raise UsageError(f"Kafka's settings cannot be: {error.args[0].str()}", code="GM-U135") from error


def partitions(consumer: Consumer, source: KafkaSource) -> list[int]:
    """Return the numbers of a topic's partitions. Raises EngineError."""
    from confluent_kafka import KafkaException

    try:
        topic = consumer.list_topics(source.topic, timeout=_TIMEOUT_S).topics[source.topic]
    except KafkaException as error:
        raise unanswered(source, error.args[0]) from error
    if topic.error is not None:
        raise unanswered(source, topic.error)
    return sorted(topic.partitions)


def watermarks(consumer: Consumer, source: KafkaSource, number: int) -> tuple[int, int]:
    """Return the earliest and the next offset of a partition. Raises EngineError."""
    from confluent_kafka import KafkaException, TopicPartition

    try:
        found = consumer.get_watermark_offsets(TopicPartition(source.topic, number), timeout=_TIMEOUT_S)
    except KafkaException as error:
        raise unanswered(source, error.args[0]) from error
    if found is None:
        raise EngineError("Kafka does not answer", code="GM-E050", where=source.brokers, retryable=True)
    return int(found[0]), int(found[1])


def unanswered(source: KafkaSource, error: Any, *, retryable: bool = True) -> EngineError:
    """Return the error that says what Kafka answered."""
    return EngineError(
        f"Kafka does not answer: {error.str()}",
        code="GM-E050",
        where=f"{source.brokers} {source.topic}",
        hint="are the brokers running, and does the topic exist?",
        retryable=retryable and error.name() not in _FATAL,
    )


def kafka(
    brokers: str,
    topic: str,
    *,
    value: Literal["json", "avro", "protobuf"] = "json",
    key: str | Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    registry: str | None = None,
    schema: str | None = None,
    message: str | None = None,
    options: Mapping[str, str] | None = None,
) -> KafkaSource:
    """Return a Kafka topic as a source, or as the place that a sink writes to.

    Args:
        brokers: ``host:port``, several with commas.
        topic: its name.
        value: how values are written.
        key: columns that a message's key fills: a JSON object with these names, or for one column a bare value. A
            message without a value then says that the key is gone.
        types: types by column; the others are those that the first 1,000 messages fit.
        registry: URL of a schema registry, for values that name their schema by its id.
        schema: for values without a registry: the path of an Avro schema, or of a Protobuf descriptor set.
        message: for Protobuf without a registry: the full name of the message.
        options: settings of librdkafka, such as ``{"security.protocol": "SASL_SSL", "sasl.password": "env:PW"}``.

    Raises:
        UsageError: an argument cannot be.

    >>> kafka("localhost:9092", "orders", key="id").describe()["topic"]
    'orders'
    """
    if not brokers or not topic:
        raise UsageError("Kafka needs brokers and a topic")
    for name, text in (options or {}).items():
        if "password" in name and not text.startswith("env:"):
            raise UsageError(f"{name} is a secret", code="GM-U134", hint=f'options={{"{name}": "env:NAME"}}')
    return KafkaSource(
        brokers=brokers,
        topic=topic,
        wire=Wire(format=value, registry=registry, schema=schema, message=message).checked(),
        key=(key,) if isinstance(key, str) else tuple(key),
        types=check_types(types),
        options=dict(options or {}),
    )
