"""Rules that give a column's range and decimals let its sums count whole steps, in every way a table is made."""

from fractions import Fraction
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import DataError
from gristmill.run.checking import Acceptance

CENTS = ["0.1", "0.2", "0.3", "1000000.07", "0.6", "12.34"]


def project_of(root: Path, *rules: object) -> gm.Project:
    (root / "landing").mkdir(exist_ok=True)
    (root / "gristmill.toml").write_text("")
    project = gm.Project(root)
    raw = project.source("raw.paid", gm.files("landing/*.csv"), key="id", rules=rules)  # type: ignore[arg-type]

    @project.table("made.paid", reads=[raw], key="who")
    def paid(t: ibis.Table) -> ibis.Table:
        return t.group_by("who").agg(total=t.amount.sum(), mean=t.amount.mean())

    return project


def land(root: Path, name: str, amounts: list[str], *, first: int = 0) -> None:
    lines = ["id,who,amount", *(f"{first + i},ana,{amount}" for i, amount in enumerate(amounts))]
    (root / "landing" / name).write_text("\n".join(lines) + "\n")


def total(project: gm.Project) -> float:
    (row,) = project.store.snapshot("main").to_arrow("made.paid").to_pylist()
    value = row["total"]
    assert isinstance(value, float)
    return value


GRID = (gm.rules.between("amount", low=0, high=1e9), gm.rules.decimals("amount", 2))


def test_sums_are_those_of_the_decimals(tmp_path: Path) -> None:
    project = project_of(tmp_path, *GRID)
    land(tmp_path, "a.csv", ["0.1"] * 3)
    project.run()
    assert total(project) == 0.3
    plain = project_of(tmp_path)
    plain.run()
    assert total(plain) == float(3 * Fraction(0.1)) == 0.30000000000000004


def test_a_rule_that_comes_computes_again_and_following_gives_the_same(tmp_path: Path) -> None:
    project = project_of(tmp_path)
    land(tmp_path, "a.csv", CENTS * 50)
    project.run()
    project = project_of(tmp_path, *GRID)
    record = project.run().record
    assert {stage.name: stage.reason for stage in record.stages}["made.paid"] == "definition changed"
    land(tmp_path, "b.csv", ["0.1", "0.2"], first=1000)
    modes = {stage.name: stage.mode for stage in project.run().record.stages}
    assert modes["made.paid"] == "delta"
    exact = sum(Fraction(text) for text in [*CENTS * 50, "0.1", "0.2"])
    assert total(project) == float(exact)
    parity = project.parity()
    assert parity.ok
    assert parity.complete
    rows = project.store.snapshot("main").to_arrow("raw.paid")
    assert project.preview("made.paid").to_pylist()[0]["total"] == total(project)
    assert project.test({"raw.paid": rows})["made.paid"].to_pylist()[0]["total"] == total(project)


@pytest.mark.parametrize(
    "rules",
    [
        (gm.rules.between("amount", low=0, high=1e9), gm.rules.decimals("amount", 2, on_fail="warn")),
        (gm.rules.between("amount", low=0, high=1e9), gm.rules.decimals("amount", 2, where="who = 'bo'")),
        (gm.rules.between("amount", low=0), gm.rules.decimals("amount", 2)),
        (gm.rules.decimals("amount", 2),),
    ],
)
def test_a_promise_with_a_way_out_is_none(tmp_path: Path, rules: tuple[object, ...]) -> None:
    project = project_of(tmp_path, *rules)
    land(tmp_path, "a.csv", ["0.1"] * 3)
    project.run()
    assert total(project) == float(3 * Fraction(0.1))


def test_an_accepted_failure_ends_the_promise(tmp_path: Path) -> None:
    project = project_of(tmp_path, *GRID)
    land(tmp_path, "a.csv", ["0.1", "0.2", "0.005"])
    record = project.run().record
    assert record.status == "failed"
    excuse = Acceptance(table="raw.paid", rule="decimals:amount", because="half cents are real", until="2999-01-01")
    project.publish(record.run, accept=[excuse])
    project.run()
    assert total(project) == float(sum(map(Fraction, [0.1, 0.2, 0.005])))


def test_a_row_past_the_rules_raises(tmp_path: Path) -> None:
    project = project_of(tmp_path, *GRID)
    land(tmp_path, "a.csv", ["0.1", "0.2"])
    project.run()
    with project.store.begin("main") as tx:
        row = tx.to_arrow("raw.paid").slice(0, 1)
        columns = {name: row[name] for name in row.schema.names}
        columns |= {"id": pa.array([99]), "amount": pa.array([0.005])}
        tx.append("raw.paid", pa.table(columns))
    with pytest.raises(DataError, match=r"raw\.paid\.amount is off its declared grid"):
        project.run()
