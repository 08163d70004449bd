"""Runs: what is landed, computed, reused, refused, published, reverted."""

from pathlib import Path

import gristmill as gm
from gristmill.model.events import Event, StageFinished


def rows(project: gm.Project, table: str, ref: str = "main") -> list[dict[str, object]]:
    found = project.store.snapshot(ref).to_arrow(table).to_pylist()
    return sorted(found, key=lambda row: str(list(row.values())))


def modes(result: object) -> dict[str, str]:
    return {stage.name: stage.mode for stage in result.record.stages}  # type: ignore[attr-defined]


def test_a_first_run_lands_and_computes_everything_in_one_commit(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    before = project.store.resolve("main")
    result = project.run()
    assert result.ok
    assert modes(result) == {"raw.orders": "land", "clean.orders": "full", "marts.customers": "full"}
    assert rows(project, "marts.customers") == [
        {"customer": "ana", "total": 15, "n": 2},
        {"customer": "bo", "total": 20, "n": 1},
    ]
    head = project.store.commit_of("main")
    assert head.parents[0] == before
    assert head.meta["run"] == result.run == "run/1"


def test_a_second_run_has_nothing_to_do(shop) -> None:  # type: ignore[no-untyped-def]
    shop.project().run()
    project = shop.project()
    assert project.plan().empty
    result = project.run()
    assert result.ok
    assert result.record.status == "unchanged"


def test_what_a_run_would_do_is_what_it_does(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    planned = {step.name: step.reason for step in project.plan().steps}
    done = {stage.name: stage.reason for stage in project.run().record.stages}
    assert planned["raw.orders"] == done["raw.orders"]
    assert {step.mode for step in shop.project().plan().steps} == {"reuse"}


def test_a_new_unit_is_read_alone_and_a_delivery_again_changes_nothing(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    project.run()
    shop.land("day2.csv", "id,customer,amount\n4,bo,7\n")
    assert next(step.units for step in project.plan().steps) == ("landing/day2.csv",)
    project.run()
    assert rows(project, "marts.customers")[1] == {"customer": "bo", "total": 27, "n": 2}
    (shop.root / "landing" / "day2.csv").touch()
    assert project.run().record.status == "unchanged"


def test_a_changed_unit_replaces_its_rows(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    project.run()
    shop.land("day1.csv", "id,customer,amount\n1,ana,11\n9,cy,1\n")
    result = project.run()
    assert result.ok
    assert [row["id"] for row in rows(project, "raw.orders")] == [1, 9]


def test_a_changed_definition_recomputes_only_what_it_touches(shop) -> None:  # type: ignore[no-untyped-def]
    shop.project().run()
    project = shop.project(floor=6)
    plan = {step.name: (step.mode, step.reason) for step in project.plan().steps}
    assert plan["raw.orders"][0] == "reuse"
    assert plan["clean.orders"] == ("full", "definition changed")
    project.run()
    assert [row["id"] for row in rows(project, "clean.orders")] == [1, 2]


def test_an_unchanged_result_stops_the_run_below_it(shop) -> None:  # type: ignore[no-untyped-def]
    shop.project().run()
    events: list[Event] = []
    project = shop.project(floor=1)
    project.run(listener=events.append)
    finished = {event.name: event for event in events if isinstance(event, StageFinished)}
    assert not finished["clean.orders"].changed
    assert finished["marts.customers"].mode == "reuse"


def test_a_blocking_rule_keeps_the_run_aside_and_main_as_it_was(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project(rules=(gm.rules.between("amount", high=15),))
    before = project.store.resolve("main")
    result = project.run()
    assert not result.ok
    assert project.store.resolve("main") == before
    assert [str(example) for example in result.failures[0].examples] == ["id=2 amount=20  (landing/day1.csv:3)"]
    assert "raw.orders" in project.store.snapshot(result.run)


def test_a_row_that_breaks_a_row_rule_is_set_aside_with_its_line(shop) -> None:  # type: ignore[no-untyped-def]
    shop.land("day2.csv", "id,customer,amount\n" + "".join(f"{i},x,1\n" for i in range(10, 60)))
    project = shop.project(rules=(gm.rules.between("amount", high=15, on_fail="quarantine"),))
    result = project.run()
    assert result.ok
    (aside,) = rows(project, "_quarantine.raw.orders")
    assert (aside["unit"], aside["line"], aside["reasons"]) == ("landing/day1.csv", 3, ["between:amount"])
    ledger = result.record.ledgers["raw.orders"]
    assert (ledger.delivered, ledger.accepted, ledger.quarantined) == (53, 52, 1)


def test_a_mass_of_bad_rows_blocks(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project(rules=(gm.rules.between("amount", high=15, on_fail="quarantine"),))
    result = project.run()
    assert not result.ok
    assert result.failures[0].rule.kind == "max_quarantine"


def test_a_cell_that_does_not_fit_sets_its_row_aside_with_its_text(shop) -> None:  # type: ignore[no-untyped-def]
    shop.land("day1.csv", "id,customer,amount\n" + "".join(f"{i},x,1\n" for i in range(1, 60)))
    project = shop.project()
    project.run()
    shop.land("day2.csv", "id,customer,amount\n" + "".join(f"{i},x,1\n" for i in range(100, 160)) + "200,y,lots\n")
    result = project.run()
    assert result.ok
    (aside,) = rows(project, "_quarantine.raw.orders")
    assert (aside["raw"].strip(), aside["line"]) == ("200,y,lots", 62)


def test_of_two_rows_with_one_key_the_later_wins_and_both_are_accounted_for(shop) -> None:  # type: ignore[no-untyped-def]
    shop.land("day1.csv", "id,customer,amount\n1,ana,10\n1,ana,12\n")
    project = shop.project()
    result = project.run()
    assert rows(project, "raw.orders") == [{"id": 1, "customer": "ana", "amount": 12}]
    ledger = result.record.ledgers["raw.orders"]
    assert (ledger.delivered, ledger.accepted, ledger.duplicate) == (2, 1, 1)


def test_a_reverted_unit_stays_away_until_it_is_released(shop) -> None:  # type: ignore[no-untyped-def]
    from gristmill.run.landing import release

    project = shop.project()
    project.run()
    good = project.store.snapshot("main").digest("marts.customers")
    shop.land("bad.csv", "id,customer,amount\n4,bo,700\n")
    project.run()
    project.store.revert("main", on="main")
    assert project.store.snapshot("main").digest("marts.customers") == good
    result = project.run()
    assert result.record.status == "unchanged"
    assert project.plan().plan.held == ["landing/bad.csv"]
    release(project.store, "main", "raw.orders", ["landing/bad.csv"])
    project.run()
    assert rows(project, "marts.customers")[1]["total"] == 720


def test_a_run_on_a_new_branch_leaves_main_alone(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    project.run()
    main = project.store.resolve("main")
    shop.land("day2.csv", "id,customer,amount\n4,bo,7\n")
    assert project.run(on="try/it").ok
    assert project.store.resolve("main") == main
    assert len(rows(project, "raw.orders", "try/it")) == 4


def test_what_was_computed_on_a_branch_is_taken_over_on_another(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    project.run(on="one")
    result = project.run(on="two")
    assert result.ok
    assert rows(project, "marts.customers", "two") == rows(project, "marts.customers", "one")


def test_a_definition_that_fails_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "gristmill.toml").write_text("")
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "a.csv").write_text("amount\n1\n")
    (tmp_path / "pipeline.py").write_text(
        "import gristmill as gm\nproject = gm.Project()\n"
        "raw = project.source('raw.a', gm.files('landing/*.csv'))\n\n"
        "@project.table('b', reads=[raw])\ndef b(a):\n    return a.filter(a.amuont > 1)\n"
    )
    import pytest

    from gristmill.errors import DefinitionError

    with pytest.raises(DefinitionError) as caught:
        gm.Project.load(tmp_path).plan()
    assert caught.value.where == "pipeline.py:7"
    assert "`amount`" in str(caught.value)
