"""From results to lines, and from lines to results, over a project with every kind of definition."""

from __future__ import annotations

import datetime

import pytest

from gristmill.errors import NotFound, UsageError
from gristmill.lineage import Trace
from gristmill.lineage.values import Forward, Reached
from gristmill.run.witnesses import load_witnesses

LINE_1 = "landing/orders/day1.csv:2"
LINE_2 = "landing/orders/day1.csv:3"
LINE_3 = "landing/orders/day1.csv:4"
EUR = "landing/rates.csv:2"
USD = "landing/rates.csv:4"


def lines(found: Trace) -> set[str]:
    return {str(place) for source in found.sources() for place in source.places}


def link(found: Trace, table: str) -> object:
    return next(link for link in found.links if link.table == table)


def reached(found: Forward, table: str) -> Reached:
    return next(one for one in found.reached if one.table == table)


def keys(found: Reached) -> list[object]:
    assert found.sample is not None
    return sorted(row[found.key[0]] for row in found.sample.to_pylist())


@pytest.mark.parametrize(
    ("table", "key", "expected"),
    [
        ("clean.orders", "1", {LINE_1, EUR}),
        ("clean.orders", "3", {LINE_3, USD}),
        ("marts.customers", "ana", {LINE_1, LINE_3, EUR, USD}),
        ("marts.shares", "1", {LINE_1, EUR}),
        ("marts.labels", "3", {LINE_3, USD}),
        ("marts.days", "2026-01-05", {LINE_2, LINE_3, EUR, USD}),
        ("marts.either", "13", {LINE_3, USD}),
        ("marts.who", "ana", {LINE_1, LINE_3, EUR, USD}),
        ("marts.nth", "3", {LINE_3, USD}),
        ("predictions.order", "2", {LINE_2, EUR}),
    ],
)
def test_a_row_is_traced_to_its_lines(made, table: str, key: str, expected: set[str]) -> None:  # type: ignore[no-untyped-def]
    assert lines(made.load().trace(table, key=key)) == expected


def test_places_carry_the_record_as_delivered_while_the_file_is_as_it_was(made) -> None:  # type: ignore[no-untyped-def]
    (place,) = made.load().trace("raw.orders", key="2").places
    assert (place.line, place.record, place.raw) == (3, 2, "2,bo,EUR,2026-01-05,20")
    made.land("orders/day1.csv", "id,customer,currency,day,amount\n2,bo,EUR,2026-01-05,21\n")
    (place,) = made.load().trace("raw.orders", key="2").places
    assert (str(place), place.raw) == (LINE_2, None)


def test_a_key_may_be_a_value_of_its_type(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    assert project.trace("clean.orders", key=3).ids == project.trace("clean.orders", key="3").ids
    day = project.trace("marts.days", key=datetime.date(2026, 1, 5))
    assert day.ids == project.trace("marts.days", key="2026-01-05").ids


def test_competitors_and_mates_are_counted_apart(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    assert link(project.trace("clean.orders", key="3"), "raw.rates").frame == 1  # type: ignore[attr-defined]
    assert link(project.trace("marts.shares", key="1"), "clean.orders").frame == 1  # type: ignore[attr-defined]


def test_what_cannot_be_told_is_the_whole_table_with_the_reason(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    for table, words in (
        ("marts.ranked", "sees the whole table"),
        ("marts.shifted", "keys that it did not read"),
        ("marts.later", "a subquery"),
    ):
        (found,) = project.trace(table, where="true").links
        assert found.rows is None
        assert found.whole
        assert words in found.notes[0]


def test_a_prediction_names_its_model_and_what_that_was_trained_on(made) -> None:  # type: ignore[no-untyped-def]
    found = made.load().trace("predictions.order", key="1")
    (model,) = found.models
    assert (model.name, model.run, model.metrics, model.trained_on) == (
        "models.mean",
        "run/1",
        {"rows": 3.0},
        {"clean.orders": 3},
    )
    assert model.commit == found.made_at


def test_rows_are_read_as_they_were_when_the_result_was_made(made) -> None:  # type: ignore[no-untyped-def]
    before = made.load().store.resolve("main")
    made.land("orders/day2.csv", "id,customer,currency,day,amount\n5,ana,EUR,2026-01-07,100\n")
    project = made.load()
    assert project.run(["raw.orders"]).ok
    found = project.trace("marts.customers", key="ana")
    assert lines(found) == {LINE_1, LINE_3, EUR, USD}
    clean = link(found, "clean.orders").rows  # type: ignore[attr-defined]
    assert (clean.commit, clean.made_at) == (project.store.resolve("main"), before)
    assert project.replay(found).equal


def test_after_a_revert_the_rows_of_before_are_traced(made) -> None:  # type: ignore[no-untyped-def]
    made.land("orders/day2.csv", "id,customer,currency,day,amount\n5,ana,EUR,2026-01-07,100\n")
    project = made.load()
    assert project.run().ok
    assert "landing/orders/day2.csv:2" in lines(project.trace("marts.customers", key="ana"))
    project.store.revert("main", on="main")
    found = project.trace("marts.customers", key="ana")
    assert lines(found) == {LINE_1, LINE_3, EUR, USD}
    assert project.replay(found).equal


def test_a_line_is_followed_to_all_that_it_reached(made) -> None:  # type: ignore[no-untyped-def]
    found = made.load().forward("raw.orders", unit="landing/orders/day1.csv", line=2)
    assert found.reached[0].table == "clean.orders"
    assert keys(reached(found, "marts.customers")) == ["ana"]
    assert (keys(reached(found, "marts.shares")), reached(found, "marts.shares").frame) == ([1], 1)
    assert keys(reached(found, "marts.labels")) == [1]
    assert reached(found, "marts.ranked").ids == ()
    assert "sees the whole table" in reached(found, "marts.ranked").notes[0]
    assert reached(found, "models.mean").notes == ("trained on 1 of them among 3 rows of clean.orders",)
    assert keys(reached(found, "predictions.order")) == [1]
    assert reached(found, "predictions.order").notes == ("all rows, through models.mean",)


def test_a_unit_is_followed_as_a_whole_and_a_filtered_row_reaches_nothing(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    found = project.forward("raw.orders", unit="landing/orders/day1.csv")
    assert len(found.start.ids) == 4
    assert keys(reached(found, "marts.customers")) == ["ana", "bo"]
    assert project.forward("raw.orders", key="4").reached == ()


def test_forward_and_backward_agree(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    snapshot = project.store.snapshot("main")
    onward = {
        (source, row["_row_id"]): project.forward(source, row=row["_row_id"]).reached
        for source in ("raw.orders", "raw.rates")
        for row in snapshot.to_arrow(source, row_ids=True).to_pylist()
    }
    for table in ("clean.orders", "marts.customers", "marts.shares", "marts.labels", "marts.days", "predictions.order"):
        back = {
            (source.table, number, row["_row_id"])
            for row in snapshot.to_arrow(table, row_ids=True).to_pylist()
            for source in project.trace(table, row=row["_row_id"]).sources()
            for number in source.ids
        }
        on = {
            (*start, number)
            for start, found in onward.items()
            for one in found
            if one.table == table
            for number in one.ids
        }
        assert back == on, table


def test_rows_that_are_not_there_and_names_that_do_not_fit_are_refused(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    with pytest.raises(NotFound, match=r"no row of `clean\.orders`"):
        project.trace("clean.orders", key="99")
    with pytest.raises(NotFound, match=r"there is no table `clean\.order`"):
        project.trace("clean.order", key="1")
    with pytest.raises(NotFound, match="landed no unit"):
        project.forward("raw.orders", unit="landing/orders/day9.csv")
    for table, key, code in (("raw.rates", "EUR", "GM-L001"), ("raw.orders", "x", "GM-L002")):
        with pytest.raises(UsageError) as caught:
            project.trace(table, key=key)
        assert caught.value.code == code
    with pytest.raises(UsageError) as caught:
        project.forward("clean.orders", unit="landing/orders/day1.csv")
    assert caught.value.code == "GM-L003"
    with pytest.raises(UsageError) as caught:
        project.trace("raw.orders", key=(1, 2))
    assert caught.value.code == "GM-L002"


def test_a_hostile_key_is_only_a_value(made) -> None:  # type: ignore[no-untyped-def]
    for text in ("' or true --", 'ana"; drop table x', "ana\0", "\\"):
        with pytest.raises(NotFound):
            made.load().trace("marts.customers", key=text)


def test_columns_come_from_source_columns(made) -> None:  # type: ignore[no-untyped-def]
    project = made.load()
    found = project.columns("marts.customers", "total")
    assert set(found.value) == {("raw.orders", "amount"), ("raw.rates", "rate")}
    assert ("raw.orders", "customer") in found.influence
    assert project.columns("marts.days", "most").value == found.value


def test_a_result_taken_over_from_another_branch_keeps_its_lineage(made) -> None:  # type: ignore[no-untyped-def]
    made.land("orders/day2.csv", "id,customer,currency,day,amount\n5,ana,EUR,2026-01-07,100\n")
    project = made.load()
    assert project.run(on="try").ok
    assert project.run().ok
    assert "landing/orders/day2.csv:2" in lines(project.trace("marts.customers", key="ana"))
    assert load_witnesses(project.store.snapshot("main"), "marts.customers") is not None
