"""Redis Streams, on a real server: positions of our own, trouble and recovery, entries that were lost."""

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import DataError
from gristmill.model.events import StreamWaiting
from gristmill.model.units import Ledger
from tests.redis_server import Server, redis_server
from tests.run.streams import after, digests, event, project
from tests.run.test_stream import total, values

pytestmark = pytest.mark.service
TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with redis_server() as found:
        yield found


@pytest.fixture
def name() -> str:
    return f"ev:{uuid.uuid4().hex[:8]}"


def add(server: Server, name: str, *events: dict[str, object]) -> None:
    from redis import Redis

    with Redis(port=server.port) as client:
        for found in events:
            client.xadd(name, {key: str(value) for key, value in found.items()})


def test_any_cuts_give_what_a_batch_gives(tmp_path: Path, server: Server, name: str) -> None:
    source = gm.redis_stream(server.url, [name, f"{name}:b"], types=TYPES)
    made, batch = project(tmp_path / "stream", source), project(tmp_path / "batch", source)
    for start in range(0, 90, 30):
        add(server, name, *(event(i) for i in range(start, start + 20)))
        add(server, f"{name}:b", *(event(i) for i in range(start + 20, start + 30)))
        made.stream(until_end=True, max_rows=11)
    assert batch.run().ok
    assert digests(made) == digests(batch)
    assert total(made) == Ledger(delivered=90, accepted=90)


def test_json_in_a_field_and_poison(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    made = project(tmp_path, gm.redis_stream(server.url, name, value="body", types=TYPES))
    with Redis(port=server.port) as client:
        client.xadd(name, {"body": json.dumps(event(1))})
        client.xadd(name, {"body": b"\xff\xfe"})
        client.xadd(name, {"other": "x"})
        client.xadd(name, {"body": json.dumps(event(2))})
    made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == [1, 2]
    aside = made.store.snapshot("main").to_arrow("_quarantine.raw.ev").sort_by("record").to_pylist()
    assert [row["raw"] for row in aside] == ["\\xff\\xfe", "other=x"]
    assert all(row["offset"] == row["record"] for row in aside)


def test_columns_are_found_where_none_are_declared(tmp_path: Path, server: Server, name: str) -> None:
    made = project(tmp_path, gm.redis_stream(server.url, name))
    add(server, name, event(1), event(2))
    made.stream(until_end=True)
    schema = made.store.snapshot("main").table("raw.ev").schema.to_arrow()
    assert {field.name: str(field.type) for field in schema} == {
        "n": "int64",
        "k": "string",
        "x": "int64",
        "at": "timestamp[us, tz=UTC]",
    }


def test_entries_trimmed_after_they_were_read_are_no_loss(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    made = project(tmp_path, gm.redis_stream(server.url, name, types=TYPES))
    add(server, name, *(event(i) for i in range(5)))
    made.stream(until_end=True)
    with Redis(port=server.port) as client:
        client.xtrim(name, maxlen=0, approximate=False)
    add(server, name, event(5), event(6))
    with Redis(port=server.port) as client:
        client.xtrim(name, maxlen=2, approximate=False)
    made.stream(until_end=True)
    assert values(made, "raw.ev", "n") == list(range(7))


def test_entries_trimmed_before_they_were_read_stop_the_stream(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    made = project(tmp_path, gm.redis_stream(server.url, name, types=TYPES))
    add(server, name, *(event(i) for i in range(3)))
    made.stream(until_end=True)
    add(server, name, *(event(i) for i in range(3, 10)))
    with Redis(port=server.port) as client:
        client.xtrim(name, maxlen=2, approximate=False)
    with pytest.raises(DataError, match="5 entries behind") as refused:
        made.stream(until_end=True)
    assert refused.value.code == "GM-D132"
    assert values(made, "raw.ev", "n") == [0, 1, 2]


def test_a_stream_that_is_gone_stops(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    made = project(tmp_path, gm.redis_stream(server.url, name, types=TYPES))
    add(server, name, event(1))
    made.stream(until_end=True)
    with Redis(port=server.port) as client:
        client.delete(name)
    stop, listen = after(1)
    with pytest.raises(DataError, match="the stream is gone"):
        made.stream(latency_s=0.01, stop=stop, listener=listen)


def test_from_an_id_and_from_a_moment(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    with Redis(port=server.port) as client:
        for number in range(1, 5):
            client.xadd(name, {"n": number}, id=f"{number * 1000}-0")
    for start, wanted in (("2000-0", [2, 3, 4]), ("1970-01-01T00:00:03", [3, 4])):
        made = gm.Project(tmp_path / start[:4])
        made.source("raw.ev", gm.redis_stream(server.url, name))
        made.stream(until_end=True, start=start)
        assert values(made, "raw.ev", "n") == wanted


def test_the_server_goes_and_comes_back(tmp_path: Path) -> None:
    with redis_server() as mine:
        made = project(tmp_path, gm.redis_stream(mine.url, "ev", types=TYPES))
        add(mine, "ev", event(1))
        stop, count = after(2)
        back: list[threading.Thread] = []

        def listen(found: object) -> None:
            count(found)
            if type(found).__name__ == "BatchCommitted" and not stop():
                mine.stop()
            if isinstance(found, StreamWaiting) and not back:
                back.append(threading.Thread(target=lambda: (mine.start(), add(mine, "ev", event(2)))))
                back[0].start()

        made.stream(latency_s=0.01, stop=stop, listener=listen)
        back[0].join()
        assert values(made, "raw.ev", "n") == [1, 2]
        assert total(made) == Ledger(delivered=2, accepted=2)


def test_changes_go_out_once_even_after_a_crash_between(tmp_path: Path, server: Server, name: str) -> None:
    from redis import Redis

    made = project(tmp_path, gm.redis_stream(server.url, name, types=TYPES))
    made.sink("minutes", reads="marts.minute", to=gm.redis_stream(server.url, f"{name}:out"))
    add(server, name, event(1, key="a"), event(2, key="a"))
    made.stream(until_end=True)
    add(server, name, event(3, key="a"), event(70, key="b"))
    made.stream(until_end=True)
    with Redis(port=server.port, decode_responses=True) as client:
        sent = [fields for _, fields in client.xrange(f"{name}:out")]
        assert [(json.loads(found["key"])["k"], found["op"]) for found in sent] == [
            ("a", "insert"),
            ("b", "insert"),
            ("a", "update"),
        ] or [(json.loads(found["key"])["k"], found["op"]) for found in sent] == [
            ("a", "insert"),
            ("a", "update"),
            ("b", "insert"),
        ]
        last = {found["key"]: json.loads(found["row"]) for found in sent}
        rows = made.store.snapshot("main").to_arrow("marts.minute").to_pylist()
        assert sorted(row["n"] for row in last.values()) == sorted(row["n"] for row in rows)
        pointer = json.loads(made.store.records.get("sink", "main/minutes") or b"")
        first = list(made.store.log("main", table="marts.minute"))[-1].id
        crashed = {**pointer, "done": first, "sending": pointer["done"]}
        made.store.records.put("sink", "main/minutes", json.dumps(crashed).encode())
        made.stream(until_end=True)
        again = [fields["id"] for _, fields in client.xrange(f"{name}:out")]
        assert len(set(again)) == 3
        assert len(again) == 5
