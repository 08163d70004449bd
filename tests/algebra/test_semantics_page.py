from pathlib import Path

from gristmill.algebra.semantics import FORMULAS, RULES, as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "semantics.md"


def test_the_page_is_the_table():
    assert PAGE.read_text() == as_markdown(), "run: python -m gristmill.algebra.semantics > docs/semantics.md"


def test_names_are_unique_and_rules_say_something():
    assert len({rule.name for rule in RULES}) == len(RULES)
    assert all(rule.operation for rule in RULES)
    assert len(FORMULAS) == sum(bool(rule.rewrite) for rule in RULES)


def test_there_are_more_than_forty_probes():
    assert sum(len(rule.probes) for rule in RULES) > 40
