"""What operations mean here: one table, from which the pass, the documentation and the tests are fed.

Engines disagree on these without a word: of 40 probes written once in Ibis and run on DuckDB, Polars, Spark
and Flink, 19 gave different values and no error. Each rule below says what holds here, which SQL keeps it on
our kernel, and why. ``RULES`` is the whole table; ``FORMULAS`` holds the SQL by name for the compiler.

In a rewrite ``{a}``, ``{b}``, ``{c}`` stand for the operands and ``{t0}``, ``{t1}`` for words that the pass
fills in, such as a type. An empty rewrite means that DuckDB already does it and a probe keeps watch.
"""

from __future__ import annotations

from gristmill.algebra.rule import Probe as Probe
from gristmill.algebra.rule import Rule as Rule
from gristmill.algebra.rules_aggregates import AGGREGATES
from gristmill.algebra.rules_numbers import FLOATS, INTEGERS
from gristmill.algebra.rules_own import OWN
from gristmill.algebra.rules_text import NULLS, TEXT
from gristmill.algebra.rules_time import TIME

VERSION = 1
"""Part of every fingerprint: raised when a rule changes its meaning, so that nothing stale is reused."""

GROUPS: dict[str, tuple[Rule, ...]] = {
    "Integers": INTEGERS,
    "Floats and decimals": FLOATS,
    "Aggregates": AGGREGATES,
    "Text": TEXT,
    "Time": TIME,
    "Nulls and logic": NULLS,
    "Our own": OWN,
}
RULES: tuple[Rule, ...] = tuple(rule for group in GROUPS.values() for rule in group)
FORMULAS: dict[str, str] = {rule.name: rule.rewrite for rule in RULES if rule.rewrite}


_HEAD = "| you write | it means | because elsewhere | on our engine |"


def as_markdown() -> str:
    """Return the table as the page ``docs/semantics.md`` holds it."""
    lines = ["# Semantics", "", *_preface()]
    for title, rules in GROUPS.items():
        lines += [
            "",
            f"## {title}",
            "",
            "| you write | it means | because elsewhere | on our engine |",
            "|---|---|---|---|",
        ]
        lines += [_row(rule) for rule in rules]
    return "\n".join(lines) + "\n"


def _preface() -> list[str]:
    return [
        "Engines disagree on the operations below without a word. Here is what each means in gristmill,",
        "on every machine and engine, and the SQL that keeps it. This page is written by",
        "`gristmill.algebra.semantics`; tests repeat its examples against the engine.",
    ]


def _row(rule: Rule) -> str:
    rewrite = f"`{rule.rewrite}`" if rule.rewrite else "as it is"
    cells = (rule.operation, rule.rule, rule.why, rewrite)
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    print(as_markdown(), end="")
