"""Start-up: `import gristmill` and `gristmill --version` against bare Python, whole processes."""

from __future__ import annotations

from harness import alternate, process, report_ratio

bare = process(["-c", "pass"])

if __name__ == "__main__":
    report_ratio("import gristmill", alternate(process(["-c", "import gristmill"]), bare, rounds=15), 6)
    report_ratio("gristmill --version", alternate(process(["-m", "gristmill", "--version"]), bare, rounds=15), 6)
    report_ratio("gristmill --help", alternate(process(["-m", "gristmill", "--help"]), bare, rounds=15), 8)
