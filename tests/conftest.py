"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Return ``shared_data(name)``: a folder of shared test data, or a skip that says what is missing."""

    def folder(name: str) -> Path:
        home = os.environ.get("GRISTMILL_SHARED_DATA")
        base = Path(home) if home else Path(__file__).resolve().parents[2] / "shared" / "data"
        path = base / name
        if not path.exists():
            pytest.skip(f"no shared data at {path}: set GRISTMILL_SHARED_DATA to the folder that holds {name}")
        return path

    return folder
