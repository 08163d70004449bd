"""A definition cut into stages that can each be computed part by part, with the same rows as computing it at once.

Rows that must meet (of a group, of a join key, of a window's partition) are brought together by an *exchange*: the
stage before writes its rows in parts by a hash of the key, the stage after reads one part at a time. What looks at all
rows at once (an order over all, a window without a partition, a subquery) is one piece of work, and says so.

The order of rows, how inputs are cut and the number of parts have no effect on the rows: sums are exact, and every
order is total (see ``../sums.py`` and ``../orders.py``). Stages are written in the plain form of ``../delta/plain.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import ibis
import ibis.expr.operations as ops

How = Literal["rows", "part", "whole"]
"""How a piece of work sees a table: any cut of its rows, one part of an exchange, or all of it."""

HASH = "_gm_part"
"""The column with the hash by which rows go to parts."""
OUT = ""
"""The name of the definition's own rows among the targets of stages."""


@dataclass(frozen=True, slots=True)
class Feed:
    """What a table's name in a stage stands for.

    Args:
        source: an input of the definition, or the exchange that an earlier stage writes.
        how: what a piece of work sees of it.
        schema: its columns.
        made: whether it is an exchange.
    """

    source: str
    how: How
    schema: ibis.Schema
    made: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """One step: the same expression over every piece of its feeds; the results together are the result.

    Args:
        target: the exchange that it writes to; `OUT` for the definition's own rows. Several stages may write to one.
        expr: what to compute, over the names of ``feeds``; compile it as it stands. It has a column `HASH` where
            rows go to parts.
        feeds: the tables that it reads.
        operation: what it does, in words.
        why: why it is one piece of work; empty where it is not.
    """

    target: str
    expr: ibis.Table
    feeds: Mapping[str, Feed]
    operation: str
    why: str = ""

    @property
    def parted(self) -> bool:
        """Whether the rows that it writes go to parts by their hash."""
        return HASH in self.expr.columns

    @property
    def single(self) -> bool:
        """Whether it is one piece of work."""
        return all(feed.how == "whole" for feed in self.feeds.values())


@dataclass(frozen=True, slots=True)
class Parted:
    """A definition as stages, those that others read from first.

    Args:
        stages: what to do.
        schema: the columns of the definition's own rows.
    """

    stages: tuple[Stage, ...]
    schema: ibis.Schema

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The names of what is made between stages, in order."""
        return tuple(dict.fromkeys(stage.target for stage in self.stages if stage.target != OUT))

    @property
    def hashed(self) -> bool:
        """Whether some exchange has parts, so that less is held at a time where there are more of them."""
        return any(stage.parted for stage in self.stages)

    @property
    def whole(self) -> tuple[str, ...]:
        """Why some stages are one piece of work, in words."""
        return tuple(dict.fromkeys(stage.why for stage in self.stages if stage.why))


@dataclass(frozen=True, slots=True)
class Piece:
    """A relation while stages are made: an expression over feeds, and what is known of where its rows lie.

    Args:
        expr: the relation.
        feeds: what its tables stand for.
        by: where its rows lie by the hash of some columns, the columns that have each hashed value.
        heavy: whether computing it is more than one pass over rows.
        operation: the last thing done, in words.
        why: why it is one piece of work.
    """

    expr: ops.Relation
    feeds: Mapping[str, Feed]
    by: tuple[frozenset[str], ...] = ()
    heavy: bool = False
    operation: str = "read"
    why: str = ""
    notes: tuple[str, ...] = field(default=())

    @property
    def single(self) -> bool:
        """Whether it is computed in one piece."""
        return all(feed.how == "whole" for feed in self.feeds.values())


def parted(expr: ibis.Table, *, small: Collection[str] = ()) -> Parted:
    """Return the stages of a definition.

    Args:
        expr: in normal form, over unbound tables (or a state's ``build``).
        small: inputs of so few rows that every piece of work may read all of them.

    >>> t = ibis.table({"k": "string", "x": "int64"}, name="raw.t")
    >>> [stage.operation for stage in parted(t.group_by("k").agg(n=t.count())).stages]
    ['group by k, in part', 'group by k']
    """
    from gristmill.algebra.delta.plain import plain
    from gristmill.algebra.delta.pruned import pruned
    from gristmill.algebra.parting.cutting import Parting

    return Parting(small).stages(pruned(plain(expr.op())))
