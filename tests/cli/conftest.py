"""A starter project in which a test can type commands."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gristmill.cli.app import run


class Said(NamedTuple):
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Type = Callable[..., Said]


@pytest.fixture
def type_(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Type]:
    """Type a command in the project's folder; ``code=`` is the exit code that is expected."""
    before = Path.cwd()
    os.chdir(tmp_path)
    assert run(["init", "shop"]) == 0
    os.chdir(tmp_path / "shop")
    capfd.readouterr()

    def type_command(*words: str, code: int = 0) -> Said:
        found = run(list(words))
        out, err = capfd.readouterr()
        assert found == code, f"gristmill {' '.join(words)}: exit {found}\n{out}{err}"
        return Said(found, out, err)

    yield type_command
    os.chdir(before)
