"""Every error code that the package uses is explained, and no explanation is left over."""

import re
from pathlib import Path

from gristmill.cli.codes import CODES

SOURCE = Path(__file__).parents[2] / "src" / "gristmill"


def test_codes_and_explanations_agree() -> None:
    used = set()
    for path in SOURCE.rglob("*.py"):
        if path.name != "codes.py":
            used |= set(re.findall(r"GM-[A-Z]\d{3}", path.read_text()))
    assert used == set(CODES)
