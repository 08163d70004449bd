"""Random definitions over random histories, through the whole system: parity holds after every run.

``bench/parity.py`` plays thousands; histories that once failed stand here by name.
"""

import pytest

from tests.conftest import everything_on_the_pool
from tests.histories import play, random_history

SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_table_is_what_a_full_run_gives(seed: int) -> None:
    play(seed, random_history(seed), follow=seed % 4 != 3)


@pytest.mark.parametrize("seed", range(100, 103))
def test_and_so_it_is_on_worker_processes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    everything_on_the_pool(monkeypatch)
    play(seed, random_history(seed), follow=seed % 2 == 0)
