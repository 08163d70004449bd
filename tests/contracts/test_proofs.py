"""What column statistics prove, and what they must leave to the scan."""

from datetime import date

import pytest

from gristmill.contracts import rules
from gristmill.contracts.proofs import proven
from gristmill.model.predicates import Range
from gristmill.model.rules import Rule

TYPES = {"n": "INTEGER", "f": "DOUBLE", "s": "VARCHAR", "d": "DATE"}


def test_a_scan_is_spared_for_proven_rules_only() -> None:
    import duckdb

    from gristmill.contracts import Surroundings, check

    with duckdb.connect() as con:
        con.execute("CREATE TABLE t AS SELECT range AS n FROM range(10)")
        near = Surroundings(known={"n": Range(0, 9, 0, 10)})
        given = [rules.between("n", low=3), rules.between("n", high=9), rules.not_null("n")]
        found = check(con, "t", given, table="t", surroundings=near).findings
    assert [(one.outcome, one.failed_rows, one.checked_rows) for one in found] == [
        ("fail", 3, 10),
        ("pass", 0, 10),
        ("pass", 0, 10),
    ]


@pytest.mark.parametrize(
    ("rule", "known", "holds"),
    [
        (rules.not_null("n"), Range(1, 2, 0, 5), True),
        (rules.not_null("n"), Range(1, 2, 1, 5), False),
        (rules.not_null("n"), Range(1, 2, None, 5), False),
        (rules.not_null("f"), Range(1.0, 2.0, 0, 5), True),
        (rules.not_null("f"), Range(1.0, None, 0, 5), False),  # there may be a NaN
        (rules.between("n", low=1, high=2), Range(1, 2, 3, 5), True),
        (rules.between("n", above=1), Range(1, 2, 0, 5), False),
        (rules.between("n", below=3), Range(1, 2, 0, 5), True),
        (rules.between("n", low=1), Range(None, 2, 0, 5), False),
        (rules.between("n", low=9), Range(None, None, 5, 5), True),  # nothing but nulls
        (rules.between("s", low="a"), Range("b", "c", 0, 5), True),
        (rules.between("s", low=0), Range("1", "2", 0, 5), False),  # text against numbers is for the scan
        (rules.between("d", low="2026-01-01"), Range(date(2026, 2, 1), date(2026, 3, 1), 0, 5), False),
        (rules.one_of("n", [1, 2]), Range(1, 2, 0, 5), False),
    ],
)
def test_proofs(rule: Rule, known: Range, holds: bool) -> None:
    assert proven(rule, TYPES, dict.fromkeys(rule.columns, known)) is holds
