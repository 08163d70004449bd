"""A contract written from data is valid, holds on that data, and survives odd names."""

import duckdb

from gristmill import contracts
from gristmill.contracts.infer import infer


def test_an_inferred_contract_holds_on_its_data_commented_or_not() -> None:
    con = duckdb.connect()
    con.execute(
        """CREATE TABLE t AS SELECT i AS id, ['a', 'no', '1'][i % 3 + 1] AS "odd name", i / 4 AS x,
        DATE '2020-01-01' + i::INT AS "on" FROM range(100) r(i)"""
    )
    text = infer(con, "t", table="raw.t", key=["id"], assumptions=["cells are\nseparated"])
    for version in (text, text.replace("# required", "required").replace("# ", "", 0)):
        rules = contracts.parse(version).table("raw.t").rules
        assert contracts.check(con, "t", rules, table="raw.t").ok
    bare = "\n".join(line.replace("        # ", "        ", 1) for line in text.splitlines())
    found = contracts.parse(bare).table("raw.t").rules
    assert {"between:id", "one_of:odd name", "not_null:on", "unique:id"} <= {rule.code for rule in found}
    assert contracts.check(con, "t", found, table="raw.t").ok
