"""SQL over the records of runs."""

import gristmill as gm
from tests.run.conftest import Shop


def test_every_record_can_be_asked_in_sql(shop: Shop) -> None:
    shop.project().run()
    shop.land("day2.csv", "id,customer,amount\n4,bo,-3\n")
    failed = shop.project(rules=(gm.rules.between("amount", low=0, name="sold"),)).run()
    assert failed.record.status == "failed"
    snapshot = gm.open(str(shop.root / ".gristmill"))["main"].snapshot()
    runs = snapshot.sql("select run, status, started < finished as took, environment['python'] as python from _runs")
    assert [row["status"] for row in runs.to_pylist()] == ["failed", "published"]
    assert all(row["took"] and row["python"] for row in runs.to_pylist())
    stages = snapshot.sql("select name, rows from _stages join _runs using (run) where status = 'published'")
    assert {"name": "clean.orders", "rows": 3} in stages.to_pylist()
    (found,) = snapshot.sql("select rule, failed_rows, outcome from _findings where outcome = 'fail'").to_pylist()
    assert found == {"rule": "sold", "failed_rows": 1, "outcome": "fail"}
    ledgers = snapshot.sql(
        "select sum(delivered) as n, sum(accepted) as a from _ledgers where \"table\" = 'raw.orders'"
    )
    assert ledgers.to_pylist()[0]["n"] >= 3


def test_they_are_there_before_the_first_run(shop: Shop) -> None:
    snapshot = gm.open(str(shop.root / ".gristmill"), create=True)["main"].snapshot()
    for name in ("_runs", "_stages", "_findings", "_ledgers", "_metrics"):
        assert snapshot.sql(f"select count(*) as n from {name}").to_pylist() == [{"n": 0}]
