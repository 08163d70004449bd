"""Windows of a cursor, against brute force: whatever arrives within the lag is landed once, equal rows and all."""

from __future__ import annotations

import datetime as dt
import sqlite3
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import connect
from gristmill.connect.windows import before, gaps, landed_windows, without_old_sets
from gristmill.errors import UsageError
from gristmill.model.units import Unit

LAG = 3
steps = st.lists(st.lists(st.tuples(st.integers(0, LAG), st.integers(0, 1)), max_size=4), min_size=1, max_size=6)


def land(source: connect.QuerySource, root: Path, known: dict[str, Unit]) -> list[tuple[int, int]]:
    rows: list[tuple[int, int]] = []
    for found in source.discover(root, known):
        if found.status not in ("new", "changed"):
            continue
        number = max((unit.number for unit in known.values()), default=0) + 1
        shape = connect.Shape(columns=(connect.Column("c", "int64"), connect.Column("v", "int64")))
        unit = source.read(root, found, shape=shape, number=number)
        batches = [chunk.rows for chunk in unit]
        rows += [(row["c"], row["v"]) for batch in batches for row in batch.to_pylist()]
        known[found.name] = Unit(name=found.name, number=number, digest=unit.digest, detail=dict(unit.detail))
    return rows


@settings(max_examples=60, deadline=None)
@given(steps=steps, advance=st.lists(st.integers(0, 4), min_size=6, max_size=6))
def test_what_comes_within_the_lag_is_landed_once(steps: list[list[tuple[int, int]]], advance: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "a.db"
        db = sqlite3.connect(file, isolation_level=None)
        db.execute("pragma synchronous=off")
        db.execute("create table t (c integer, v integer)")
        source = connect.query("sqlite:///a.db", "select c, v from t", cursor="c", lag=LAG)
        known: dict[str, Unit] = {}
        landed: Counter[tuple[int, int]] = Counter()
        top = 0
        for step, further in zip(steps, advance, strict=False):
            top += further
            late = [(top - back, v) for back, v in step if top - back >= top - further - LAG]
            db.executemany("insert into t values (?, ?)", late)
            landed.update(land(source, Path(folder), known))
            assert landed == Counter(db.execute("select c, v from t").fetchall())
            assert land(source, Path(folder), known) == []
        db.close()


def test_a_window_between_others_that_is_gone_is_found_again() -> None:
    def unit(number: int, low: int | None, high: int) -> Unit:
        ends = {"high": str(high), "edge": str(high)} | ({} if low is None else {"low": str(low)})
        return Unit(name=f"{low}..{high}", number=number, digest="", detail={**ends, "seen": "AAAAAAAAAAAAAAAA"})

    known = {unit.name: unit for unit in (unit(1, None, 5), unit(3, 9, 12))}
    assert [found.name for found in gaps(landed_windows(known))] == ["5..9"]
    many = {u.name: u for u in (unit(n, n - 1, n) for n in range(1, 21))}
    kept = [u for u in without_old_sets(many).values() if u.detail["seen"]]
    assert [u.number for u in kept] == list(range(13, 21))


def test_looking_back_keeps_the_form_of_the_value() -> None:
    hour = dt.timedelta(hours=1)
    assert before("2026-01-01 00:30:00.5", hour) == "2025-12-31 23:30:00"
    assert before("2026-01-01T00:30:00Z", hour) == "2025-12-31T23:30:00Z"
    assert before("2026-01-01 00:30:00+00:00", hour) == "2025-12-31 23:30:00+00:00"
    assert before("2026-01-01", dt.timedelta(days=1)) == "2025-12-31"
    assert before("17", 5) == "12"
    assert before(17, 5) == 12
    with pytest.raises(UsageError):
        before("ULID01", 5)
    with pytest.raises(UsageError):
        before(17, hour)
