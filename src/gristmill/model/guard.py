"""What the store asks the rooms above before it lets a branch move."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from gristmill.model.schema import Schema


class StagedTable(Protocol):
    """The state of one table as it would be committed."""

    @property
    def id(self) -> str:
        """Hash of the state."""

    @property
    def schema(self) -> Schema:
        """Its schema."""

    @property
    def row_count(self) -> int:
        """Its live rows."""


class StagedChanges(Protocol):
    """What a guard may look at; the store hands over a transaction, which can also be written to."""

    def tables(self, *, system: bool = False) -> list[str]:
        """Return the names of the tables."""

    def table(self, name: str) -> StagedTable:
        """Return the state that the table would have."""


class Guard(Protocol):
    """Looks at a change on the state it would be committed to.

    The store calls it before each attempt to move the branch, so more than once if others were faster. It may
    recompute derived tables in the change it is given. Raising (usually CheckFailed) refuses the commit.
    """

    def review(self, staged: StagedChanges, moved: Collection[str]) -> None:
        """Check the staged change; ``moved`` names the tables others changed since it was begun."""
