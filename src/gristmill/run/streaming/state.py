"""What a stream keeps in the commit besides its partitions: who may write, and how far event time has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from gristmill.errors import Conflict

if TYPE_CHECKING:
    from gristmill.store import Transaction, View


class StreamState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one source's stream, a document in every commit of it.

    Args:
        epoch: number of the writer that may commit; each one that begins takes the next.
        watermark_us: event time up to which results are final, microseconds since 1970; None before there is one.
        idle: partitions that were silent for so long that they do not hold the watermark back.
    """

    epoch: int = 0
    watermark_us: int | None = None
    idle: tuple[str, ...] = ()


def state_path(source: str) -> str:
    """Return where a stream's state stands in a commit."""
    return f"streams/{source}.json"


def load_state(view: View, source: str) -> StreamState:
    """Return a stream's state; a new one where there is none."""
    data = view.document(state_path(source))
    return msgspec.json.decode(data, type=StreamState) if data else StreamState()


def put_state(tx: Transaction, source: str, state: StreamState) -> None:
    """Write a stream's state."""
    tx.put_document(state_path(source), msgspec.json.encode(state, order="deterministic"))


def take_epochs(tx: Transaction, sources: list[str]) -> dict[str, int]:
    """Take the next writer's number of each source, so that an earlier writer cannot commit any more."""
    taken = {}
    for source in sources:
        state = load_state(tx, source)
        taken[source] = state.epoch + 1
        put_state(tx, source, msgspec.structs.replace(state, epoch=state.epoch + 1))
    return taken


def check_epochs(view: View, epochs: Mapping[str, int]) -> None:
    """Refuse to write where another writer has taken over. Raises Conflict."""
    for source, epoch in epochs.items():
        found = load_state(view, source).epoch
        if found != epoch:
            raise Conflict(
                f"another stream has taken over `{source}`: it is writer {found}, this one is {epoch}",
                code="GM-S020",
                hint="one stream per source and branch; this one stops, nothing is lost",
            )
