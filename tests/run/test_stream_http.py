"""Changes that leave over HTTP: once by their ids, through errors and crashes, with a token that is never shown."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import EngineError, UsageError
from gristmill.model.events import StreamWaiting
from tests.run.streams import append, event, lines, project


class Receiver:
    """Takes messages once by id; answers what it is told to, then 200."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.batches: list[tuple[str, str | None, list[dict[str, object]]]] = []
        self.url = ""

    def rows(self) -> dict[tuple[object, object], object]:
        seen: set[object] = set()
        held: dict[tuple[object, object], object] = {}
        for message in (found for _, _, batch in self.batches for found in batch):
            if message["id"] in seen:
                continue
            seen.add(message["id"])
            key, row = message["key"], message["row"]
            assert isinstance(key, dict)
            assert isinstance(row, dict)
            if message["op"] == "delete":
                held.pop((key["minute"], key["k"]), None)
            else:
                held[(key["minute"], key["k"])] = row["n"]
        return held


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            batch = [json.loads(line) for line in body.splitlines()]
            found.batches.append((self.headers["Idempotency-Key"], self.headers["Authorization"], batch))
            self.send_response(found.answers.pop(0) if found.answers else 200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/rows?secret=1"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


def shop(root: Path, receiver: Receiver, **more: object) -> gm.Project:
    made = project(root)
    made.sink("out", reads="marts.minute", to=gm.http(receiver.url, **more))  # type: ignore[arg-type]
    return made


def stored(made: gm.Project) -> dict[tuple[object, object], object]:
    rows = made.store.snapshot("main").to_arrow("marts.minute").to_pylist()
    return {(row["minute"].isoformat(), row["k"]): row["n"] for row in rows}


def test_every_change_arrives_once_by_its_id(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SINK_TOKEN", "not-a-real-secret")
    receiver.answers = [503, 200, 429]
    made = shop(tmp_path, receiver, token="env:SINK_TOKEN")
    append(tmp_path / "in/a.ndjson", lines(event(i, at_s=i * 3) for i in range(60)))
    waited: list[object] = []
    made.stream(until_end=True, max_rows=20, listener=waited.append)
    assert any(isinstance(found, StreamWaiting) and "503" in found.message for found in waited)
    assert not any("not-a-real-secret" in str(found) for found in waited)
    while receiver.rows() != stored(made):
        made.stream(until_end=True)
    assert {authorization for _, authorization, _ in receiver.batches} == {"Bearer not-a-real-secret"}
    assert receiver.batches[0][0] == receiver.batches[1][0]


def test_what_was_sent_and_not_noted_goes_out_again_with_the_same_ids(tmp_path: Path, receiver: Receiver) -> None:
    from gristmill.run.streaming.outbox import Outbox

    made = shop(tmp_path, receiver)
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(10)))
    real = Outbox._keep

    def crash(self: Outbox, sink: object, pointer: object) -> object:
        if not pointer.sending:  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        return real(self, sink, pointer)  # type: ignore[arg-type]

    Outbox._keep = crash  # type: ignore[method-assign,assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            made.stream(until_end=True)
    finally:
        Outbox._keep = real  # type: ignore[method-assign]
    shop(tmp_path, receiver).stream(until_end=True)
    ids = [[message["id"] for message in batch] for _, _, batch in receiver.batches]
    assert ids[0] == ids[1]
    assert receiver.rows() == stored(made)


def test_a_refusal_that_no_retry_can_help_stops_the_stream(tmp_path: Path, receiver: Receiver) -> None:
    receiver.answers = [401] * 9
    made = shop(tmp_path, receiver)
    append(tmp_path / "in/a.ndjson", lines([event(1)]))
    with pytest.raises(EngineError, match="the sink answers 401") as told:
        made.stream(until_end=True)
    assert "secret=1" not in str(told.value)
    assert made.store.snapshot("main").table("raw.ev").row_count == 1


def test_urls_and_secrets_that_cannot_be() -> None:
    for wrong in ("ftp://host/x", "host"):
        with pytest.raises(UsageError, match="no HTTP URL"):
            gm.http(wrong)
    with pytest.raises(UsageError, match="a secret is named"):
        gm.http("https://host/x", token="abc")
