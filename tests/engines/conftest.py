import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared data sets; tests that need it are skipped where it is not there."""
    places = [
        os.environ.get("GRISTMILL_SHARED_DATA"),
        *(p / "shared" / "data" for p in Path(__file__).resolve().parents),
    ]
    for place in places:
        if place and Path(place).is_dir():
            return Path(place)
    pytest.skip("no shared data: set GRISTMILL_SHARED_DATA to the folder that holds events_nycflights13/")


@pytest.fixture(scope="session")
def nycflights(shared_data: Path):
    """Flights and weather of 2013, as Arrow tables."""
    folder = shared_data / "events_nycflights13"
    return tuple(pq.read_table(folder / f"{name}.parquet") for name in ("flights", "weather"))
