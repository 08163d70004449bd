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
