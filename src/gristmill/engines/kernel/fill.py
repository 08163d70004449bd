"""Filling the SQL templates of the semantics table."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACE = re.compile(r"\{(t?)([a-z]|\d)\}")


def fill_text(template: str, args: Sequence[str], texts: Sequence[str] = ()) -> str:
    """Return a template with its places filled, in parentheses.

    Args:
        template: with ``{a}``, ``{b}``, ... for operands and ``{t0}``, ``{t1}``, ... for words.
        args: SQL of the operands, each safe to stand anywhere.
        texts: the words.

    >>> fill_text("{a} // {b}", ["x", "(1 + y)"])
    '(x // (1 + y))'
    """

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return texts[int(match[2])]
        return args[ord(match[2]) - ord("a")] if match[2].isalpha() else match[0]

    return f"({_PLACE.sub(put, template)})"
