"""``gristmill stream`` as people run it: the screen, JSON lines, Prometheus text, Ctrl-C, pause and resume."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

import gristmill
from gristmill.cli.streaming import screen
from gristmill.model.events import BatchCommitted, SourceFlow, StreamWaiting
from gristmill.run.streaming.metrics import Metrics, serve
from tests.cli.conftest import Type

PIPELINE = """
import gristmill as gm
project = gm.Project()
types = {"k": "string", "x": "int64", "at": "timestamp"}
one = project.source("raw.one", gm.tail("one/*.ndjson", types=types), event_time=gm.event_time("at", ahead="36500d"))
two = project.source("raw.two", gm.tail("two/*.ndjson", types=types))

@project.table("marts.one", reads=[one], key="k")
def ones(rows):
    return rows.group_by("k").agg(x=rows.x.sum())

@project.table("marts.both", reads=[one, two], key="k")
def both(a, b):
    rows = a.select("k", "x").union(b.select("k", "x"))
    return rows.group_by("k").agg(x=rows.x.sum())
"""

COMMITTED = BatchCommitted(
    on="main",
    commit="abcdef0123",
    rows=1_200,
    wall_s=0.25,
    rows_per_s=4_800.0,
    state_rows=77,
    sources=[
        SourceFlow(
            name="raw.one", partitions=2, lag=31, watermark_us=1_767_225_600_000_000, rows=9_000, late=4, quarantined=2
        )
    ],
    sent={"out": 12},
)


def row(key: str, x: int, second: int = 0) -> str:
    return json.dumps({"k": key, "x": x, "at": f"2026-01-01T00:00:{second:02}Z"}) + "\n"


@pytest.fixture
def live(type_: Type) -> Type:
    Path("pipeline.py").write_text(PIPELINE)
    for name in ("one", "two"):
        Path(name).mkdir()
        Path(name, "a.ndjson").write_text(row("a", 1) + row("b", 2))
    return type_


def test_one_screen_shows_lag_watermark_rate_late_rows_state_and_commit() -> None:
    text = screen(COMMITTED)
    for word in ("raw.one", "31", "2026-01-01 00:00:00", "4,800 rows/s", "4", "77 rows", "abcdef0", "out 12 sent"):
        assert word in text


def test_several_definitions_in_one_process_and_json_lines(live: Type) -> None:
    said = live("stream", "--until-end", "--json")
    events = [json.loads(line) for line in said.out.splitlines()]
    assert events[0]["tables"] == ["marts.one", "marts.both"]
    batches = [event for event in events if "rows_per_s" in event]
    assert sum(batch["rows"] for batch in batches) == 4
    assert {flow["name"] for flow in batches[-1]["sources"]} == {"raw.one", "raw.two"}
    assert batches[-1]["state_rows"] == 4
    assert events[-1]["reason"] == "the end is reached"


def test_a_selection_follows_only_what_it_needs(live: Type) -> None:
    live("stream", "marts.one", "--until-end")
    listed = live("show", "--json").out
    assert "marts.one" in listed
    assert "marts.both" not in listed


def test_from_latest_and_what_cannot_be(live: Type) -> None:
    assert "0 rows" in live("stream", "--until-end", "--from", "latest").err
    assert "GM-U130" in live("stream", "--until-end", "--from", "17", "--on", "other", code=2).err


def test_pause_and_resume_from_another_terminal(live: Type) -> None:
    assert "--resume" in live("stream", "--pause").err
    assert "goes on" in live("stream", "--resume").err
    assert "no stream on main was paused" in live("stream", "--resume").err


def test_ops_and_ctrl_c(live: Type) -> None:
    words = [sys.executable, "-m", "gristmill", "stream", "--ops", "0", "--json", "--latency", "0.1"]
    here = {**os.environ, "PYTHONPATH": str(Path(gristmill.__file__).parents[1])}
    process = subprocess.Popen(words, env=here, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stdout is not None
    try:
        found = re.search(r"http://127\.0\.0\.1:\d+/metrics", process.stderr.readline())
        assert found is not None
        while "rows_per_s" not in process.stdout.readline():
            assert process.poll() is None
        text = until(found[0], 'gristmill_stream_lag{source="raw.one"}')
        assert "gristmill_stream_rows_total" in text
        assert "# TYPE gristmill_stream_watermark_seconds gauge" in text
        with Path("one/a.ndjson").open("a") as file:
            file.write(row("c", 5, 9))
        while '"rows":1,' not in process.stdout.readline().replace(" ", ""):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        assert "stopping after this batch" in said
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    assert '"c"' in live("sql", "select * from marts.both", "--json").out


def until(url: str, wanted: str) -> str:
    while True:
        with urllib.request.urlopen(url, timeout=10) as answer:
            text: str = answer.read().decode()
        if wanted in text:
            return text
        time.sleep(0.02)


def test_ops_answers_on_loopback_names_only() -> None:
    metrics = Metrics()
    metrics.take(COMMITTED)
    metrics.take(StreamWaiting(name='odd"name', attempt=1, wait_s=1.0, message="gone"))
    server = serve(metrics, 0)
    try:
        place = f"http://127.0.0.1:{server.server_port}"
        with urllib.request.urlopen(f"{place}/metrics", timeout=10) as answer:
            text = answer.read().decode()
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        for line in (
            "gristmill_stream_rows_total 1200",
            'gristmill_stream_lag{source="raw.one"} 31',
            'gristmill_stream_late_rows_total{source="raw.one"} 4',
            'gristmill_stream_sent_total{sink="out"} 12',
            "gristmill_stream_waits_total 1",
            "gristmill_stream_state_rows 77",
        ):
            assert line in text
        with urllib.request.urlopen(f"{place}/healthz", timeout=10) as answer:
            assert answer.read() == b"ok\n"
        for address, headers, code in (
            (f"{place}/metrics", {"Host": "evil.example"}, 403),
            (f"{place}/else", {}, 404),
        ):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=10)
            assert refused.value.code == code
            refused.value.close()
    finally:
        server.shutdown()
        server.server_close()
