"""Pause and resume a stream from another process, through a small record beside the history."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gristmill.store import Store

_KIND = "stream-control"


def pause(store: Store, branch: str) -> None:
    """Ask the stream on a branch to rest after the batch at hand."""
    store.records.put(_KIND, branch, b"paused")


def resume(store: Store, branch: str) -> bool:
    """Let it go on; returns whether it was paused."""
    return store.records.delete(_KIND, branch)


def is_paused(store: Store, branch: str) -> bool:
    """Whether the stream on a branch should rest."""
    return store.records.get(_KIND, branch) is not None
