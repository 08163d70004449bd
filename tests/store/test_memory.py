"""A stream that is larger than what a write may hold, written plain, sorted, divided and with a key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROWS = 20_000
BATCHES = 100
LIMIT_MIB = 96
"""What the engine may hold; the stream is larger, and larger than what is divided or sorted in memory."""

SCRIPT = """
import resource, sys
import numpy as np
import pyarrow as pa
from gristmill.store import compute, open_store

folder, rows, batches, limit, mode = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
schema = pa.schema([("id", pa.int64()), ("a", pa.float64()), ("b", pa.float64()), ("text", pa.string())])

def stream(count):
    rng = np.random.default_rng(1)
    text = pa.array([f"{i * 7919 % 1000003:07d} and some more words that take room" for i in range(rows)])
    for number in range(count):
        ids = np.arange(number * rows, (number + 1) * rows)
        yield pa.record_batch([pa.array(ids), pa.array(rng.random(rows)), pa.array(rng.random(rows)), text], schema)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "linux" else 1 << 20)

layouts = {
    "plain": {},
    "sorted": {"cluster_by": "text"},
    "divided": {"partition_by": ["bucket(16, id)"], "cluster_by": "a"},
    "keyed": {"key": "id"},
}
compute.limit_memory(limit << 20)
with open_store(folder, create=True, durability="none") as store:
    with store.begin("main") as tx:
        tx.create_table("t", schema, **layouts[mode])
        tx.append("t", pa.RecordBatchReader.from_batches(schema, stream(1)))
    compute.connection().sql("select max(range) from range(1000)").fetchall()
    before = peak()
    with store.begin("main") as tx:
        tx.create_table("u", schema, **layouts[mode])
        tx.append("u", pa.RecordBatchReader.from_batches(schema, stream(batches)))
    print(peak() - before, store.snapshot("main").table("u").row_count)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["plain", "sorted", "divided", "keyed"])
def test_a_stream_is_written_in_bounded_memory(tmp_path: Path, mode: str) -> None:
    """Twice what the engine may hold, and what is gathered for a row group: none of it grows with the stream."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "s"), str(ROWS), str(BATCHES), str(LIMIT_MIB), mode],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    grown_mib, rows = map(int, done.stdout.split())
    assert rows == ROWS * BATCHES
    assert grown_mib < 2 * LIMIT_MIB + 64, f"{grown_mib} MiB more"
