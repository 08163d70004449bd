"""Columns from folder names: ``year=2013/month=02/part.csv`` gives ``year`` and ``month``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

import pyarrow as pa

from gristmill.connect.cast import exact_cast
from gristmill.connect.csv_infer import Guess
from gristmill.connect.places import outer_name
from gristmill.connect.type_names import TEXT, parse_type
from gristmill.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gristmill.connect.values import Shape

HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_values(unit: str) -> dict[str, str | None]:
    """Return the ``name=value`` folders of a unit's path; Hive's word for null is None.

    >>> partition_values("lake/year=2013/city=New%20York/part-0.parquet")
    {'year': '2013', 'city': 'New York'}
    """
    folders = outer_name(unit).split("://")[-1].split("/")[:-1]
    pairs = (folder.partition("=") for folder in folders)
    return {
        unquote(name): None if value == HIVE_NULL else unquote(value) for name, sign, value in pairs if sign and name
    }


def partition_types(units: Iterable[str], chosen: tuple[str, ...] | None) -> dict[str, str]:
    """Return the partition columns of all these units and the narrowest type of each.

    Args:
        units: the units' names.
        chosen: the names declared; None takes every ``name=value`` folder.

    Raises:
        DataError: a declared partition is in no folder name of some unit.
    """
    guesses = {name: Guess(()) for name in chosen or ()}
    for unit in units:
        values = partition_values(unit)
        for name in chosen or ():
            if name not in values:
                raise DataError(f"no folder is called `{name}=...`", where=unit, code="GM-D115")
        for name, value in values.items():
            if chosen is None or name in chosen:
                guesses.setdefault(name, Guess(())).widen(pa.array([value], pa.string()))
    return {name: guess.kind or TEXT for name, guess in guesses.items()}


def partition_constants(unit: str, shape: Shape) -> Mapping[str, object]:
    """Return the typed partition values of one unit.

    Raises:
        DataError: a value does not fit its column's type.
    """
    values = partition_values(unit)
    kinds = {column.name: column.type for column in shape.columns}
    out: dict[str, object] = {}
    for name in shape.partitions:
        text = values.get(name)
        typed, bad = exact_cast(pa.array([text], pa.string()), parse_type(kinds[name]))
        if bad[0]:
            message = f"the folder value {text!r} of `{name}` is no {kinds[name]}"
            raise DataError(message, where=unit, code="GM-D115")
        out[name] = typed[0].as_py()
    return out
