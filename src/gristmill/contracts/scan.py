"""Check a table against its rules in one scan: every row rule is a bit of one mask, grouped and counted once.

Rules that need the whole table (``unique``, ``references``, ...) are second passes over the columns they name. What
could not be looked at is ``not_checked`` or ``error``, never a pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gristmill.contracts import table_kinds
from gristmill.contracts.figure_kinds import FIGURE_KINDS
from gristmill.contracts.figures import figures
from gristmill.contracts.kinds import PASS_WORDS, ROW_KINDS, TABLE_KINDS, describe
from gristmill.contracts.masks import MASK_BITS, Masked, scan_masks
from gristmill.contracts.outcomes import CheckResult, Examples, figure_finding, row_finding, unable
from gristmill.contracts.pass_kinds import Around
from gristmill.contracts.passes import run_pass
from gristmill.contracts.proofs import proven
from gristmill.contracts.sqltext import Types, engine_error, quote
from gristmill.model.findings import Example, Finding
from gristmill.model.predicates import Range
from gristmill.model.rules import Rule

if TYPE_CHECKING:
    import duckdb

_Found = tuple[Finding, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a check may look at besides the rows.

    Args:
        references: relations of other tables by name.
        stored: the table's other rows, already accepted, as a relation.
        order: columns that give the order of delivery.
        unique: columns that are known to be unique, which need no second look.
        known: what statistics know of columns of all rows, by name; rules that they prove are not scanned for.
    """

    references: Mapping[str, str] = field(default_factory=dict)
    stored: str | None = None
    order: Sequence[str] = ()
    unique: Sequence[str] = ()
    known: Mapping[str, Range] = field(default_factory=dict)


def check(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    rules: Sequence[Rule],
    *,
    table: str,
    show: Sequence[str] = (),
    references: Mapping[str, str] | None = None,
    surroundings: Surroundings | None = None,
) -> CheckResult:
    """Check every row of ``relation`` against ``rules``.

    Args:
        connection: where the relation is known.
        relation: name of a table or view, quoted, or a parenthesised SELECT.
        rules: what must hold.
        table: the table's name, for messages.
        show: columns shown with each failing row besides those of the rule: key and origin.
        references: for ``references`` rules, the relation of each other table by its name.
        surroundings: what else is known; its references are joined with those given.
    """
    near = surroundings or Surroundings()
    types = types_of(connection, relation)
    relation, types = _with_nested(connection, relation, types, rules)
    around = Around(relation, table, {**near.references, **(references or {})}, near.stored, near.order)
    work = _Check(connection, around, types, Examples(connection, relation, types, tuple(show)), near)
    findings: dict[int, Finding] = {}
    set_aside: list[tuple[Rule, str]] = []
    for position, (finding, condition) in work.run(rules):
        findings[position] = finding
        if condition and finding.quarantined:
            set_aside.append((finding.rule, condition))
    ordered = tuple(findings[position] for position in range(len(rules)))
    return CheckResult(table, ordered, tuple(set_aside), nested=tuple(name for name in types if name in work.nested))


def types_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Return column names and DuckDB types of a relation."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()}


def _with_nested(
    connection: duckdb.DuckDBPyConnection, relation: str, types: dict[str, str], rules: Sequence[Rule]
) -> tuple[str, dict[str, str]]:
    """Give fields of structs that rules name, such as ``address.city``, a column of their own."""
    names = dict.fromkeys(name for rule in rules for name in rule.columns if name not in types and "." in name)
    found = {}
    for name in names:
        path = ".".join(quote(part) for part in name.split("."))
        try:
            described = connection.execute(f"DESCRIBE SELECT {path} AS x FROM {relation}").fetchall()
        except engine_error():
            continue
        found[name] = (path, described[0][1])
    if not found:
        return relation, types
    extra = ", ".join(f"{path} AS {quote(name)}" for name, (path, _) in found.items())
    return f"(SELECT *, {extra} FROM {relation})", {**types, **{name: kind for name, (_, kind) in found.items()}}


class _Check:
    """One check of one relation: rules sorted by how they are decided, each run once."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        around: Around,
        types: Types,
        examples: Examples,
        near: Surroundings,
    ) -> None:
        self.connection, self.around, self.types, self.examples = connection, around, types, examples
        self.unique, self.known = tuple(near.unique), near.known
        self.nested = {name for name in types if "." in name and f" AS {quote(name)}" in around.relation}
        self.total = 0

    def run(self, rules: Sequence[Rule]) -> Iterator[tuple[int, _Found]]:
        masked: list[tuple[int, Rule]] = []
        figures: list[tuple[int, Rule]] = []
        passes: list[tuple[int, Rule]] = []
        for position, rule in enumerate(rules):
            missing = [name for name in rule.columns if name not in self.types]
            if missing:
                note = f"{self.around.table} has no column {', '.join(missing)}"
                yield position, (unable(self.around.table, rule, "not_checked", note), None)
            elif rule.kind in TABLE_KINDS:
                yield position, (self._schema(rule), None)
            elif rule.kind in ROW_KINDS:
                masked.append((position, rule))
            elif rule.kind in FIGURE_KINDS:
                figures.append((position, rule))
            elif rule.kind in PASS_WORDS:
                passes.append((position, rule))
            else:
                note = str(rule.parameters.get("note") or f"gristmill knows no rule `{rule.kind}`")
                yield position, (unable(self.around.table, rule, "not_checked", note), None)
        yield from self._masked(masked)
        yield from self._figures(figures)
        for position, rule in passes:
            yield position, self._pass(rule)

    def _schema(self, rule: Rule) -> Finding:
        wrong = table_kinds.breach(rule, self.types)
        outcome = "pass" if wrong is None else "warn" if rule.on_fail == "warn" else "fail"
        return Finding(
            table=self.around.table,
            rule=rule,
            outcome=outcome,  # type: ignore[arg-type]
            observed=wrong or "",
            expected=describe(rule),
        )

    def _masked(self, rules: Sequence[tuple[int, Rule]]) -> Iterator[tuple[int, _Found]]:
        proof, open_ = list[tuple[int, Rule]](), list[tuple[int, Rule]]()
        for position, rule in rules:
            (proof if proven(rule, self.types, self.known) else open_).append((position, rule))
        rules = open_
        for start in range(0, max(len(rules), 1), MASK_BITS):
            batch = rules[start : start + MASK_BITS]
            try:
                found = self._scan([rule for _, rule in batch])
            except engine_error():
                yield from self._one_by_one(batch)
                continue
            for bit, (position, rule) in enumerate(batch):
                yield position, self._found(rule, found.failed[bit], found.examples.get(bit, ()))
        for position, rule in proof:
            yield position, self._found(rule, 0)

    def _scan(self, rules: Sequence[Rule]) -> Masked:
        found = scan_masks(self.connection, self.around.relation, rules, types=self.types, show=self.examples.show)
        self.total = found.total
        return found

    def _found(self, rule: Rule, failed: int, known: tuple[Example, ...] = ()) -> _Found:
        sql = guarded(rule, self.types)
        return row_finding(self.examples, self.around.table, rule, failed, self.total, sql, known), sql

    def _one_by_one(self, batch: Sequence[tuple[int, Rule]]) -> Iterator[tuple[int, _Found]]:
        """Find the rules that cannot be run; the others are counted all the same."""
        for position, rule in batch:
            try:
                failed = self._scan([rule]).failed[0]
            except engine_error() as error:
                yield position, (unable(self.around.table, rule, "error", first_line(error)), None)
                continue
            yield position, self._found(rule, failed)

    def _figures(self, rules: Sequence[tuple[int, Rule]]) -> Iterator[tuple[int, _Found]]:
        found = figures(self.connection, self.around.relation, [rule for _, rule in rules], self.types)
        for (position, rule), value in zip(rules, found, strict=True):
            if isinstance(value, Exception):
                yield position, (unable(self.around.table, rule, "error", first_line(value)), None)
            else:
                yield position, (figure_finding(self.around.table, rule, value, self.total), None)

    def _pass(self, rule: Rule) -> _Found:
        if rule.kind == "unique" and self.unique and not rule.where and set(self.unique) <= set(rule.columns):
            finding = Finding(
                table=self.around.table,
                rule=rule,
                outcome="pass",
                checked_rows=self.total,
                expected=describe(rule),
                note="the table's key",
            )
            return finding, None
        try:
            return run_pass(self.connection, rule, self.types, self.around, self.examples, self.total)
        except engine_error() as error:
            return unable(self.around.table, rule, "error", first_line(error)), None


def guarded(rule: Rule, types: Types) -> str:
    """Return SQL that is true for rows that break a row rule: never null, and limited by its ``where``."""
    bad = f"coalesce({ROW_KINDS[rule.kind].bad(rule, types)}, FALSE)"
    return f"(coalesce({rule.where}, FALSE) AND {bad})" if rule.where else bad


def first_line(error: Exception) -> str:
    """Return the first line of an engine's message; raises Corrupt where a data file is what is wrong, not the rule."""
    from gristmill.store.damage import damage

    found = damage(error)
    if found is not None:
        raise found from error
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
