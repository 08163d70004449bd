"""Text patterns: ECMA-262 as contracts write it, brought to RE2 as the kernel runs it, and named formats.

RE2 runs in linear time and therefore has no look-around and no back-references; what needs them is refused with the
place named, never run differently.
"""

from __future__ import annotations

import re

from gristmill.errors import DefinitionError

_REFUSED = (
    (re.compile(r"\(\?<?[=!]"), "look-around"),
    (re.compile(r"\\[1-9]"), "a back-reference"),
    (re.compile(r"\\k<"), "a back-reference"),
    (re.compile(r"\(\?>"), "an atomic group"),
)
_UNICODE = re.compile(r"\\u\{([0-9A-Fa-f]+)\}|\\u([0-9A-Fa-f]{4})")

_HINTS = {
    "look-around": "say the same with two rules (matches and not_matches), or with a condition in SQL",
    "a back-reference": "use a condition in SQL",
    "an atomic group": "write a plain group",
}


def translate(pattern: str) -> str:
    r"""Return an ECMA-262 pattern as RE2.

    Raises DefinitionError for look-around and back-references, which RE2 does not have.

    >>> translate(r"^\u00e9\/x$")
    '^\\x{00e9}/x$'
    """
    bare = pattern.replace(r"\\", "")
    for found, words in _REFUSED:
        if found.search(bare):
            raise DefinitionError(
                f"the pattern {pattern} uses {words}, which RE2 does not have", code="GM-C015", hint=_HINTS[words]
            )
    pieces = re.split(r"(\\\\)", pattern)
    return "".join(piece if piece == r"\\" else _piece(piece) for piece in pieces)


def _piece(text: str) -> str:
    text = _UNICODE.sub(lambda m: rf"\x{{{m[1] or m[2]}}}", text)
    return text.replace(r"\/", "/").replace("[^]", r"[\s\S]")


_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_GROUP = r"[0-9A-Fa-f]{1,4}"
_IPV4 = rf"({_OCTET}\.){{3}}{_OCTET}"
_IPV6 = "|".join(
    (
        rf"({_GROUP}:){{7}}{_GROUP}",
        rf"({_GROUP}:){{1,7}}:",
        *(rf"({_GROUP}:){{1,{7 - n}}}(:{_GROUP}){{1,{n}}}" for n in range(1, 7)),
        rf":(:{_GROUP}){{1,7}}",
        "::",
        rf"({_GROUP}:){{6}}{_IPV4}",
        rf"::(ffff(:0{{1,4}})?:)?{_IPV4}",
        rf"({_GROUP}:){{1,4}}:{_IPV4}",
    )
)
_LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DATE = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(\.[0-9]+)?"
_ZONE = r"([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"

FORMATS: dict[str, str] = {
    "email": rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(\.{_LABEL})+$",
    "uuid": r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$",
    "ipv4": rf"^{_IPV4}$",
    "ipv6": rf"^({_IPV6})$",
    "uri": r"^[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+$",
    "hostname": rf"^{_LABEL}(\.{_LABEL})*\.?$",
    "date": rf"^{_DATE}$",
    "time": rf"^{_TIME}{_ZONE}?$",
    "date-time": rf"^{_DATE}[Tt ]{_TIME}{_ZONE}?$",
    "byte": r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$",
    "binary": r"^[01]*$",
    "password": r"^",
    "json": "",
    "country": r"^[A-Z]{2}$",
}
"""RE2 patterns of the named formats; ``json`` is parsed instead. Dates and times follow RFC 3339, ``uri`` RFC 3986
in outline (a scheme and no forbidden character), ``email`` the HTML standard's pattern with a dot in the domain."""
