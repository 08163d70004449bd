"""A column that is text because of a few cells says so, with the line of the first."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.connect.landing import land, write


@pytest.mark.parametrize(
    ("cells", "odd", "kind"),
    [
        ([str(n) for n in range(1, 40)], "lots", "int64"),
        ([f"{n}.5" for n in range(1, 40)], "1,5", "double"),
        ([str(n) for n in range(1, 40)], "007", "int64"),
        ([f"2026-01-{n:02d}" for n in range(1, 29)], "2026-02-30", "date"),
    ],
)
def test_the_cell_that_makes_a_column_text_is_named(tmp_path: Path, cells: list[str], odd: str, kind: str) -> None:
    lines = ["id;note;x", '0;"two\nlines";', *(f"{i};n;{cell}" for i, cell in enumerate(cells)), f"99;n;{odd}"]
    write(tmp_path, "\n".join(lines) + "\n")
    shape, _, _ = land(tmp_path)
    assert {column.name: column.type for column in shape.columns}["x"] == "string"
    (note,) = [note for note in shape.assumptions if note.startswith("x ")]
    way = f'(types={{"x": "{kind}"}} in gm.files sets cells aside that do not fit)'
    assert note == f"x is text, and not {kind}, because of a.csv:{len(cells) + 4}: {odd!r} {way}"


def test_real_text_is_not_remarked_on(tmp_path: Path) -> None:
    write(tmp_path, "id,name\n" + "".join(f"{i},n{i}\n" for i in range(50)))
    shape, _, _ = land(tmp_path)
    assert not [note for note in shape.assumptions if note.startswith("name ")]


def test_a_cell_in_a_later_file_is_named_too(tmp_path: Path) -> None:
    write(tmp_path, "id,x\n1,1\n2,2\n", "a.csv")
    write(tmp_path, "id,x\n" + "".join(f"{i},{i}\n" for i in range(20)) + "3,x\n", "b.csv")
    shape, _, _ = land(tmp_path)
    assert any(note.startswith("x is text, and not int64, because of b.csv:22: 'x'") for note in shape.assumptions)
