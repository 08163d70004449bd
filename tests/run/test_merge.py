"""A merge: inputs row by row, what is computed from them again, checked, all in one commit or not at all."""

import pytest

import gristmill as gm
from gristmill.errors import Conflict


def totals(project: gm.Project, ref: str = "main") -> dict[str, int]:
    rows = project.store.snapshot(ref).to_arrow("marts.customers").to_pylist()
    return {row["customer"]: row["total"] for row in rows}


def diverged(shop) -> gm.Project:  # type: ignore[no-untyped-def]
    """Main gets a row of ana, the branch `more` one of bo; both change a group of the mart."""
    project = shop.project()
    assert project.run().ok
    shop.land("ana.csv", "id,customer,amount\n4,ana,100\n")
    assert project.run().ok
    (shop.root / "landing" / "ana.csv").unlink()
    project.store.create_branch("more", at="main~1")
    shop.land("bo.csv", "id,customer,amount\n5,bo,1000\n6,ana,10000\n")
    assert project.run(on="more").ok
    return project


def test_derived_tables_follow_their_merged_inputs_in_the_same_commit(shop) -> None:  # type: ignore[no-untyped-def]
    project = diverged(shop)
    before, other = project.store.resolve("main"), project.store.resolve("more")
    assert totals(project) == {"ana": 115, "bo": 20}
    assert totals(project, "more") == {"ana": 10015, "bo": 1020}
    assert project.merge("more").ok
    assert totals(project) == {"ana": 10115, "bo": 1020}
    head = project.store.commit_of("main")
    assert head.parents == (before, other)
    assert shop.project().plan().empty
    assert project.merge("more").record.status == "unchanged"


def test_a_merge_that_a_check_refuses_changes_nothing(shop) -> None:  # type: ignore[no-untyped-def]
    project = diverged(shop)
    before = project.store.resolve("main")
    ruled = shop.project()
    node = ruled.graph["marts.customers"]
    from dataclasses import replace

    ruled.graph._nodes["marts.customers"] = replace(node, rules=(gm.rules.between("total", high=10100),))
    result = ruled.merge("more")
    assert not result.ok
    assert project.store.resolve("main") == before
    assert [str(example) for example in result.failures[0].examples] == ["customer=ana total=10115"]


def test_a_conflict_names_the_rows_and_changes_nothing(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    project.store.create_branch("fix", at="main")
    for branch, amount in (("main", 11), ("fix", 12)):
        with project.store.begin(branch) as tx:
            import pyarrow as pa

            tx.upsert("raw.orders", pa.table({"id": [1], "customer": ["ana"], "amount": [amount]}))
    before = project.store.resolve("main")
    with pytest.raises(Conflict):
        project.merge("fix")
    assert project.store.resolve("main") == before


def ruled(shop, on_fail: str):  # type: ignore[no-untyped-def]
    return shop.project(rules=(gm.rules.between("amount", high=50, on_fail=on_fail),))


@pytest.mark.parametrize("into", ["main", "more"])
def test_rows_of_one_side_are_checked_by_the_rules_of_the_other(shop, into: str) -> None:  # type: ignore[no-untyped-def]
    """One branch lands a row of 1,000, the other learns that 50 is the most; neither has seen both."""
    project = shop.project()
    assert project.run().ok
    project.store.create_branch("more", at="main")
    strict, loose = (into, "more" if into == "main" else "main")
    assert ruled(shop, "block").run(on=strict).ok
    shop.land("bo.csv", "id,customer,amount\n5,bo,1000\n")
    assert shop.project().run(on=loose).ok
    before = project.store.resolve(into)
    result = ruled(shop, "block").merge(loose, into=into)
    assert not result.ok
    assert "amount=1000" in str(result.failures[0].examples[0])
    assert project.store.resolve(into) == before
    assert ruled(shop, "warn").merge(loose, into=into).ok
    assert totals(project, into) == {"ana": 15, "bo": 1020}


def test_both_sides_checked_by_other_rules(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    project.store.create_branch("more", at="main")
    assert ruled(shop, "warn").run().ok
    assert shop.project(rules=(gm.rules.not_null("customer"),)).run(on="more").ok
    both = shop.project(rules=(gm.rules.not_null("customer"), gm.rules.between("amount", high=15)))
    result = both.merge("more")
    assert not result.ok
    assert "amount=20" in str(result.failures[0].examples[0])


def test_what_a_side_has_checked_is_not_looked_at_again(shop) -> None:  # type: ignore[no-untyped-def]
    """Only the branch has changed the source, under the rules of now: its check stands."""
    assert ruled(shop, "block").run().ok
    project = ruled(shop, "block")
    project.store.create_branch("more", at="main")
    shop.land("bo.csv", "id,customer,amount\n5,bo,50\n")
    assert ruled(shop, "block").run(on="more").ok
    shop.land("later.csv", "id,customer,amount\n6,bo,5\n")
    result = ruled(shop, "block").merge("more")
    assert result.ok
    assert "raw.orders" not in {stage.name for stage in result.record.stages}
    assert totals(project) == {"ana": 15, "bo": 70}


def test_a_run_that_others_came_after_is_undone_and_the_next_run_follows(shop) -> None:  # type: ignore[no-untyped-def]
    project = shop.project()
    assert project.run().ok
    shop.land("bad.csv", "id,customer,amount\n4,ana,100\n")
    assert project.run().ok
    bad = project.store.resolve("main")
    shop.land("good.csv", "id,customer,amount\n5,ana,1000\n6,cy,1\n")
    assert project.run().ok
    assert totals(project)["ana"] == 1115
    undone = project.store.revert(bad, on="main")
    assert project.store.commit_of(undone).meta["left"] == "clean.orders, marts.customers"
    assert {row.mode for row in shop.project().plan().steps} >= {"held"}
    assert shop.project().run().ok
    assert (totals(project)["ana"], totals(project)["cy"]) == (1015, 1)
    assert shop.project().parity().ok
    project.store.revert(undone, on="main")
    assert shop.project().run().ok
    assert totals(project)["ana"] == 1115


def test_a_run_of_another_branch_is_picked_without_what_it_computed(shop) -> None:  # type: ignore[no-untyped-def]
    project = diverged(shop)
    assert totals(project) == {"ana": 115, "bo": 20}
    project.store.cherry_pick("more", on="main")
    assert totals(project) == {"ana": 115, "bo": 20}
    assert shop.project().run().ok
    assert totals(project) == {"ana": 10115, "bo": 1020}
    assert shop.project().parity().ok


def test_a_file_with_bad_rows_that_both_sides_landed_is_there_once(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("id,speed\n" + "".join(f"{n},{n}\n" for n in range(50)))

    def project() -> gm.Project:
        made = gm.Project(tmp_path)
        rule = gm.rules.between("speed", high=100, on_fail="quarantine")
        raw = made.source("raw.r", gm.files("in/*.csv"), key="id", rules=[rule])

        @made.table("marts.n", reads=[raw])
        def count(rows):  # type: ignore[no-untyped-def]
            return rows.aggregate(n=rows.id.count())

        return made

    assert project().run().ok
    project().store.create_branch("side")
    (tmp_path / "in" / "b.csv").write_text("id,speed\n" + "".join(f"{n},{n}\n" for n in range(53, 103)))
    assert project().run().ok
    lines = [f"{n},{n % 99}\n" for n in range(1000, 1050)]
    (tmp_path / "in" / "c.csv").write_text(f"id,speed\n{''.join(lines)}2000,2000\n")
    assert project().run(on="side").ok
    assert project().merge("side").ok
    view = project().store.snapshot("main")
    assert view.to_arrow("marts.n").to_pylist() == [{"n": 50 + 48 + 50}]
    assert sorted(row["id"] for row in view.to_arrow("raw.r").to_pylist()) == [
        *range(50),
        *range(53, 101),
        *range(1000, 1050),
    ]
    aside = view.to_arrow("_quarantine.raw.r")
    units = view.units("raw.r")
    assert aside.num_rows == sum(unit.ledger.quarantined for unit in units.values()) == 3
    assert set(aside["unit_number"].to_pylist()) <= {unit.number for unit in units.values()}
    assert all(unit.ledger.balanced for unit in units.values())
    assert project().plan().empty
