"""Units and their rows where branches merge, and where commits are reverted, restored and reverted again."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.errors import Conflict
from gristmill.model.predicates import Compare
from gristmill.model.units import Ledger, Unit
from gristmill.store import Store

RAW = pa.schema([("a", pa.int64()), ("_origin_unit", pa.int64())])
ASIDE = pa.schema([pa.field("id", pa.string(), False), ("unit_number", pa.int64()), ("run", pa.string())])


@pytest.fixture
def landing(store: Store) -> Store:
    with store.begin("main") as tx:
        tx.create_table("raw", RAW)
        tx.create_table("_quarantine.raw", ASIDE, key="id")
    store.create_branch("side")
    return store


def ledger(accepted: int, quarantined: int = 0, dropped: int = 0) -> Ledger:
    return Ledger(
        delivered=accepted + quarantined + dropped, accepted=accepted, quarantined=quarantined, dropped=dropped
    )


def land(
    store: Store, branch: str, number: int, *rows: int, aside: str = "", digest: str = "d", name: str = "u"
) -> str:
    """Land a unit with these rows and one row set aside, in place of what it had before."""
    with store.begin(branch, message=f"land {name}") as tx:
        tx.delete("raw", Compare("_origin_unit", "=", number))
        tx.append("raw", pa.table({"a": rows, "_origin_unit": [number] * len(rows)}, RAW))
        if aside:
            tx.upsert("_quarantine.raw", pa.table({"id": [aside], "unit_number": [number], "run": [branch]}, ASIDE))
        unit = Unit(name=name, number=number, digest=digest, ledger=ledger(len(rows), 1 if aside else 0))
        tx.put_units("raw", {**tx.units("raw"), name: unit})
    return store.resolve(branch)


def state(store: Store, ref: str = "main") -> tuple[list[int], list[str], dict[str, tuple[str, Ledger]]]:
    view = store.snapshot(ref)
    units = {name: (unit.state, unit.ledger) for name, unit in view.units("raw").items()}
    rows = sorted(view.to_arrow("raw").column("a").to_pylist())
    return rows, sorted(view.to_arrow("_quarantine.raw").column("id").to_pylist()), units


def test_what_was_set_aside_of_a_unit_on_both_sides_is_there_once(landing: Store) -> None:
    land(landing, "main", 1, 1, 2, aside="r")
    land(landing, "side", 2, 1, 2, aside="r")
    land(landing, "side", 3, 9, name="v")
    landing.merge("side", into="main")
    assert state(landing) == ([1, 2, 9], ["r"], {"u": ("landed", ledger(2, 1)), "v": ("landed", ledger(1))})


def test_a_changed_file_landed_anew_on_both_sides_is_there_once(landing: Store) -> None:
    land(landing, "main", 1, 1, 2)
    landing.delete_branch("side")
    landing.create_branch("side")
    for branch in ("main", "side"):
        land(landing, branch, 1, 1, 2, 3, digest="changed")
    landing.merge("side", into="main")
    assert state(landing)[0] == [1, 2, 3]


def test_a_unit_whose_rows_were_changed_on_the_other_side_is_a_conflict(landing: Store) -> None:
    land(landing, "main", 1, 1, 2)
    land(landing, "side", 2, 1, 2)
    landing.create_branch("ours", at="main")
    with landing.begin("ours") as tx:
        tx.delete("raw", Compare("a", "=", 2))
    landing.merge("side", into="ours")
    assert state(landing, "ours")[0] == [1]
    with landing.begin("side") as tx:
        tx.delete("raw", Compare("a", "=", 2))
    head = landing.resolve("main")
    with pytest.raises(Conflict, match="changed since") as error:
        landing.merge("side", into="main")
    assert error.value.examples == ("raw/u",)
    assert landing.resolve("main") == head
    with landing.begin("main") as tx:
        tx.delete("raw", Compare("a", "=", 2))
    landing.merge("side", into="main")
    assert state(landing)[0] == [1]


def decide(store: Store, branch: str, row: str) -> None:
    """Drop a row that was set aside."""
    with store.begin(branch) as tx:
        tx.delete("_quarantine.raw", keys=pa.table({"id": [row]}))
        unit = tx.units("raw")["u"]
        was = unit.ledger
        counts = ledger(was.accepted, was.quarantined - 1, was.dropped + 1)
        tx.put_units("raw", {"u": Unit(name="u", number=unit.number, digest="d", ledger=counts)})


def test_decisions_on_both_sides_add_up(landing: Store) -> None:
    with landing.begin("main") as tx:
        tx.append("_quarantine.raw", pa.table({"id": ["r", "s", "t"], "unit_number": [1] * 3}))
        tx.put_units("raw", {"u": Unit(name="u", number=1, digest="d", ledger=ledger(0, 3))})
    landing.delete_branch("side")
    landing.create_branch("side")
    decide(landing, "main", "r")
    decide(landing, "side", "s")
    landing.merge("side", into="main")
    assert state(landing) == ([], ["t"], {"u": ("landed", ledger(0, 1, 2))})
    landing.merge("main", into="side")
    assert state(landing, "side") == state(landing)


def test_decisions_on_a_unit_that_only_was_landed_on_both_sides_are_a_conflict(landing: Store) -> None:
    land(landing, "main", 1, 1, aside="r")
    land(landing, "side", 2, 1, aside="r")
    decide(landing, "side", "r")
    with pytest.raises(Conflict, match="changed since"):
        landing.merge("side", into="main")


def test_a_revert_on_one_side_and_a_decision_on_the_other_are_a_conflict(landing: Store) -> None:
    land(landing, "main", 1, 1, aside="r")
    landing.delete_branch("side")
    landing.create_branch("side")
    decide(landing, "side", "r")
    landing.revert("main", on="main")
    with pytest.raises(Conflict):
        landing.merge("side", into="main")


def test_a_unit_whose_rows_come_back_is_landed_again(landing: Store) -> None:
    landed = land(landing, "main", 1, 1, 2, aside="r")
    known = state(landing)
    landing.revert(landed, on="main")
    assert state(landing) == ([], [], {"u": ("held", ledger(2, 1))})
    landing.revert("main", on="main")
    assert state(landing) == known
    landing.restore(f"{landed}~1", on="main")
    assert state(landing)[2]["u"][0] == "held"
    landing.restore(landed, on="main")
    assert state(landing) == known


def test_undoing_a_changed_file_holds_it_and_undoing_that_lands_it(landing: Store) -> None:
    land(landing, "main", 1, 1, 2)
    changed = land(landing, "main", 1, 1, 5, 6, digest="changed")
    landing.revert(changed, on="main")
    unit = landing.snapshot("main").units("raw")["u"]
    assert (unit.state, unit.digest, unit.ledger) == ("held", "changed", ledger(2))
    assert state(landing)[0] == [1, 2]
    landing.revert("main", on="main")
    assert state(landing) == ([1, 5, 6], [], {"u": ("landed", ledger(3))})


def test_undoing_a_landing_leaves_what_was_landed_since(landing: Store) -> None:
    first = land(landing, "main", 1, 1, 2)
    land(landing, "main", 1, 1, 5, 6, digest="changed")
    landing.revert(first, on="main")
    assert state(landing) == ([1, 5, 6], [], {"u": ("landed", ledger(3))})


def test_undoing_a_decision_takes_its_count_back(landing: Store) -> None:
    with landing.begin("main") as tx:
        tx.append("_quarantine.raw", pa.table({"id": ["r", "s"], "unit_number": [1] * 2}))
        tx.put_units("raw", {"u": Unit(name="u", number=1, digest="d", ledger=ledger(0, 2))})
    decide(landing, "main", "r")
    first = landing.resolve("main")
    decide(landing, "main", "s")
    landing.revert(first, on="main")
    assert state(landing) == ([], ["r"], {"u": ("landed", ledger(0, 1, 1))})


def test_a_released_unit_that_was_landed_does_not_become_released_again(landing: Store) -> None:
    land(landing, "main", 1, 1, 2)
    landing.revert("main", on="main")
    with landing.begin("main") as tx:
        unit = tx.units("raw")["u"]
        tx.put_units("raw", {"u": Unit(name="u", number=1, digest="d", state="released", ledger=unit.ledger)})
    land(landing, "main", 1, 1, 2)
    landing.revert("main", on="main")
    assert state(landing)[2]["u"][0] == "held"


def test_a_restored_table_takes_along_what_was_set_aside_of_it(landing: Store) -> None:
    before = land(landing, "main", 1, 1, 2, aside="r")
    known = state(landing)
    decide(landing, "main", "r")
    with landing.begin("main") as tx:
        tx.create_table("other", RAW)
    landing.restore(before, on="main", tables=["raw"])
    assert state(landing) == known
    assert "other" in landing.snapshot("main")


def test_a_table_beside_another_one_that_is_made_on_both_sides_is_one(landing: Store) -> None:
    for number, branch in enumerate(("main", "side")):
        with landing.begin(branch) as tx:
            tx.create_table("_deleted.raw", ASIDE, key="id", beside="raw")
            tx.append("_deleted.raw", pa.table({"id": [branch], "unit_number": [number]}))
    landing.merge("side", into="main")
    found = landing.snapshot("main").to_arrow("_deleted.raw", row_ids=True)
    assert sorted(found["id"].to_pylist()) == ["main", "side"]
    assert len(set(found["_row_id"].to_pylist())) == 2
    landing.create_branch("third", at="main")
    for branch in ("main", "third"):
        with landing.begin(branch) as tx:
            tx.create_table("_other.raw", ASIDE, key="id", beside="raw")
            tx.append("_other.raw", pa.table({"id": ["same"]}))
    with pytest.raises(Conflict):
        landing.merge("third", into="main")
