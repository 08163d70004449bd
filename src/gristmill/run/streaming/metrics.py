"""A stream's figures as Prometheus text on a loopback port."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gristmill.model.events import BatchCommitted, Event, StreamWaiting

_HOSTS = ("127.0.0.1", "localhost", "[::1]")


class Metrics:
    """The last figures that events gave."""

    def __init__(self) -> None:
        self._batch: BatchCommitted | None = None
        self._at_s = 0.0
        self._batches = self._rows = self._waits = 0
        self._lock = threading.Lock()

    def take(self, event: Event) -> None:
        """Take an event into account."""
        with self._lock:
            if isinstance(event, BatchCommitted):
                self._batch, self._at_s = event, time.time()
                self._batches += 1
                self._rows += event.rows
            elif isinstance(event, StreamWaiting):
                self._waits += 1

    def text(self) -> str:
        """Return the figures in Prometheus's text format (version 0.0.4)."""
        with self._lock:
            batch, found = self._batch, _Lines()
            found.add("batches_total", "counter", "batches committed", self._batches)
            found.add("rows_total", "counter", "records committed", self._rows)
            found.add("waits_total", "counter", "times something outside did not answer", self._waits)
            if batch is None:
                return found.text()
            found.add("last_commit_seconds", "gauge", "when the last batch was committed, Unix time", self._at_s)
            found.add("batch_seconds", "gauge", "how long the last batch took", batch.wall_s)
            found.add("rows_per_second", "gauge", "rows a second, of late", batch.rows_per_s)
            found.add("state_rows", "gauge", "rows in the tables that the stream keeps", batch.state_rows)
            for flow in batch.sources:
                label = {"source": flow.name}
                if flow.lag is not None:
                    found.add("lag", "gauge", "how much waits at the source", flow.lag, label)
                if flow.watermark_us is not None:
                    words = "event time up to which rows are final"
                    found.add("watermark_seconds", "gauge", words, flow.watermark_us / 1e6, label)
                found.add("late_rows_total", "counter", "late rows", flow.late, label)
                found.add("quarantined_rows_total", "counter", "rows set aside", flow.quarantined, label)
            for name, number in batch.sent.items():
                found.add("sent_total", "counter", "messages that a sink took", number, {"sink": name})
            return found.text()


class _Lines:
    """Samples by metric, each with its help once."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}

    def add(self, name: str, kind: str, words: str, value: float, labels: dict[str, str] | None = None) -> None:
        full = f"gristmill_stream_{name}"
        lines = self._lines.setdefault(full, [f"# HELP {full} {words}", f"# TYPE {full} {kind}"])
        inside = ",".join(f'{key}="{_escaped(word)}"' for key, word in (labels or {}).items())
        lines.append(f"{full}{{{inside}}} {value}" if inside else f"{full} {value}")

    def text(self) -> str:
        return "".join(line + "\n" for lines in self._lines.values() for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def serve(metrics: Metrics, port: int) -> ThreadingHTTPServer:
    """Serve the figures at ``/metrics`` on loopback, in a thread of its own; the caller shuts it down."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer with the figures."""
            host = self.headers.get("Host", "").rpartition(":")[0] or self.headers.get("Host", "")
            if host not in _HOSTS or self.path not in ("/metrics", "/healthz"):
                self.send_error(403 if host not in _HOSTS else 404)
                return
            body = metrics.text().encode() if self.path == "/metrics" else b"ok\n"
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing for every request."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True, name="gristmill-ops").start()
    return server
