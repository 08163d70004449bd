"""The generated pages are those that the code gives now."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = runpy.run_path(str(ROOT / "scripts" / "write_docs.py"))["PAGES"]


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_current(name: str) -> None:
    made = PAGES[name]()
    assert (ROOT / "docs" / name).read_text() == made, "run `make docs`"
