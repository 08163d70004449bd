"""Spans: few, whatever the number and the order of the parts that they hold."""

import random

import pytest

from gristmill.errors import UsageError
from gristmill.model.spans import Span, merged, missing, parsed, shown, to_sql


def test_parts_in_any_order_become_few_spans() -> None:
    parts = list(range(0, 1000))
    random.Random(1).shuffle(parts)
    done: tuple[Span, ...] = ()
    for start in range(0, 1000, 100):
        done = merged([*done, *(Span(i, i + 1) for i in parts[start : start + 100])])
    assert done == (Span(0, 1000),)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_missing_is_what_is_not_there(seed: int) -> None:
    rng = random.Random(seed)
    spans = [Span(a, a + rng.randint(0, 6)) for a in (rng.randint(0, 40) for _ in range(rng.randint(0, 8)))]
    spans += rng.sample([Span(None, 5), Span(35, None), Span()], rng.randint(0, 1))
    done = merged(spans)
    wanted = Span(rng.choice([None, 3, 10]), rng.choice([None, 12, 30]))

    def holds(some, value: int) -> bool:  # type: ignore[no-untyped-def]
        return any((s.low is None or s.low <= value) and (s.high is None or value < s.high) for s in some)

    left = missing(wanted, done)
    for value in range(-2, 50):
        assert holds(done, value) == holds(spans, value)
        assert holds(left, value) == (holds([wanted], value) and not holds(done, value))
    assert list(left) == list(merged(left))


def test_bounds_read_back_as_written() -> None:
    for text, kind in (("2026-01-31", "date"), ("2026-01-31T12:00:01", "timestamp"), ("-7", "long"), ("a'b", "string")):
        assert shown(parsed(text, kind), kind) == text
    assert to_sql("c", Span(None, "a'b"), "string") == "(c IS NULL OR (c < 'a''b'))"
    with pytest.raises(UsageError, match="is not a date"):
        parsed("31.1.2026", "date")
    with pytest.raises(UsageError, match="has no ranges"):
        parsed("1.5", "double")
