"""Checks that hold for every table without being asked for: they compare a delivery with those before it.

A column that turns null blocks. A jump of its share of nulls, an odd volume, values that stand for nothing and a
join that multiplies rows warn, and say ``learning (3 of 10)`` until there is history.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from gristmill.contracts.history import NEEDED, History, Profile
from gristmill.model.findings import Example, Finding, Outcome
from gristmill.model.rules import Rule

_CERTAIN = 1e-6
_FLOOD, _JUMP = 0.5, 0.2
_FEW_ROWS = 20
_SPREADS, _CHANGE = 6.0, 0.5
_STAND_IN_SHARE = 0.01
_FAN_OUT = 1.5

STAND_INS: Mapping[str, Sequence[str]] = {
    "number": ("-9999", "-999", "-99", "9999", "99999", "999999"),
    "string": ("", "N/A", "NA", "n/a", "null", "NULL", "None", "none", "nan", "-", "?", "unknown"),
    "date": ("1900-01-01", "9999-12-31", "0001-01-01"),
}
"""Values that often stand for nothing, by the kind of column."""


def judge(table: str, now: Profile, before: History, *, source: bool) -> Iterator[Finding]:
    """Yield what is odd about a delivery, and what is still being learnt.

    Args:
        table: the table's name.
        now: the delivery.
        before: the deliveries before it.
        source: whether it is a source, whose deliveries come in units; else each profile is the whole table.
    """
    yield from _nulls(table, now, before)
    if source:
        yield from _volume(table, now, before)
        yield from _stand_ins(table, now, before)
    else:
        yield from _fan_out(table, now, before)


def _rule(kind: str, *columns: str, warns: bool) -> Rule:
    return Rule(
        kind=kind,
        columns=columns,
        scope="aggregate",
        on_fail="warn" if warns else "block",
        dimension="completeness",
        origin="default",
    )


def _nulls(table: str, now: Profile, before: History) -> Iterator[Finding]:
    for column, nulls in now.nulls.items():
        then, rows = before.nulls(column)
        if not rows or not now.rows:
            continue
        share, was = nulls / now.rows, then / rows
        likely = (then + 1) / (rows + 2)  # Laplace's rule of succession: few rows seen prove little
        turned = nulls == now.rows and was < 1 and now.rows * math.log(likely) < math.log(_CERTAIN)
        if turned or (share - was >= _FLOOD and now.rows >= _FEW_ROWS):
            yield _finding(table, "turned_null", column, now, share, was)
        elif share - was > _JUMP and now.rows >= _FEW_ROWS:
            yield _finding(table, "null_share", column, now, share, was)


def _finding(table: str, kind: str, column: str, now: Profile, share: float, was: float) -> Finding:
    rule = _rule(kind, column, warns=kind == "null_share")
    return Finding(
        table=table,
        rule=rule,
        outcome="warn" if kind == "null_share" else "fail",
        checked_rows=now.rows,
        observed=f"{share:.1%} of {now.rows:,} new rows are null",
        expected=f"{column} about as often null as before ({was:.1%})",
    )


def _volume(table: str, now: Profile, before: History) -> Iterator[Finding]:
    sizes = [rows for profile in before.profiles for rows in profile.units.values()]
    if not now.units or not sizes:
        return
    rule = _rule("volume", warns=True)
    if len(sizes) < NEEDED:
        yield _learning(table, rule, len(sizes))
        return
    middle = median(sizes)
    spread = 1.4826 * median(abs(size - middle) for size in sizes)
    allowed = max(_SPREADS * spread, _CHANGE * middle)
    odd = {unit: rows for unit, rows in now.units.items() if abs(rows - middle) > allowed}
    examples = tuple(Example(values={"rows": rows}, origin=unit) for unit, rows in list(odd.items())[:3])
    low, high = max(middle - allowed, 0), middle + allowed
    yield Finding(
        table=table,
        rule=rule,
        outcome="warn" if odd else "pass",
        observed=", ".join(f"{unit} has {rows:,} rows" for unit, rows in list(odd.items())[:3]),
        expected=f"a unit has about {middle:,.0f} rows ({low:,.0f} to {high:,.0f})",
        examples=examples,
    )


def _stand_ins(table: str, now: Profile, before: History) -> Iterator[Finding]:
    if not before:
        return
    for column, counts in now.stand_ins.items():
        for value, count in counts.items():
            seen = any(profile.stand_ins.get(column, {}).get(value) for profile in before.profiles)
            if seen or count < 2 or count < _STAND_IN_SHARE * now.rows:
                continue
            shown = value or "''"
            yield Finding(
                table=table,
                rule=_rule("stand_in", column, warns=True),
                outcome="warn",
                checked_rows=now.rows,
                observed=f"{shown} came {count:,} times in {now.rows:,} rows, and never before",
                expected=f"{column} has no value that stands for nothing",
                note=_learning_words(len(before.profiles)),
            )


def _fan_out(table: str, now: Profile, before: History) -> Iterator[Finding]:
    if not now.read or not now.rows:
        return
    rule = _rule("fan_out", warns=True)
    ratio = now.rows / now.read
    known = [profile.rows / profile.read for profile in before.profiles if profile.read]
    most = max(known, default=1.0)
    outcome: Outcome = "warn" if ratio > _FAN_OUT * max(most, 1.0) else "pass"
    yield Finding(
        table=table,
        rule=rule,
        outcome=outcome,
        checked_rows=now.rows,
        observed=f"{now.rows:,} rows from an input of {now.read:,}" if outcome == "warn" else "",
        expected=f"rows at most {_FAN_OUT * max(most, 1.0):.1f} times the largest input",
        note=_learning_words(len(known)),
    )


def _learning(table: str, rule: Rule, number: int) -> Finding:
    return Finding(table=table, rule=rule, outcome="pass", expected="", note=_learning_words(number))


def _learning_words(number: int) -> str | None:
    return f"learning ({number} of {NEEDED})" if number < NEEDED else None
