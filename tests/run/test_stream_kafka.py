"""Kafka, against librdkafka's mock cluster: a double that speaks the protocol in this process, not a broker.

It has no retention, no restarts and no aborted transactions; what a real broker does there is not shown here.
"""

import base64
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import DataError, UsageError
from gristmill.model.units import Ledger
from tests.run.streams import digests, event, project
from tests.run.test_stream import total, values

TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
Produce = Callable[..., None]


@pytest.fixture(scope="module")
def mock() -> tuple[str, Produce]:
    from confluent_kafka import Producer

    producer = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    broker = next(iter(producer.list_topics(timeout=10).brokers.values()))

    def produce(topic: str, *messages: tuple[bytes | None, bytes | None]) -> None:
        for key, value in messages:
            producer.produce(topic, value, key=key)
        assert producer.flush(10) == 0

    return f"{broker.host}:{broker.port}", produce


@pytest.fixture
def topic() -> str:
    return f"t{uuid.uuid4().hex[:8]}"


def encoded(*events: dict[str, object]) -> list[tuple[bytes | None, bytes | None]]:
    return [(str(found["k"]).encode(), json.dumps(found).encode()) for found in events]


def test_any_cuts_give_what_a_batch_gives(tmp_path: Path, mock: tuple[str, Produce], topic: str) -> None:
    brokers, produce = mock
    source = gm.kafka(brokers, topic, types=TYPES)
    made, batch = project(tmp_path / "stream", source), project(tmp_path / "batch", source)
    for start in range(0, 90, 30):
        produce(topic, *encoded(*(event(i) for i in range(start, start + 30))))
        made.stream(until_end=True, max_rows=17)
    produce(topic, (b"a", b"poison"))
    made.stream(until_end=True)
    assert batch.run().ok
    assert digests(made) == digests(batch)
    assert total(made) == Ledger(delivered=91, accepted=90, quarantined=1)
    (aside,) = made.store.snapshot("main").to_arrow("_quarantine.raw.ev").to_pylist()
    assert aside["raw"] == "poison"
    assert aside["unit"].startswith(f"{topic}/")
    assert made.plan().plan.empty


def test_tombstones_delete_keys(tmp_path: Path, mock: tuple[str, Produce], topic: str) -> None:
    brokers, produce = mock
    made = gm.Project(tmp_path)
    source = gm.kafka(brokers, topic, key="id", types={"id": "int64", "v": "string"})
    made.source("raw.t", source, changes=gm.changes())
    produce(topic, (b"1", b'{"v": "a"}'), (b"2", b'{"v": "b"}'))
    made.stream(until_end=True)
    produce(topic, (b"1", None), (b"2", b'{"v": "c"}'), (None, None))
    made.stream(until_end=True)
    assert made.store.snapshot("main").to_arrow("raw.t").to_pylist() == [{"id": 2, "v": "c"}]
    assert total(made, "raw.t") == Ledger(delivered=5, accepted=4, quarantined=1)


def test_a_position_that_the_topic_does_not_have_stops(tmp_path: Path, mock: tuple[str, Produce], topic: str) -> None:
    brokers, produce = mock
    made = project(tmp_path, gm.kafka(brokers, topic, types=TYPES))
    produce(topic, *encoded(event(1), event(2), event(3)))
    made.stream(until_end=True)
    other = project(tmp_path, gm.kafka(brokers, f"{topic}x", types=TYPES))
    produce(f"{topic}x", *encoded(event(1)))
    with other.store.begin("main") as tx:
        units = {f"{topic}x/{name[-1]}": unit for name, unit in tx.units("raw.ev").items()}
        tx.put_units("raw.ev", units)
    with pytest.raises(DataError, match="another topic") as refused:
        other.stream(latency_s=0.01)
    assert refused.value.code == "GM-D132"


AVRO = {
    "type": "record",
    "name": "E",
    "fields": [
        {"name": "n", "type": "long"},
        {"name": "k", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}},
    ],
}


@pytest.fixture
def registry() -> Iterator[tuple[str, dict[str, str]]]:
    schemas: dict[str, str] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = schemas.get(self.path)
            self.send_response(200 if known is not None else 404)
            self.end_headers()
            self.wfile.write(json.dumps({"schema": known} if known is not None else {"error_code": 40403}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", schemas
    server.shutdown()
    server.server_close()


def test_avro_with_a_registry(
    tmp_path: Path, mock: tuple[str, Produce], topic: str, registry: tuple[str, dict[str, str]]
) -> None:
    import datetime as dt
    from decimal import Decimal

    from fastavro import parse_schema, schemaless_writer

    brokers, produce = mock
    url, schemas = registry
    schemas["/schemas/ids/7"] = json.dumps(AVRO)
    out = io.BytesIO()
    moment = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    row = {"n": 1, "k": "a", "at": moment, "price": Decimal("1.25")}
    schemaless_writer(out, parse_schema(AVRO), row)
    framed = b"\0" + (7).to_bytes(4, "big") + out.getvalue()
    produce(topic, (b"a", framed), (b"a", framed[:-1]), (b"a", b"\0\0\0\0\x08x"), (b"a", b"{}"))
    made = gm.Project(tmp_path)
    made.source("raw.t", gm.kafka(brokers, topic, value="avro", registry=url))
    made.stream(until_end=True)
    assert made.store.snapshot("main").to_arrow("raw.t").to_pylist() == [row]
    assert total(made, "raw.t") == Ledger(delivered=4, accepted=1, quarantined=3)


def test_protobuf_with_a_registry_and_with_a_descriptor_set(
    tmp_path: Path, mock: tuple[str, Produce], topic: str, registry: tuple[str, dict[str, str]]
) -> None:
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="shop.proto", package="shop", syntax="proto3")
    kind = file.message_type.add(name="Order")
    field = descriptor_pb2.FieldDescriptorProto
    kind.field.add(name="id", number=1, type=field.TYPE_INT64, label=field.LABEL_OPTIONAL)
    kind.field.add(name="name", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    kind.field.add(name="tags", number=3, type=field.TYPE_STRING, label=field.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    order = message_factory.GetMessageClass(pool.FindMessageTypeByName("shop.Order"))
    raw = order(id=2**40, name="ana", tags=["x", "y"]).SerializeToString()
    brokers, produce = mock
    url, schemas = registry
    schemas["/schemas/ids/9?format=serialized"] = base64.b64encode(file.SerializeToString()).decode()
    produce(topic, (b"a", b"\0" + (9).to_bytes(4, "big") + b"\0" + raw), (b"a", b"\xff"))
    made = gm.Project(tmp_path)
    made.source("raw.t", gm.kafka(brokers, topic, value="protobuf", registry=url))
    made.stream(until_end=True)
    wanted = [{"id": 2**40, "name": "ana", "tags": ["x", "y"]}]
    assert made.store.snapshot("main").to_arrow("raw.t").to_pylist() == wanted
    (tmp_path / "shop.binpb").write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    produce(f"{topic}b", (b"a", raw))
    plain = gm.kafka(brokers, f"{topic}b", value="protobuf", schema="shop.binpb", message="shop.Order")
    made.source("raw.u", plain)
    made.stream(until_end=True)
    assert made.store.snapshot("main").to_arrow("raw.u").to_pylist() == wanted


def test_changes_go_out_with_keys_tombstones_and_ids(tmp_path: Path, mock: tuple[str, Produce], topic: str) -> None:
    brokers, produce = mock
    made = gm.Project(tmp_path)
    source = gm.kafka(brokers, topic, key="id", types={"id": "int64", "v": "string"})
    made.source("raw.t", source, changes=gm.changes())
    made.sink("out", reads="raw.t", to=gm.kafka(brokers, f"{topic}out"))
    produce(topic, (b"1", b'{"v": "a"}'))
    made.stream(until_end=True)
    produce(topic, (b"1", None))
    made.stream(until_end=True)
    back = gm.Project(tmp_path / "back")
    back.source("raw.b", gm.kafka(brokers, f"{topic}out", key="id"), changes=gm.changes())
    back.stream(until_end=True)
    assert back.store.snapshot("main").table("raw.b").row_count == 0
    assert total(back, "raw.b").accepted + total(back, "raw.b").duplicate == 2


def test_latest_and_what_cannot_be(tmp_path: Path, mock: tuple[str, Produce], topic: str) -> None:
    brokers, produce = mock
    produce(topic, *encoded(event(1)))
    made = project(tmp_path, gm.kafka(brokers, topic, types=TYPES))
    assert made.stream(until_end=True, start="latest") == 0
    with pytest.raises(UsageError):
        gm.kafka(brokers, topic, value="avro")
    with pytest.raises(UsageError, match="secret"):
        gm.kafka(brokers, topic, options={"sasl.password": "hunter2"})
    assert values(made, "raw.ev", "n") == [] if "raw.ev" in made.store.snapshot("main") else True
