"""What was computed once is taken over, on any branch, and only where it is just that."""

import gristmill as gm
from gristmill.run.checking import Acceptance


def how(project: gm.Project, on: str) -> dict[str, tuple[str, str]]:
    record = project.run(on=on).record
    assert record.status == "published", record.message
    return {stage.name: (stage.mode, stage.reason) for stage in record.stages}


def state(project: gm.Project, name: str, ref: str) -> str:
    return project.store.snapshot(ref).table(name).id


def test_what_another_branch_computed_is_taken_over_with_its_partial_results(shop) -> None:  # type: ignore[no-untyped-def]
    assert shop.project().run().ok
    dev = how(shop.project(floor=6), "dev")
    assert (dev["clean.orders"][0], dev["marts.customers"][0]) == ("full", "delta")
    step = {step.name: step for step in shop.project(floor=6).plan(on="main").steps}["clean.orders"]
    assert step.reason == "definition changed; run/2 computed the same, which is taken over"
    main = how(shop.project(floor=6), "main")
    assert main["clean.orders"] == ("reuse", "the same was computed by run/2")
    assert main["marts.customers"] == ("reuse", "the same was computed by run/2")
    for name in ("clean.orders", "marts.customers"):
        assert state(shop.project(), name, "main") == state(shop.project(), name, "dev")
    back = how(shop.project(), "main")
    assert back["clean.orders"] == ("reuse", "the same was computed by run/1")
    shop.land("day2.csv", "id,customer,amount\n4,ana,50\n")
    after = how(shop.project(), "main")
    assert (after["clean.orders"][0], after["marts.customers"][0]) == ("delta", "delta")
    rows = shop.project().store.snapshot("main").to_arrow("marts.customers").sort_by("customer").to_pylist()
    assert rows == [{"customer": "ana", "total": 65, "n": 3}, {"customer": "bo", "total": 20, "n": 1}]


def test_a_result_that_is_not_what_its_run_left_is_computed_again(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    assert how(shop.project(floor=6), "dev")["clean.orders"][0] == "full"
    store = project.store
    kept = dict(store.records.items("memo"))
    (name,) = [key for key, run in kept.items() if key.startswith("clean.orders ") and run == b"run/2"]
    store.records.put("memo", name, b"run/1")  # holds the same table, made from something else
    made = how(shop.project(floor=6), "main")
    assert made["clean.orders"][0] == "full"
    assert store.snapshot("main").table("clean.orders").row_count == 2


def test_a_result_whose_run_is_gone_is_computed_again(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    assert how(shop.project(floor=6), "dev")["clean.orders"][0] == "full"
    for key, run in list(project.store.records.items("memo")):
        if run == b"run/2":
            project.store.records.put("memo", key, b"run/99")
    assert how(shop.project(floor=6), "main")["clean.orders"][0] == "full"


def test_what_was_accepted_on_one_branch_is_not_taken_over_by_another(shop) -> None:  # type: ignore[no-untyped-def]
    assert shop.project().run().ok

    def strict() -> gm.Project:
        project = gm.Project(shop.root)
        raw = project.source("raw.orders", gm.files("landing/*.csv"), key="id")

        @project.table("clean.orders", reads=[raw], key="id", rules=[gm.rules.between("amount", low=0, high=15)])
        def clean(orders):  # type: ignore[no-untyped-def]
            return orders

        return project

    refused = strict().run(on="dev")
    assert not refused.ok
    word = Acceptance(table="clean.orders", rule=refused.failures[0].rule.code, because="known", until="2999-01-01")
    assert strict().publish(refused.run, accept=[word]).ok
    again = strict().run(on="main")
    assert not again.ok, "nobody accepted it on main"
