"""A web hook hears of failures and of the first good run after one; its own failure never fails a run."""

import http.server
import json
import threading
from collections.abc import Iterator

import pytest

import gristmill as gm


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, object]]]]:
    heard: list[dict[str, object]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *arguments: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", heard
    server.shutdown()
    thread.join()
    server.server_close()


def test_failures_and_recoveries_are_told_once(shop, hook, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    url, heard = hook
    (shop.root / "gristmill.toml").write_text('[project]\nname = "shop"\n[notify]\nurl = "env:SHOP_HOOK"\n')
    monkeypatch.setenv("SHOP_HOOK", url)
    assert not shop.project(rules=(gm.rules.between("amount", high=15),)).run().ok
    assert shop.project().run().ok
    assert shop.project().run().ok
    shop.land("day2.csv", "id,customer,amount\n4,bo,7\n")
    assert shop.project().run().ok
    assert [(message["run"], message["status"]) for message in heard] == [("run/1", "failed"), ("run/2", "published")]
    assert heard[0]["text"] == "shop: run/1 on main failed: raw.orders: amount <= 15 (1 of 3 rows)"


def test_a_dead_hook_is_said_and_changes_nothing(shop, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    (shop.root / "gristmill.toml").write_text('[notify]\nurl = "env:SHOP_HOOK"\n')
    monkeypatch.setenv("SHOP_HOOK", "http://127.0.0.1:9/hook")
    events: list[object] = []
    result = shop.project(rules=(gm.rules.between("amount", high=15),)).run(listener=events.append)
    assert not result.ok
    assert any("could not be sent" in str(event) for event in events)
