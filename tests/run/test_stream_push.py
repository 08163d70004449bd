"""Rows that others POST, and stored tables played once more."""

import json
import select
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import gristmill as gm
from gristmill.connect.push_source import PushFetcher
from gristmill.model.units import Ledger
from tests.run.streams import after, append, digests, event, lines, project
from tests.run.test_stream import total, values
from tests.services import free_port

TYPES = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}


def post(port: int, body: str, *, token: str = "sesame", **headers: str) -> tuple[int, dict[str, object]]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/", data=body.encode(), headers={"Authorization": f"Bearer {token}", **named}
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def listening(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        select.select([], [], [], 0.02)


def test_rows_are_answered_when_they_are_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUSH_TOKEN", "sesame")
    port = free_port()
    made = project(tmp_path, gm.push(port, token="env:PUSH_TOKEN", types=TYPES))
    answers: list[tuple[int, dict[str, object]]] = []
    done = threading.Event()

    def client() -> None:
        body = lines([event(1), event(2)]) + "no json\n"
        listening(port)
        answers.append(post(port, body, Gristmill_Producer="till", Gristmill_Sequence="1"))
        assert values(project(tmp_path), "raw.ev", "n") == [1, 2]
        answers.append(post(port, body, Gristmill_Producer="till", Gristmill_Sequence="1"))
        answers.append(post(port, lines([event(3)]), Gristmill_Producer="till", Gristmill_Sequence="2"))
        answers.append(post(port, lines([event(4)])))
        answers.append(post(port, lines([event(5)]), token="other"))
        answers.append(post(port, lines([event(6)]), Host="evil.example"))
        answers.append(post(port, lines([event(7)]), Gristmill_Producer="till"))
        done.set()

    thread = threading.Thread(target=client)

    def listen(found: object) -> None:
        if type(found).__name__ == "StreamStarted":
            thread.start()

    def stop() -> bool:
        return done.is_set() or (thread.ident is not None and not thread.is_alive())

    made.stream(latency_s=0.02, stop=stop, listener=listen)
    thread.join()
    codes = [code for code, _ in answers]
    assert codes == [200, 200, 200, 200, 401, 403, 400]
    assert [found.get("accepted") for _, found in answers[:4]] == [3, 0, 1, 1]
    assert values(made, "raw.ev", "n") == [1, 2, 3, 4]
    assert total(made) == Ledger(delivered=5, accepted=4, quarantined=1)


def test_a_full_queue_pushes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    from gristmill.connect.push_source import _Request

    monkeypatch.setenv("PUSH_TOKEN", "sesame")
    source = gm.push(0, token="env:PUSH_TOKEN", types={"n": "int64"}, queue_rows=3)
    fetcher = PushFetcher(source, {}, listens=False)
    assert fetcher.offer(_Request("push", None, [b"{}"] * 2, 4)) == "queued"
    assert fetcher.offer(_Request("push", None, [b"{}"] * 2, 4)) == "full"
    (part,) = fetcher.fetch(max_rows=10, max_bytes=100, timeout_s=0)
    assert len(part.messages) == 2
    assert fetcher.offer(_Request("push", None, [b"{}"] * 2, 4)) == "queued"
    fetcher.close()


def test_a_stored_table_plays_again_in_event_time_order(tmp_path: Path) -> None:
    made = project(tmp_path / "first")
    append(tmp_path / "first/in/a.ndjson", lines(event(i, at_s=(i * 37) % 100) for i in range(100)))
    assert made.run().ok
    source = gm.replay("raw.ev", event_time="at", store="../first/.gristmill")
    again = project(tmp_path / "again", source)
    again.stream(until_end=True, max_rows=13)
    assert digests(again) == digests(made)
    rows = again.store.snapshot("main").reader("raw.ev", hidden=True).read_all().sort_by("_origin_record").to_pylist()
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)
    assert total(again) == Ledger(delivered=100, accepted=100)
    paced = project(tmp_path / "paced", gm.replay("raw.ev", event_time="at", store="../first/.gristmill", speed=200))
    stop, count = after(1)
    paced.stream(latency_s=0.05, stop=stop, listener=count)
    assert 0 < total(paced).accepted <= 100
    paced.stream(until_end=True)
    assert digests(paced) == digests(made)
