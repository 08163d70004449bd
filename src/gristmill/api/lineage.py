"""The verbs that follow rows, as methods of a project."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from gristmill.api.project import Project
    from gristmill.lineage import Blame, Forward, Replay, Trace
    from gristmill.lineage.stored import Key
    from gristmill.run.witnesses import ColumnSources


class Follows:
    """What a project can say about where rows come from and where they went."""

    def trace(
        self,
        table: str,
        *,
        key: Key | None = None,
        where: str | None = None,
        row: int | None = None,
        at: str | None = None,
        shown: int = 5,
    ) -> Trace:
        """Follow rows of a table back to the source lines that they come from.

        Args:
            table: the table.
            key: the key's values: text, values in the key's order, or by column.
            where: a condition in SQL.
            row: a row id.
            at: the state to look at; default: the branch that verbs work on.
            shown: how many rows of each table to hold as a sample.

        Raises NotFound where no row fits.
        """
        from gristmill.lineage import trace

        project = cast("Project", self)
        ref = at or project.branch()
        return trace(project.store, ref, table, key=key, where=where, row=row, root=project.root, shown=shown)

    def forward(
        self,
        table: str,
        *,
        key: Key | None = None,
        where: str | None = None,
        row: int | None = None,
        unit: str | None = None,
        line: int | None = None,
        at: str | None = None,
        shown: int = 5,
    ) -> Forward:
        """Follow rows of a table, or all of a unit (or one line of it), to every row that they reached.

        Args:
            table, key, where, row, at, shown: as for `trace`.
            unit: the unit that delivered the rows.
            line: with ``unit``, the row of that line.
        """
        from gristmill.lineage import forward

        project = cast("Project", self)
        return forward(
            project.store,
            at or project.branch(),
            table,
            key=key,
            where=where,
            row=row,
            unit=unit,
            line=line,
            root=project.root,
            shown=shown,
        )

    def replay(self, traced: Trace) -> Replay:
        """Compute traced rows again from only the source rows behind them, and compare bit for bit.

        The project's definitions run as they are now, models as they were stored.
        """
        from gristmill.engines.kernel import Kernel
        from gristmill.lineage import replay
        from gristmill.lineage.backward import retraced

        project = cast("Project", self)
        with Kernel() as kernel:
            whole = retraced(project.store, kernel, traced)
        with project.context() as ctx:
            return replay(ctx, whole)

    def blame(self, table: str, *, key: Key | None = None, row: int | None = None, at: str | None = None) -> Blame:
        """Say which commit, and which run, last set each cell of a row."""
        from gristmill.lineage import blame

        project = cast("Project", self)
        return blame(project.store, at or project.branch(), table, key=key, row=row)

    def columns(self, table: str, column: str, *, at: str | None = None) -> ColumnSources:
        """Say which source columns a column comes from, and which only decide about it."""
        from gristmill.lineage.columns import source_columns

        project = cast("Project", self)
        return source_columns(project.store.snapshot(at or project.branch()), table, column)
