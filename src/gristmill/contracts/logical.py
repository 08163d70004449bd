"""Types of the contract standard: what a column must be stored as, and date patterns of the JDK as strptime."""

from __future__ import annotations

import re

_TEXT, _NUMBER, _TIME = "string", "number", "timestamp"

_PHYSICAL = {
    "integer": r"(big|small|tiny|medium|huge|u)*int(eger)?\d*|serial|bigserial|smallserial|long|short|byte|int\d+",
    "number": r"(numeric|decimal|number|double( precision)?|float\d*|real|money)",
    "string": r"(n?(var)?char2?|n?text|string|clob|uuid|uniqueidentifier|character( varying)?|enum|citext|xml)",
    "boolean": r"(bool(ean)?|bit)",
    "date": r"date",
    "timestamp": r"(timestamp(tz|_ntz|_ltz)?|datetime2?|smalldatetime|datetimeoffset)",
    "time": r"time",
    "array": r"(array|list)",
    "object": r"(struct|record|object|json|jsonb|variant|row)",
    "map": r"map",
    "binary": r"(blob|bytea|binary|varbinary|bytes|image)",
}

_ACCEPTED = {
    "string": (_TEXT,),
    "date": ("date",),
    "timestamp": (_TIME,),
    "time": ("time",),
    "number": (_NUMBER,),
    "integer": ("integer",),
    "object": ("object",),
    "array": ("array",),
    "boolean": ("boolean",),
    "map": ("map",),
    "vector": ("array",),
}


def stored_as(logical: str, physical: str, standard: tuple[int, int]) -> tuple[str, ...]:
    """Return the words of ``table_kinds.family`` that a column may have, or none where nothing can be said.

    Version 3.0 of the standard has no timestamp: its ``date`` covers both.

    >>> stored_as("", "varchar(18)", (3, 1)), stored_as("date", "", (3, 0))
    (('string',), ('date', 'timestamp'))
    """
    wanted = _ACCEPTED.get(logical, ())
    found = _family(physical)
    if logical == "date" and (standard < (3, 1) or found == _TIME):
        return ("date", "timestamp")
    if logical == "integer" and found == _NUMBER:
        return ("integer", "number")
    if logical in ("string", "") and found in ("binary", "object", "map", "array") and logical:
        return ("string", found)
    return wanted or ((found,) if found else ())


def _family(physical: str) -> str:
    bare = re.sub(r"\(.*|<.*|\[.*| (with|without) time zone.*| unsigned$", "", physical.strip().lower()).strip()
    if physical.strip().endswith("]"):
        return "array"
    for word, pattern in _PHYSICAL.items():
        if bare and re.fullmatch(pattern, bare):
            return word
    return ""


_JDK = {
    "yyyy": "%Y", "uuuu": "%Y", "yy": "%y", "MMMM": "%B", "MMM": "%b", "MM": "%m", "M": "%-m", "dd": "%d", "d": "%-d",
    "HH": "%H", "H": "%-H", "hh": "%I", "h": "%-I", "mm": "%M", "m": "%-M", "ss": "%S", "s": "%-S", "SSSSSS": "%f",
    "SSS": "%g", "a": "%p", "DDD": "%j", "EEEE": "%A", "EEE": "%a", "E": "%a", "Z": "%z", "XXX": "%z", "X": "%z",
    "xxx": "%z", "VV": "%Z", "z": "%Z",
}  # fmt: skip


_JDK_PIECE = re.compile(r"'((?:[^']|'')*)'|(([A-Za-z])\3*)|([^A-Za-z'])")


def strptime_pattern(jdk: str) -> str | None:
    """Return a DateTimeFormatter pattern as strptime knows it, or None where it has no like.

    >>> strptime_pattern("yyyy-MM-dd'T'HH:mm:ss")
    '%Y-%m-%dT%H:%M:%S'
    """
    made = []
    for found in _JDK_PIECE.finditer(jdk):
        quoted, letters, other = found[1], found[2], found[4]
        if letters and letters not in _JDK:
            return None
        made.append(_JDK[letters] if letters else (quoted or other or "'").replace("''", "'").replace("%", "%%"))
    return "".join(made)
