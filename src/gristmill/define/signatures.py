"""Check a decorated function against what it is said to read, and find which frames it wants."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence

from gristmill.define.nodes import Place, Rows
from gristmill.errors import DefinitionError

_FRAMES: dict[str, Rows] = {"ibis": "ibis", "pyarrow": "arrow", "polars": "polars", "pandas": "pandas"}


class Signature(typing.NamedTuple):
    """What a function takes: the frame of its table parameters, and its keyword parameters with defaults."""

    rows: Rows
    parameters: dict[str, object]


def check_signature(
    function: Callable[..., object], *, tables: Sequence[str], place: Place, extra: Sequence[str] = ()
) -> Signature:
    """Return what ``function`` takes, after checking that it fits.

    Args:
        function: the function as written.
        tables: names of the tables it reads, one positional parameter each.
        place: where it stands, for messages.
        extra: further positional parameters it must have, by meaning (such as ``out folder``).

    Raises DefinitionError where the number of parameters differs, a keyword parameter has no default, or the
    annotations name frames of several kinds.
    """
    signature = inspect.signature(function)
    positional = [p for p in signature.parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    wanted = len(tables) + len(extra)
    if len(positional) != wanted:
        names = ", ".join([*tables, *extra]) or "nothing"
        raise DefinitionError(
            f"`{function.__name__}` takes {len(positional)} positional parameters, but reads {wanted}: {names}",
            code="GM-P009",
            where=str(place),
            hint="one parameter for each entry of `reads=`, in the same order; settings go after `*`",
        )
    keywords = [p for p in signature.parameters.values() if p.kind is p.KEYWORD_ONLY]
    for parameter in keywords:
        if parameter.default is parameter.empty:
            raise DefinitionError(
                f"parameter `{parameter.name}` of `{function.__name__}` needs a default",
                code="GM-P010",
                where=str(place),
                hint=f"write `{parameter.name}=...`; `--param {parameter.name}=...` overrides it for one run",
            )
    rows = _frame(function, [p.name for p in positional[: len(tables)]], place)
    return Signature(rows, {p.name: p.default for p in keywords})


def _frame(function: Callable[..., object], names: Sequence[str], place: Place) -> Rows:
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # an annotation that cannot be evaluated is only a missing hint
        hints = {}
    found: set[Rows] = set()
    for name in names:
        hint = hints.get(name)
        package = getattr(hint, "__module__", "").split(".")[0]
        if getattr(hint, "__name__", "") == "RecordBatch":
            found.add("batch")
        elif package in _FRAMES:
            found.add(_FRAMES[package])
    if len(found) > 1:
        raise DefinitionError(
            f"`{function.__name__}` mixes frames: {', '.join(sorted(found))}",
            code="GM-P011",
            where=str(place),
            hint="annotate all table parameters with one library's type",
        )
    return found.pop() if found else "ibis"
