"""Replays: equal where they should be, and the first difference where not."""

from __future__ import annotations

import pytest

from gristmill.errors import UsageError


@pytest.mark.parametrize(
    "table",
    [
        "clean.orders",
        "marts.customers",
        "marts.shares",
        "marts.labels",
        "marts.days",
        "marts.ranked",
        "marts.top",
        "marts.either",
        "marts.who",
        "marts.nth",
        "marts.later",
        "predictions.order",
    ],
)
def test_every_row_comes_out_again(made, table: str) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    for row in project.store.snapshot("main").to_arrow(table, row_ids=True).to_pylist():
        result = project.replay(project.trace(table, row=row["_row_id"]))
        assert result.equal, (row, result)


def test_only_the_traced_rows_are_used(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    result = project.replay(project.trace("clean.orders", key="3"))
    assert result.sources == {"raw.orders": 1, "raw.rates": 1}
    assert result.notes == ()


def test_a_changed_definition_is_said_and_its_difference_shown(made) -> None:  # type: ignore[no-untyped-def]
    found = made.load().trace("marts.customers", key="ana")
    text = (made.root / "pipeline.py").read_text()
    made.define(text.replace("total=orders.value.sum()", "total=orders.value.sum() + 1"))
    result = made.load().replay(found)
    assert not result.equal
    assert result.difference == "customer=ana: total is stored as 11.25 and came out as 12.25"
    assert result.notes == ("marts.customers: definition changed since",)


def test_a_source_is_not_replayed(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    with pytest.raises(UsageError) as caught:
        project.replay(project.trace("raw.orders", key="1"))
    assert caught.value.code == "GM-L004"
