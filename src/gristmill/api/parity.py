"""The proof that stored tables are what their definitions give, as a method of a project."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from gristmill.errors import CheckFailed, UsageError, did_you_mean

if TYPE_CHECKING:
    from gristmill.api.project import Project
    from gristmill.run.parity import Compared, Parity


class ParityReport:
    """What comparing tables gave; iterate over it for one `Compared` a table."""

    def __init__(self, found: Parity) -> None:
        self.found = found

    @property
    def ok(self) -> bool:
        """Whether no table differs. Tables that were not compared do not count as equal: see ``complete``."""
        return self.found.ok

    @property
    def complete(self) -> bool:
        """Whether every table was compared, and in full."""
        return self.found.complete

    @property
    def commit(self) -> str:
        """The commit that was looked at."""
        return self.found.commit

    @property
    def tables(self) -> tuple[Compared, ...]:
        """What was found, inputs first."""
        return self.found.tables

    def __getitem__(self, table: str) -> Compared:
        return next(found for found in self.tables if found.table == table)

    def raise_if_failed(self) -> None:
        """Raise CheckFailed that names the tables that differ."""
        apart = [found for found in self.tables if found.outcome == "different"]
        if apart:
            raise CheckFailed(
                f"{len(apart)} of {len(self.tables)} tables differ from their definitions",
                where=f"{', '.join(found.table for found in apart)} at {self.commit[:7]}",
                examples=[line.strip() for found in apart for line in lines_of(found)[1:4]],
                hint="gristmill run computes them in full",
            )

    def __repr__(self) -> str:
        return "\n".join([f"parity at {self.commit[:7]}", *(line for t in self.tables for line in lines_of(t))])


def lines_of(found: Compared) -> list[str]:
    """Return what is to be said of one table: a line, and where it differs, a line for each example and the place."""
    rows = f"{found.difference.stored_rows:,} rows" if found.difference is not None else ""
    if found.outcome == "not_compared":
        return [f"{found.table}  not compared  {found.why}"]
    share = f"a share of {found.share:g} of the keys: " if found.share < 1 else ""
    lines = [f"{found.table}  {found.outcome}  {share}{rows}" + (f"  ({found.why})" if found.why else "")]
    if found.difference is None or found.outcome == "equal":
        return lines
    apart = found.difference
    lines[0] += f": {apart.different:,} different, {apart.missing:,} missing, {apart.extra:,} extra"
    for row in apart.examples:
        key = " ".join(f"{name}={value}" for name, value in row.key.items())
        both = row.stored.keys() & row.computed.keys()
        cells = ", ".join(f"{name} is {row.stored[name]}, should be {row.computed[name]}" for name in sorted(both))
        lines.append(f"  {row.kind}  {key}" + (f"  {cells}" if cells else ""))
    if found.parted is not None:
        lines.append(f"  since: {found.parted.words}")
    return lines


class Proves:
    """How a project proves that its tables are right."""

    def parity(
        self,
        table: str | None = None,
        *,
        at: str | None = None,
        sample: float | None = None,
        within_s: float | None = None,
        params: Mapping[str, object] | None = None,
    ) -> ParityReport:
        """Compute tables again in full at a commit, without writing a row, and compare them with what is stored.

        A table that differs is computed in full by the next run.

        Args:
            table: one table; None means every one that is computed.
            at: the state to look at; default: the branch that verbs work on.
            sample: the share of keys to look at, such as 0.01; another commit, other keys. None means all.
            within_s: stop after so many seconds; what was not reached is said to be not compared.
            params: values for keyword parameters of definitions, as given to ``run``.

        >>> import tempfile, gristmill as gm
        >>> project = gm.Project(tempfile.mkdtemp())
        >>> one = project.sql("marts.one", "select 1 as x", reads=[], key="x")
        >>> project.run().ok
        True
        >>> project.parity()["marts.one"].outcome
        'equal'
        """
        from gristmill.run.parity import check_parity

        project = cast("Project", self)
        names = [node.name for node in project.graph if node.kind != "source"]
        if table is not None and table not in names:
            what = "is a source, which is landed, not computed" if table in project.graph else "is not defined"
            hint = did_you_mean(table, names)
            raise UsageError(f"`{table}` {what}", code="GM-U141", hint=hint)
        with project.context(parameters=params) as ctx:
            chosen = names if table is None else [table]
            return ParityReport(check_parity(ctx, at or project.branch(), chosen, share=sample, within_s=within_s))
