"""Which of equal rows is in the table follows the order of delivery, not what came together."""

import random
from pathlib import Path
from typing import Literal

import pytest

import gristmill as gm
from gristmill.errors import DefinitionError

Keep = Literal["first", "last"]


def landed(
    root: Path, rows: list[str], cuts: list[int], keep: Keep | None, *, key: tuple[str, ...] = ()
) -> tuple[object, object]:
    (root / "landing").mkdir(parents=True)
    (root / "gristmill.toml").write_text("[run]\nmax_quarantine = 1.0\n")
    project = gm.Project(root)
    rule = gm.rules.unique("mail", keep=keep, on_fail="quarantine")
    project.source("raw.t", gm.files("landing/*.csv"), key=key, rules=[rule])
    for number, (start, stop) in enumerate(zip([0, *cuts], [*cuts, len(rows)], strict=True)):
        (root / "landing" / f"{number}.csv").write_text("\n".join(["id,mail", *rows[start:stop]]) + "\n")
        assert project.run().record.status == "published"
    snapshot = project.store.snapshot("main")
    aside = "_quarantine.raw.t"
    units = snapshot.units("raw.t").values()
    assert all(unit.ledger.balanced for unit in units)
    quarantined = snapshot.to_arrow(aside)["cells"].to_pylist() if aside in snapshot else []
    assert sum(unit.ledger.quarantined for unit in units) == len(quarantined)
    kept = [(row["id"], row["mail"]) for row in snapshot.to_arrow("raw.t").to_pylist()]
    return sorted(kept, key=str), sorted(quarantined)


@pytest.mark.parametrize("keep", [None, "first", "last"])
@pytest.mark.parametrize("seed", [1, 2])
def test_cuts_do_not_matter(tmp_path: Path, keep: Keep | None, seed: int) -> None:
    rng = random.Random(seed)
    rows = [f"{i},{rng.choice(['a', 'b', 'c', 'd', ''])}" for i in range(12)]
    whole = landed(tmp_path / "whole", rows, [], keep)
    for attempt in range(3):
        cuts = sorted(rng.sample(range(1, 12), rng.randint(1, 4)))
        assert landed(tmp_path / str(attempt), rows, cuts, keep) == whole, cuts


def test_a_row_of_the_same_key_takes_its_place_and_displaces_nothing(tmp_path: Path) -> None:
    kept, aside = landed(tmp_path / "p", ["1,a", "2,b", "1,b", "3,a"], [2, 3], "last", key=("id",))
    assert kept == [(1, "b"), (3, "a")]
    assert len(aside) == 1  # type: ignore[arg-type]


def test_none_of_them_cannot_be_set_aside() -> None:
    with pytest.raises(DefinitionError, match="one must be kept"):
        gm.rules.unique("mail", keep="none", on_fail="quarantine")
