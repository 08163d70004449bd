"""Contracts of the Open Data Contract Standard: which are taken, which refused and where, and what they compile to."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from gristmill import contracts
from gristmill.errors import DefinitionError
from gristmill.model.rules import Rule

Shared = Callable[[str], Path]

REFUSED = {
    "datacontract_cli/custom/export_model/datacontract.odcs.yaml": (16, "`account` is no key"),
    "datacontract_cli/dbt/export/datacontract.odcs.yaml": (16, "`account` is no key"),
    "datacontract_cli/lint/invalid.odcs.yaml": (1, "`status` is missing"),
    "datacontract_cli/lint/invalid_multiple_errors.odcs.yaml": (1, "`version` is missing"),
    "datacontract_cli/lint/invalid_multiple_schema_errors.odcs.yaml": (10, "description is None, not string"),
    "datacontract_cli/lint/odcs_with_extra_top_level.yaml": (7, "`change_management` is no key"),
    "datacontract_cli/markdown/export/multicolumn.odcs.yaml": (1, "`apiVersion` is missing"),
    "datacontract_cli/mysql/odcs.yaml": (17, "`isNullable` is no key"),
    "datacontract_cli/oracle/datacontract-oracle-odcs.yaml": (14, "port is '__PORT__', not integer"),
    "datacontract_cli/postgres/odcs.yaml": (17, "`isNullable` is no key"),
    "datacontract_cli/postgres/odcs_case_sensitive.odcs.yaml": (17, "`isNullable` is no key"),
    "datacontract_cli/postgres/servicelevels.odcs.yaml": (17, "`isNullable` is no key"),
    "datacontract_cli/redshift/odcs.yaml": (17, "`isNullable` is no key"),
    "datacontract_cli/schema-evolution/odcs-datacontract-cities-version-2.yaml": (52, "`delimiter` is no key"),
}


def test_real_contracts_are_taken_or_refused_with_line_and_reason(shared_data: Shared) -> None:
    folder = shared_data("contracts_odcs")
    taken = []
    for path in sorted(folder.rglob("*.yaml")):
        name = path.relative_to(folder).as_posix()
        if name not in REFUSED:
            taken.append(contracts.load(name, folder).id)
            continue
        line, reason = REFUSED[name]
        with pytest.raises(DefinitionError) as caught:
            contracts.load(name, folder)
        assert (caught.value.where or "").startswith(f"{name}:{line}:")
        assert reason in caught.value.message
    assert len(taken) == 50


HEAD = "apiVersion: v3.1.0\nkind: DataContract\nid: c\nversion: 1.0.0\nstatus: active\n"


def rules_of(body: str, *, table: str = "t", head: str = HEAD) -> dict[str, Rule]:
    found = contracts.parse(head + body, "c.yaml").table(table)
    return {rule.code: rule for rule in found.rules}


def column(body: str, **kwargs: str) -> dict[str, Rule]:
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    found = rules_of(f"schema:\n- name: t\n  properties:\n  - name: x\n{lines}", **kwargs)
    return {code: rule for code, rule in found.items() if rule.kind != "columns"}


def test_options_of_logical_types_become_rules_with_their_line() -> None:
    found = column("logicalType: integer\nrequired: true\nlogicalTypeOptions:\n  minimum: 1\n  exclusiveMaximum: 9")
    assert found["between:x"].parameters == {"low": 1, "below": 9}
    assert found["between:x"].origin == "c.yaml:13"
    assert found["not_null:x"].origin == "c.yaml:11"
    assert found["has_type:x"].parameters == {"types": ["integer"]}


def test_in_version_3_0_an_exclusive_minimum_is_a_flag() -> None:
    head = HEAD.replace("3.1.0", "3.0.2")
    found = column("logicalType: number\nlogicalTypeOptions:\n  minimum: 0\n  exclusiveMinimum: true", head=head)
    assert found["between:x"].parameters == {"above": 0}


def test_severity_says_what_a_broken_rule_does_and_a_custom_property_says_it_outright() -> None:
    entry = "quality:\n- metric: nullValues\n  mustBe: 0\n  severity: "
    assert column(entry + "warning")["not_null:x"].on_fail == "warn"
    assert column(entry + "error")["not_null:x"].on_fail == "block"
    said = entry + "error\n  customProperties:\n  - property: onFail\n    value: quarantine"
    assert column(said)["not_null:x"].on_fail == "quarantine"
    whole = "customProperties:\n- property: gristmill.onFail\n  value: quarantine\nrequired: true\nlogicalType: date"
    assert column(whole)["not_null:x"].on_fail == "quarantine"
    assert column(whole)["has_type:x"].on_fail == "block"


@pytest.mark.parametrize(
    ("entry", "code", "tolerance"),
    [
        ("metric: nullValues\n  mustBe: 0", "not_null:x", None),
        (
            "metric: missingValues\n  mustBeLessOrEqualTo: 3\n  arguments: {missingValues: ['', null]}",
            "not_missing:x",
            3,
        ),
        ("metric: invalidValues\n  mustBeLessThan: 2\n  arguments: {validValues: [a, b]}", "one_of:x", 1),
        ("metric: invalidValues\n  mustBe: 0\n  arguments: {pattern: '^a'}", "matches:x", None),
        ("metric: duplicateValues\n  mustBeLessOrEqualTo: 5\n  unit: percent", "unique:x", 0.05),
        ("metric: nullValues\n  mustBeLessThan: 5\n  unit: percent", "nullValues:x", None),
        ("metric: rowCount\n  mustBeBetween: [1, 5]", "row_count", None),
    ],
)
def test_library_metrics(entry: str, code: str, tolerance: float | None) -> None:
    assert column("quality:\n- " + entry)[code].tolerance == tolerance


def test_deprecated_spellings_of_metrics_are_read() -> None:
    head = HEAD.replace("3.1.0", "3.0.2")
    found = column("quality:\n- rule: duplicateCount\n  mustBe: 0\n- rule: nullCheck\n  mustBe: 0", head=head)
    assert {"unique:x", "not_null:x"} <= set(found)


def test_owner_comes_from_the_team_in_both_forms() -> None:
    members = "- username: ana\n  role: Data Owner\n- username: bo\n  role: reader\n"
    body = "schema:\n- name: t\n  properties:\n  - name: x\n    required: true\n"
    assert rules_of(f"team:\n{members}{body}")["not_null:x"].owner == "ana"
    nested = "team:\n  members:\n  - username: cy\n    role: owner\n"
    assert rules_of(nested + body)["not_null:x"].owner == "cy"


def test_keys_and_relationships() -> None:
    found = rules_of(
        "schema:\n- name: t\n  properties:\n  - {name: b, primaryKey: true, primaryKeyPosition: 2}\n"
        "  - {name: a, primaryKey: true, primaryKeyPosition: 1}\n"
        "  - name: c\n    relationships: [{to: other.id}]\n"
        "  relationships: [{from: [t.a, t.b], to: [pairs.x, pairs.y]}]\n- name: other\n  properties: [{name: id}]\n"
    )
    assert found["unique:a:b"].columns == ("a", "b")
    assert found["references:c"].parameters == {"table": "other", "to": ["id"]}
    assert found["references:a:b"].parameters == {"table": "pairs", "to": ["x", "y"]}


def test_our_own_rules_stand_in_custom_quality() -> None:
    entry = (
        "quality:\n- type: custom\n  engine: gristmill\n  implementation: {rule: between, low: 0, high: 5, "
        "on_fail: quarantine, where: x <> 3}"
    )
    rule = column(entry)["between:x"]
    assert (rule.on_fail, rule.where, rule.parameters) == ("quarantine", "x <> 3", {"low": 0, "high": 5})


OWN = "quality:\n- type: custom\n  engine: gristmill\n  implementation: "


@pytest.mark.parametrize(
    ("entry", "line", "words"),
    [
        (OWN + "{rule: betwen}", 13, "no rule `betwen`"),
        (OWN + "{rule: multiple_of, stp: 1}", 13, "not complete"),
        (OWN + "{rule: condition, sql: 'x > (SELECT 1)'}", 13, "other tables"),
        ("logicalType: string\nlogicalTypeOptions:\n  pattern: '^(?=a)b'", 12, "look-around"),
        ("quality:\n- type: sql\n  query: select 1 from read_csv('/etc/passwd')\n  mustBe: 0", 12, "is no table"),
        ("quality:\n- metric: invalidValues\n  mustBe: 0", 11, "validValues or pattern"),
        ("requird: true", 10, "`requird` is no key"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_line(entry: str, line: int, words: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        column(entry)
    assert (caught.value.where or "").startswith(f"c.yaml:{line}:"), caught.value.where
    assert words in caught.value.message


def test_rules_for_other_engines_are_said_and_never_pass() -> None:
    found = column("quality:\n- type: custom\n  engine: soda\n  implementation: 'x'\n- {type: text, description: nice}")
    (foreign,) = found.values()
    con = duckdb.connect()
    result = contracts.check(con, "(SELECT 1 AS x)", [foreign], table="t")
    assert [(finding.outcome, finding.note) for finding in result.findings] == [
        ("not_checked", "it is for the engine soda")
    ]
    assert result.ok


def test_sql_rules_see_the_table_by_its_names_and_placeholders() -> None:
    found = rules_of(
        "schema:\n- name: t\n  physicalName: t_1\n  properties: [{name: x}]\n  quality:\n"
        "  - {type: sql, query: 'select count(*) from ${table} where x > 1', mustBe: 1}\n"
        "  - {type: sql, query: 'select max(x) from t_1', mustBeLessThan: 2}\n"
        "  - {type: sql, query: 'with y as (select * from t) select count(*) from y join t on y.x = t.x', mustBe: 2}\n"
    )
    queries = [rule for rule in found.values() if rule.kind == "query"]
    result = contracts.check(duckdb.connect(), "(SELECT unnest([1, 2]) AS x)", queries, table="raw.t")
    assert [(finding.outcome, finding.observed) for finding in result.findings] == [
        ("pass", "1"), ("fail", "2"), ("pass", "2"),
    ]  # fmt: skip


def test_freshness_comes_from_service_levels() -> None:
    found = rules_of(
        "schema:\n- name: t\n  properties: [{name: at, logicalType: timestamp}]\n"
        "slaProperties:\n- {property: latency, value: 4, unit: d, element: t.at}\n- {property: retention, value: 3}\n"
    )
    assert (found["fresh:at"].parameters, found["fresh:at"].on_fail) == ({"within": "4d"}, "warn")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: [1", "c.yaml:1"),
        ("a: 1\na: 2", "c.yaml:2:1"),
        ("a: &x\n  b: *x", "c.yaml:1"),
        ("- 1", "c.yaml:1:1"),
        ("apiVersion: v2.2.2", "c.yaml:1:1"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(text: str, place: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        contracts.parse(text, "c.yaml")
    assert (caught.value.where or "").startswith(place)


def test_a_flood_of_aliases_is_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(DefinitionError, match="aliases"):
        contracts.parse("\n".join(lines), "c.yaml")


def test_fields_of_structs_are_checked() -> None:
    found = rules_of(
        "schema:\n- name: t\n  properties:\n  - name: place\n    logicalType: object\n    properties:\n"
        "    - name: city\n      logicalType: string\n      required: true\n"
        "      customProperties: [{property: onFail, value: quarantine}]\n"
    )
    con = duckdb.connect()
    con.execute("CREATE TABLE t AS SELECT unnest([{'city': 'x'}, {'city': NULL}]) AS place")
    result = contracts.check(con, "t", list(found.values()), table="t")
    assert [(finding.rule.code, finding.outcome) for finding in result.findings if finding.outcome != "pass"] == [
        ("not_null:place.city", "warn")
    ]
    kept, aside = result.split("t")
    assert con.sql(kept).fetchall() == [({"city": "x"},)]
    assert len(con.sql(aside).fetchall()) == 1
