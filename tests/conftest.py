"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def everything_on_the_pool(patch: pytest.MonkeyPatch) -> None:
    """Compute every table on two worker processes, one file a piece, whatever its size."""
    from gristmill.engines import job
    from gristmill.run import fitting, spread

    patch.setenv("GRISTMILL_EXECUTOR", "pool")
    patch.setattr(spread, "SPREAD_ROWS", 0)
    patch.setattr(job, "PIECE_ROWS", 1)
    patch.setattr(fitting, "SMALL_ROWS", 1)


@pytest.fixture(autouse=True)
def chosen_executor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the tests on the pool where GRISTMILL_TEST_EXECUTOR=pool says so."""
    if os.environ.get("GRISTMILL_TEST_EXECUTOR") == "pool":
        everything_on_the_pool(monkeypatch)


@pytest.fixture(params=["process", "pool"])
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test in this process, and once more on the pool."""
    if request.param == "pool":
        everything_on_the_pool(monkeypatch)
    return str(request.param)


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
