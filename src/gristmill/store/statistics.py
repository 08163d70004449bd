"""Column statistics of a file, from its Parquet footer, in the form that manifests keep.

Bounds are numbers that survive widening: dates and timestamps of any unit count microseconds since 1970,
decimals are floats rounded outward. Text is cut to 32 characters (an upper bound so that it stays one).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from gristmill.model.predicates import Range, Value
from gristmill.model.schema import DECIMAL, FIXED, Field, Type, children
from gristmill.store.objects import ColumnStats, Scalar
from gristmill.store.sqltext import stored

if TYPE_CHECKING:
    import pyarrow.parquet as pq

CUT = 32
DAY_US = 86_400_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def leaves(fields: tuple[Field, ...]) -> Iterator[tuple[int, Type, bool]]:
    """Yield (field id, type, whether it is a column of its own) per leaf column, in the order of the file."""
    for field in fields:
        if stored(field.type):
            yield from _leaves(field.id, field.type, True)


def _leaves(field_id: int, type_: Type, top: bool) -> Iterator[tuple[int, Type, bool]]:
    below = [child for child in children(type_) if stored(child[2])]
    if not below:
        yield field_id, type_, top
    for child_id, _, child_type in below:
        yield from _leaves(child_id, child_type, False)


def footer_stats(
    metadata: pq.FileMetaData, fields: tuple[Field, ...], nans: Mapping[int, int]
) -> dict[int, ColumnStats]:
    """Return the statistics of a file by field id; ``nans`` counts NaNs per field id where that is known."""
    found = {}
    for index, (field_id, type_, _) in enumerate(leaves(fields)):
        groups = [metadata.row_group(g).column(index) for g in range(metadata.num_row_groups)]
        found[field_id] = _column(groups, type_, nans.get(field_id, -1 if type_ in ("float", "double") else 0))
    return {field_id: found[field_id] for field_id in sorted(found)}


def _column(groups: list[pq.ColumnChunkMetaData], type_: Type, nans: int) -> ColumnStats:
    stats = [group.statistics for group in groups]
    size = sum(group.total_compressed_size for group in groups)
    if any(part is None or not part.has_null_count for part in stats):
        return ColumnStats(nulls=-1, nans=nans, size=size)
    nulls = sum(part.null_count for part in stats)
    lower: Scalar = None
    upper: Scalar = None
    filled = [part for part in stats if part.num_values]
    if filled and all(part.has_min_max for part in filled):
        lowers = [_bound(part, "min", type_) for part in filled]
        uppers = [_bound(part, "max", type_) for part in filled]
        lower = None if None in lowers else min(lowers)  # type: ignore[type-var]
        upper = None if None in uppers else max(uppers)  # type: ignore[type-var]
    return ColumnStats(nulls=nulls, lower=lower, upper=upper, nans=nans, size=size)


def _bound(part: pq.Statistics, side: str, type_: Type) -> Scalar:
    raw = getattr(part, f"{side}_raw")
    up = side == "max"
    if not isinstance(type_, str) or raw is None:
        return None
    if type_ in ("boolean", "int", "long", "time"):
        return raw  # type: ignore[no-any-return]
    if type_ in ("float", "double"):
        return None if math.isnan(raw) else float(raw)
    if type_ == "date":
        return int(raw * DAY_US)
    if type_.startswith("timestamp"):
        return int(-(-raw // 1000) if up else raw // 1000) if type_.endswith("_ns") else int(raw)
    if match := DECIMAL.fullmatch(type_):
        unscaled = int.from_bytes(raw, "big", signed=True) if isinstance(raw, bytes) else int(raw)
        value = unscaled / 10 ** int(match[2])
        return math.nextafter(value, math.inf if up else -math.inf)
    if type_ == "string":
        return _cut_text(raw, up)
    if type_ == "binary" or FIXED.fullmatch(type_):
        cut = _cut_bytes(raw, up)
        return None if cut is None else cut.decode("latin-1")
    return None


def _cut_text(raw: bytes, up: bool) -> str | None:
    try:
        value = raw.decode()
    except UnicodeDecodeError:
        return None
    if len(value) <= CUT:
        return value
    value = value[:CUT]
    if not up:
        return value
    for index in range(CUT - 1, -1, -1):
        code = ord(value[index]) + 1
        if code == 0xD800:
            code = 0xE000
        if code <= 0x10FFFF:
            return value[:index] + chr(code)
    return None


def _cut_bytes(raw: bytes, up: bool) -> bytes | None:
    if len(raw) <= CUT:
        return raw
    value = raw[:CUT]
    if not up:
        return value
    kept = value.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else None


def ranges(fields: tuple[Field, ...], stats: Mapping[int, ColumnStats], rows: int) -> dict[str, Range]:
    """Return what is known of each column, by name, for `gristmill.model.predicates.may_match`."""
    found = {}
    for field in fields:
        known = stats.get(field.id)
        if known is None:
            continue
        nulls = None if known.nulls < 0 else known.nulls
        lower = _value(known.lower, field.type)
        upper = _value(known.upper, field.type) if known.nans == 0 else None
        found[field.name] = Range(lower, upper, nulls, rows)
    return found


def _value(bound: Scalar, type_: Type) -> Value | None:
    if bound is None or not isinstance(type_, str):
        return None
    if type_ == "date" or type_.startswith("timestamp") or type_ == "time":
        assert isinstance(bound, int)
        try:
            moment = _EPOCH + timedelta(microseconds=bound)
        except OverflowError:
            return None
        if type_ == "time":
            return moment.time() if 0 <= bound < DAY_US else None
        if type_ == "date":
            return moment.date()
        return moment if type_.startswith("timestamptz") else moment.replace(tzinfo=None)
    if isinstance(bound, str) and type_ != "string":
        return bound.encode("latin-1")
    return bound
