"""The chapter's suite on purchases: ids, ages, the mean, and how many e-mail addresses are unique."""

import pyarrow as pa

import gristmill as gm

RULES = [
    gm.rules.not_null("user_id"),
    gm.rules.between("age", low=0, high=150),
    gm.rules.statistic("purchase", "mean", low=10, high=500),
    gm.rules.statistic("email", "distinct_share", low=0.95, high=1),
]


def purchases(rows: int = 1000) -> pa.Table:
    return pa.table(
        {
            "user_id": list(range(rows)),
            "age": [18 + i % 60 for i in range(rows)],
            "purchase": [20.0 + i % 100 for i in range(rows)],
            "email": [f"user{i}@example.org" for i in range(rows)],
        }
    )


def main() -> None:
    good = purchases()
    assert gm.check(good, RULES).ok

    age = good["age"].to_pylist()
    age[17] = 1980  # a year of birth slipped into the column
    bad = good.set_column(1, "age", pa.array(age)).set_column(3, "email", pa.array(["none@example.org"] * 1000))
    report = gm.check(bad, RULES)
    assert [finding.rule.kind for finding in report.failures] == ["between", "statistic"]
    print(report)


if __name__ == "__main__":
    main()
