from pathlib import Path

from gristmill.algebra.delta.maintained import MODE_OF
from gristmill.algebra.delta.table import LINES, as_markdown

PAGE = Path(__file__).parents[2] / "docs" / "incremental.md"


def test_the_page_is_the_table():
    assert PAGE.read_text() == as_markdown(), "run: make docs"


def test_the_table_has_every_rule():
    assert {line.rule for line in LINES} - {"as its aggregate"} == set(MODE_OF) - {"reuse"}
