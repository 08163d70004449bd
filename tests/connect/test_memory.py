"""Reading a large file takes a small and stated amount of memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CEILING_MB = 400
"""For a file of 200 MB: interpreter, Arrow and NumPy take about 100 MB of it, blocks in flight the rest."""

READ = """
import sys
from pathlib import Path
from gristmill import connect
root = Path(sys.argv[1])
source = connect.files("big.csv")
found = source.discover(root, {})
shape = source.infer(root, found)
rows = sum(chunk.rows.num_rows for chunk in source.read(root, found[0], shape=shape, number=1))
from gristmill.run.records import peak_memory_bytes
print(rows, peak_memory_bytes() // 2**20)
"""


@pytest.mark.slow
def test_a_file_of_200_mb_is_read_in_bounded_memory(tmp_path: Path) -> None:
    line = '{0},2026-01-02 03:04:05,name {0},{0}.25,"quoted, text"\n'
    block = "".join(line.format(1_000_000 + n) for n in range(20_000))
    times = 200_000_000 // len(block) + 1
    with (tmp_path / "big.csv").open("w") as out:
        out.write("id,moment,name,amount,note\n")
        for _ in range(times):
            out.write(block)
    done = subprocess.run([sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True)
    rows, peak_mb = map(int, done.stdout.split())
    assert rows == 20_000 * times
    assert peak_mb < CEILING_MB
