"""Slow layers: tables that are computed in full on their own schedule, and brought up to now when they are served.

Such a table is stored as of the last moment of its schedule at which a run came by; what has changed in its inputs
since is its fast layer, which is computed by the same definition when somebody asks (see ``serving``).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from gristmill.define import Node
from gristmill.errors import DefinitionError
from gristmill.run.cron import ticks
from gristmill.run.derivation import Derivation
from gristmill.run.streaming.state import load_state

if TYPE_CHECKING:
    from gristmill.run.context import Context
    from gristmill.store import Transaction, View

WAITING = "waits for its schedule"


class Layer(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a layer of a table goes.

    Args:
        computed_us: when it was computed, microseconds since 1970, UTC.
        offsets: by source and partition, the position up to which rows of streams are in it.
        as_of_us: the event time up to which its rows are final; None where a stream it follows has none.
    """

    computed_us: int
    offsets: dict[str, dict[str, str]] = {}
    as_of_us: int | None = None


def layer_path(name: str) -> str:
    """Return where a slow layer is noted in a commit."""
    return f"derived/@{name}.json"


def load_layer(view: View, name: str) -> Layer | None:
    """Return up to where the stored state of a slow table goes; None where it was not computed yet."""
    data = view.document(layer_path(name))
    return msgspec.json.decode(data, type=Layer) if data else None


def layer_now(ctx: Context, view: View, name: str) -> Layer:
    """Return up to where a table goes that is computed from all that is in ``view``."""
    sources = [read for read in sorted(ctx.graph.upstream(name)) if ctx.graph[read].kind == "source"]
    offsets: dict[str, dict[str, str]] = {}
    reached: list[int | None] = []
    for source in sources:
        units = {unit: value.detail["next"] for unit, value in view.units(source).items() if "next" in value.detail}
        if units:
            offsets[source] = units
            reached.append(load_state(view, source).watermark_us)
    known = [moment for moment in reached if moment is not None]
    as_of = min(known) if known and len(known) == len(reached) else None
    return Layer(computed_us=ctx.run_time_us, offsets=offsets, as_of_us=as_of)


def note_layer(ctx: Context, tx: Transaction, name: str) -> None:
    """Write down up to where a slow table goes that has just been computed in full."""
    tx.put_document(layer_path(name), msgspec.json.encode(layer_now(ctx, tx, name), order="deterministic"))


def rests(ctx: Context, view: View, node: Node, now: Derivation, before: Derivation | None) -> str:
    """Say until when a slow table is left as it is although its inputs changed; empty where it is to be computed.

    A definition that changed is computed at once.
    """
    layer = load_layer(view, node.name)
    if ctx.fast or not node.slow or before is None or layer is None:
        return ""
    alike = msgspec.structs.replace(now, inputs=before.inputs)
    if alike.fingerprint != before.fingerprint:
        return ""
    due_us = next(moments(node.slow, layer.computed_us, where=str(node.place)))
    if due_us <= ctx.run_time_us:
        return ""
    due = dt.datetime.fromtimestamp(due_us / 1e6, dt.UTC)
    return f"{WAITING}: slow layer until {due:%Y-%m-%d %H:%M} UTC"


def moments(text: str, after_us: int, *, where: str) -> Iterator[int]:
    """Yield the moments of a schedule after a time: cron's five fields, and a zone where it is not UTC.

    Raises DefinitionError where the text is none.

    >>> next(moments("0 3 * * * Europe/Berlin", 0, where="")) / 3.6e9
    2.0
    """
    fields = text.split()
    try:
        found = ticks(" ".join(fields[:5]), fields[5] if len(fields) == 6 else "UTC", after_us)
    except ValueError as error:
        raise DefinitionError(
            f'slow="{text}" is no schedule: {error}',
            code="GM-P144",
            where=where,
            hint='cron\'s five fields, and a zone where it is not UTC, such as slow="0 3 * * * Europe/Berlin"',
        ) from error
    yield from found
