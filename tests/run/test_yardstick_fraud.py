"""Card transactions: features in one batch, by daily increments, and late and shuffled, are the same to the bit."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fraud import DAYS, by_hand, days_of, digests, disordered, fraud_project, land, replayed

Shared = Callable[[str], Path]
CUT = 12
CUSTOMERS = 150


@pytest.fixture
def days(shared_data: Shared) -> list[object]:
    return days_of(shared_data("events_fraud_simulated"), CUT, customers=CUSTOMERS)  # type: ignore[return-value]


def test_batch_increments_and_disorder_agree_and_are_right(days, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    batch = fraud_project(tmp_path / "batch")
    for number, day in enumerate(days):
        land(batch.root, number, day)
    assert batch.run().ok
    expect = digests(batch)
    snapshot = batch.store.snapshot("main")
    hand = by_hand(days)
    for row in snapshot.to_arrow("features.customer").to_pylist():
        counts, means, _, _ = hand[row["TRANSACTION_ID"]]
        assert [row[f"n_{d}d"] for d in DAYS] == counts
        assert all(math.isclose(row[f"mean_{d}d"], m, rel_tol=1e-12) for d, m in zip(DAYS, means, strict=True))
    for row in snapshot.to_arrow("features.terminal").to_pylist():
        _, _, counts, frauds = hand[row["TRANSACTION_ID"]]
        assert [row[f"n_{d}d"] for d in DAYS] == counts
        assert [row[f"frauds_{d}d"] for d in DAYS] == frauds
        assert [row[f"risk_{d}d"] for d in DAYS] == [f / n if n else 0.0 for f, n in zip(frauds, counts, strict=True)]
    for name, deliveries in (("daily", days), ("late", disordered(days, seed=7))):
        project = fraud_project(tmp_path / name, "[run]\nparity = 1.0\n")
        modes = set()
        for number, day in enumerate(deliveries):
            land(project.root, number, day)
            if number % 4 == 3 or number == 0:
                result = project.run()
                assert result.ok, result.failures
                modes |= {stage.mode for stage in result.record.stages if stage.kind == "table"}
        assert digests(project) == expect, name
        assert modes & {"delta", "touched"}, modes
    stream = replayed(tmp_path / "stream", disordered(days, seed=9))
    assert stream.stream(until_end=True, max_rows=701, latency_s=0.0) == sum(day.num_rows for day in days)
    assert digests(stream) == expect
