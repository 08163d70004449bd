"""Turns: whoever was stale too often writes alone until done."""

from __future__ import annotations

from pathlib import Path

import blake3


def turn_path(store: Path, branch: str) -> Path:
    """Return the lock file that whoever takes a turn on a branch holds."""
    return store / "locks" / (blake3.blake3(b"turn/" + branch.encode()).hexdigest()[:24])
