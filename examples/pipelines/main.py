"""Files arrive day by day; only what changed is computed; a silent upstream change is not silent here."""

import tempfile
from pathlib import Path

import gristmill as gm


def day(folder: Path, number: int, *, amount: str = "{}") -> None:
    rows = "".join(f"{number * 100 + i},u{i % 7},{amount.format(i % 50 + 1)}\n" for i in range(100))
    (folder / "landing").mkdir(exist_ok=True)
    (folder / "landing" / f"2026-01-{number:02d}.csv").write_text("id,user,amount\n" + rows)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project = gm.Project(folder)
        raw = project.source("raw.purchases", gm.files("landing/*.csv"), key="id")

        @project.table("features.user", reads=[raw], key="user")
        def features(purchases):  # type: ignore[no-untyped-def]
            """What each user has spent."""
            return purchases.group_by("user").agg(spent=purchases.amount.sum(), n=purchases.count())

        day(folder, 1)
        assert project.run().ok
        day(folder, 2)
        assert project.plan().steps[0].units == ("landing/2026-01-02.csv",)
        assert project.run().ok
        good = project.store.snapshot("main").digest("features.user")

        day(folder, 3, amount="{} EUR")  # upstream turns a number into text
        result = project.run()
        assert not result.ok
        print(result.failures[0].words, "-", result.failures[0].seen)
        assert project.store.snapshot("main").digest("features.user") == good
        print("main is as it was; the refused run waits on", result.run)


if __name__ == "__main__":
    main()
