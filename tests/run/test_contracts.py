"""A contract at work in a project: its rules hold, a change of it is looked at, its text is in the commit."""

from __future__ import annotations

from pathlib import Path

import pytest

import gristmill as gm
from gristmill.errors import DefinitionError

CONTRACT = """apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
team:
  members:
    - {username: ana, role: owner}
schema:
  - name: clean.orders
    properties:
      - name: id
        logicalType: integer
        primaryKey: true
      - name: customer
        logicalType: string
      - name: amount
        logicalType: integer
        logicalTypeOptions:
          maximum: MAXIMUM
"""


class Orders:
    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("landing", "contracts"):
            (root / folder).mkdir()
        (root / "landing" / "a.csv").write_text("id,customer,amount\n1,ana,10\n2,bo,20\n3,ana,5\n")
        self.contract(100)

    def contract(self, maximum: int, extra: str = "") -> None:
        (self.root / "contracts" / "orders.yaml").write_text(CONTRACT.replace("MAXIMUM", str(maximum)) + extra)

    def project(self, **source: object) -> gm.Project:
        project = gm.Project(self.root)
        raw = project.source("raw.orders", gm.files("landing/a*.csv"), key="id", **source)  # type: ignore[arg-type]

        @project.table("clean.orders", reads=[raw], key="id", contract="contracts/orders.yaml")
        def clean(orders):  # type: ignore[no-untyped-def]
            return orders.select("id", "customer", "amount")

        return project


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


def modes(project: gm.Project) -> dict[str, str]:
    return {step.name: step.mode for step in project.plan().plan.steps}


def test_rules_of_a_contract_block_with_its_line_and_owner(orders: Orders) -> None:
    orders.contract(15)
    result = orders.project().run()
    assert not result.ok
    (failure,) = result.failures
    assert (failure.rule.origin, failure.rule.owner) == ("contracts/orders.yaml:20", "ana")
    assert [str(example) for example in failure.examples] == ["id=2 amount=20"]


def test_the_text_is_in_the_commit_and_an_unchanged_one_is_not_looked_at_again(orders: Orders) -> None:
    project = orders.project()
    assert project.run().ok
    assert b"maximum: 100" in (project.store.snapshot("main").document("contracts/clean.orders.yaml") or b"")
    assert project.run().record.status == "unchanged"


def test_a_changed_contract_looks_at_the_stored_rows_again_without_computing_them(orders: Orders) -> None:
    project = orders.project()
    project.run()
    orders.contract(15)
    assert modes(project) == {"raw.orders": "reuse", "clean.orders": "check"}
    assert not project.run().ok
    assert not project.check(["clean.orders"]).ok
    orders.contract(50)
    before = project.store.snapshot("main").table("clean.orders").id
    assert project.run().ok
    assert project.store.snapshot("main").table("clean.orders").id == before
    assert modes(project)["clean.orders"] == "reuse"


def test_a_changed_rule_of_a_source_sets_stored_rows_aside_and_the_ledger_follows(orders: Orders) -> None:
    orders.project().run()
    rule = gm.rules.between("amount", high=15, on_fail="quarantine")
    (orders.root / "gristmill.toml").write_text("[run]\nmax_quarantine = 0.5\n")
    project = orders.project(rules=[rule])
    assert modes(project)["raw.orders"] == "check"
    assert project.run().ok
    snapshot = project.store.snapshot("main")
    assert snapshot.table("raw.orders").row_count == 2
    (aside,) = snapshot.to_arrow("_quarantine.raw.orders").to_pylist()
    assert (aside["line"], aside["reasons"]) == (3, ["between:amount"])
    (unit,) = snapshot.units("raw.orders").values()
    assert unit.ledger.balanced
    assert (unit.ledger.accepted, unit.ledger.quarantined) == (2, 1)
    assert project.run().record.status == "unchanged"


def test_a_table_that_rules_look_into_comes_first_and_its_change_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "o.csv").write_text("id,customer\n1,ana\n2,bo\n")
    (tmp_path / "c.csv").write_text("name\nana\n")
    project = gm.Project(tmp_path)
    project.source("raw.orders", gm.files("o.csv"), rules=[gm.rules.references("customer", "customers", "name")])
    project.source("raw.customers", gm.files("c.csv"))
    result = project.run()
    assert [stage.name for stage in result.record.stages] == ["raw.customers", "raw.orders"]
    assert [str(example) for example in result.failures[0].examples] == ["customer=bo  (o.csv:3)"]
    (tmp_path / "c.csv").write_text("name\nana\nbo\n")
    assert project.run().ok
    (tmp_path / "c.csv").write_text("name\nana\n")
    assert not project.run().ok


def test_a_contract_that_is_not_there_is_named(orders: Orders) -> None:
    (orders.root / "contracts" / "orders.yaml").unlink()
    with pytest.raises(DefinitionError, match=r"contracts/orders\.yaml"):
        orders.project().plan()
