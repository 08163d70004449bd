"""How each operation of the plain form is cut into stages; see ``stages.py`` for what comes out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import ibis
import ibis.expr.operations as ops

from gristmill.algebra.delta.joins_plain import rejoined
from gristmill.algebra.delta.plain import repointed
from gristmill.algebra.moving import fields_of_relation, moved_value, windows_in
from gristmill.algebra.nodes import AsofJoin
from gristmill.algebra.parting.halves import merged
from gristmill.algebra.parting.keys import (
    Pair,
    by_columns,
    can_exchange,
    equal_pairs,
    has_subquery,
    hashed,
    is_hashable,
    plain_name,
    through,
)
from gristmill.algebra.parting.stages import HASH, OUT, Feed, Parted, Piece, Stage

_MOST_KEPT = 1_000_000
"""A limit of at most so many rows is taken within every piece first."""


class Parting:
    """The cutting of one definition: pieces by relation, and the stages so far.

    Args:
        small: inputs that every piece of work may read whole.
    """

    def __init__(self, small: Collection[str] = ()) -> None:
        self._small = frozenset(small)
        self._stages: list[Stage] = []
        self._known: dict[ops.Relation, list[Piece]] = {}
        self._exchanges: dict[tuple[ops.Relation, tuple[ops.Value, ...]], Piece] = {}
        self._names = 0

    def stages(self, root: ops.Relation) -> Parted:
        """Return all stages for a relation in plain form."""
        for piece in self._of(root):
            self._write(OUT, piece, piece.expr)
        return Parted(tuple(self._stages), ibis.schema(dict(root.schema.items())))

    def _of(self, node: ops.Relation) -> list[Piece]:
        if node not in self._known:
            self._known[node] = self._cut(node)
        return self._known[node]

    def _cut(self, node: ops.Relation) -> list[Piece]:
        if has_subquery(node):
            return [self._as_it_is(node, "a subquery looks at all rows")]
        match node:
            case ops.UnboundTable():
                return [self._leaf(node, "rows")]
            case ops.Project() if windows_in(node.values.values()):
                return [self._windowed(node)]
            case ops.Project() | ops.Filter() | ops.TableUnnest():
                return [self._over(piece, node) for piece in self._of(node.parent)]
            case ops.Union() if not node.distinct:
                return [*self._side(node, node.left), *self._side(node, node.right)]
            case ops.Aggregate():
                return [self._grouped(node)]
            case ops.JoinChain() if len(node.rest) == 1:
                return self._joined(node)
            case AsofJoin():
                return self._as_of(node)
            case ops.Limit():
                return [self._limited(node)]
        return [self._as_it_is(node, f"{type(node).__name__.lower()} looks at all rows")]

    # -- names and stages -----------------------------------------------------------------------------

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"_gm_{kind}_{self._names}"

    def _leaf(self, node: ops.UnboundTable, how: str) -> Piece:
        name = self._name("in")
        schema = ibis.schema(dict(node.schema.items()))
        table = ops.UnboundTable(name=name, schema=node.schema)
        return Piece(table, {name: Feed(node.name, how, schema)})  # type: ignore[arg-type]

    def _write(self, target: str, piece: Piece, expr: ops.Relation) -> None:
        why = piece.why if piece.single else ""
        self._stages.append(Stage(target, expr.to_expr(), dict(piece.feeds), piece.operation, why))

    def _exchange(self, node: ops.Relation, pieces: Sequence[Piece], keys: Sequence[ops.Value]) -> Piece:
        """Return a relation read back from an exchange: a part of it by some values over ``node``, all without any."""
        known = (node, tuple(keys))
        if known not in self._exchanges:
            target = self._name("x")
            for piece in pieces:
                own = [moved_value(key, node, piece.expr) for key in keys]
                expr = piece.expr
                if keys:
                    expr = ops.Project(expr, {**fields_of_relation(expr), HASH: hashed(own)})
                self._write(target, piece, expr)
            schema = ibis.schema(dict(node.schema.items()))
            feed = Feed(target, "part" if keys else "whole", schema, made=True)
            table = ops.UnboundTable(name=self._name("in"), schema=schema)
            self._exchanges[known] = Piece(table, {table.name: feed}, by_columns(keys))
        return self._exchanges[known]

    def _whole(self, node: ops.Relation) -> Piece:
        """Return a relation of which every piece of work sees all."""
        pieces = self._of(node)
        only = pieces[0]
        if len(pieces) > 1 or (only.heavy and not only.single):
            return self._exchange(node, pieces, ())
        expr, feeds = only.expr, {}
        for name, feed in only.feeds.items():
            fresh = ops.UnboundTable(name=self._name("in"), schema=feed.schema)
            old = ops.UnboundTable(name=name, schema=feed.schema)
            expr = expr.replace({old: fresh})
            feeds[fresh.name] = replace(feed, how="whole")
        return replace(only, expr=expr, feeds=feeds, by=())

    def _is_small(self, node: ops.Relation) -> bool:
        pieces = self._of(node)
        feeds = [feed for piece in pieces for feed in piece.feeds.values()]
        light = all(not piece.heavy for piece in pieces)
        return light and all(not feed.made and feed.source in self._small for feed in feeds)

    def _together(self, node: ops.Relation, keys: Sequence[ops.Value]) -> Piece:
        """Return a relation whose rows of equal keys lie in one piece of work."""
        pieces = self._of(node)
        if len(pieces) == 1 and (pieces[0].single or _lies(pieces[0], keys)):
            return pieces[0]
        return self._exchange(node, pieces, keys)

    def _as_it_is(self, node: ops.Relation, why: str) -> Piece:
        """Return a relation computed at once from all of its inputs."""
        feeds: dict[str, Feed] = {}
        subs: dict[ops.Node, ops.Node] = {}
        for table in node.find(ops.UnboundTable):
            piece = self._leaf(table, "whole")
            subs[table] = piece.expr
            feeds |= piece.feeds
        return Piece(node.replace(subs), feeds, heavy=True, operation=type(node).__name__.lower(), why=why)

    # -- operations -----------------------------------------------------------------------------------

    def _over(self, piece: Piece, node: ops.Project | ops.Filter | ops.TableUnnest) -> Piece:
        by = piece.by
        if isinstance(node, ops.Project):
            by = tuple(through(node.values, node.parent, names) for names in by)
        return replace(piece, expr=repointed(node, {node.parent: piece.expr}), by=by if all(by) else ())

    def _side(self, node: ops.Union, side: ops.Relation) -> list[Piece]:
        names = node.schema.names
        made = []
        for piece in self._of(side):
            same = list(piece.expr.schema.items()) == list(node.schema.items())
            values = {
                name: _as_type(ops.Field(piece.expr, old), node.schema[name])
                for name, old in zip(names, piece.expr.schema.names, strict=True)
            }
            made.append(piece if same else replace(piece, expr=ops.Project(piece.expr, values), by=()))
        return made

    def _windowed(self, node: ops.Project) -> Piece:
        keys = list(windows_in(node.values.values())[0].group_by)
        exchangeable = can_exchange(node.parent) and is_hashable(keys)
        if not keys or not exchangeable:
            below = self._whole(node.parent)
            why = "a window over all rows has no partition to part by"
            made = repointed(node, {node.parent: below.expr})
            return replace(below, expr=made, by=(), heavy=True, operation="window over all rows", why=why)
        below = self._together(node.parent, keys)
        return replace(self._over(below, node), heavy=True, operation=f"window by {_words(keys)}")

    def _grouped(self, node: ops.Aggregate) -> Piece:
        keys = list(node.groups.values())
        words = f"group by {_words(keys)}" if keys else "total over all rows"
        pieces = self._of(node.parent)
        apart = not can_exchange(node.parent) or not is_hashable(keys)
        if not (len(pieces) == 1 and (pieces[0].single or (keys and _lies(pieces[0], keys)))):
            halves = merged(node)
            if halves is not None and can_exchange(halves.partial):
                parts = [
                    replace(piece, expr=halves.over(piece.expr), by=(), heavy=True, operation=f"{words}, in part")
                    for piece in pieces
                ]
                below = self._exchange(halves.partial, parts, halves.keys)
                expr = halves.finish(below.expr)
                by = tuple(frozenset({name}) for name in node.groups)
                return replace(below, expr=expr, by=by, heavy=True, operation=words, why="")
        if not keys or apart:
            below = self._whole(node.parent)
            why = "an aggregate over all rows that has no partial results" if not keys else _not_hashable(keys)
            made = repointed(node, {node.parent: below.expr})
            return replace(below, expr=made, by=(), heavy=True, operation=words, why=why)
        below = self._together(node.parent, keys)
        by = tuple(frozenset({name}) for name in node.groups)
        made = repointed(node, {node.parent: below.expr})
        return replace(below, expr=made, by=by, heavy=True, operation=words)

    def _joined(self, node: ops.JoinChain) -> list[Piece]:
        left, right = node.first.parent, node.rest[0].table.parent
        pairs = equal_pairs(node)
        if self._is_small(right) or not pairs or not (can_exchange(left) and can_exchange(right)):
            return self._beside(node, left, right, lambda a, b: rejoined(node, a, b))
        first, second = self._pair(left, right, pairs)
        how = node.rest[0].how
        by: list[frozenset[str]] = []
        for mine, theirs in zip(first.by, second.by, strict=False):
            found = through(node.values, node.first, mine)
            if how == "inner":
                found |= through(node.values, node.rest[0].table, theirs)
            by.append(found)
        lies = tuple(by) if len(first.by) == len(second.by) and all(by) else ()
        expr = rejoined(node, first.expr, second.expr)
        words = f"{how} join by {_words([pair.left for pair in pairs])}"
        return [Piece(expr, {**first.feeds, **second.feeds}, lies, heavy=True, operation=words)]

    def _pair(self, left: ops.Relation, right: ops.Relation, pairs: Sequence[Pair]) -> tuple[Piece, Piece]:
        """Return both sides with rows of equal keys in one piece of work."""
        ours, theirs = [pair.left for pair in pairs], [pair.right for pair in pairs]
        for some in ([pair] for pair in pairs):
            for node, keys, other, others in (
                (left, [some[0].left], right, [some[0].right]),
                (right, [some[0].right], left, [some[0].left]),
            ):
                pieces = self._of(node)
                if len(pieces) == 1 and not pieces[0].single and len(pieces[0].by) == 1 and _lies(pieces[0], keys):
                    made = self._placed(other, others)
                    return (pieces[0], made) if node is left else (made, pieces[0])
        return self._placed(left, ours), self._placed(right, theirs)

    def _placed(self, node: ops.Relation, keys: Sequence[ops.Value]) -> Piece:
        """Return a relation that lies by the hash of just these values, in this order."""
        pieces = self._of(node)
        names = [plain_name(key) for key in keys]
        only = pieces[0]
        lies = len(only.by) == len(names) and all(name in place for name, place in zip(names, only.by, strict=True))
        if len(pieces) == 1 and not only.single and lies:
            return only
        return self._exchange(node, pieces, keys)

    def _beside(
        self,
        node: ops.Relation,
        left: ops.Relation,
        right: ops.Relation,
        make: Callable[[ops.Relation, ops.Relation], ops.Relation],
        words: str = "",
    ) -> list[Piece]:
        """Return the left side's pieces, each with all of the right side."""
        other = self._whole(right)
        found = []
        for piece in self._of(left):
            by: tuple[frozenset[str], ...] = piece.by
            if isinstance(node, ops.JoinChain):
                by = tuple(through(node.values, node.first, names) for names in by)
            expr = make(piece.expr, other.expr)
            operation = words or "join with all of a table"
            lies = by if all(by) else ()
            found.append(Piece(expr, {**piece.feeds, **other.feeds}, lies, heavy=True, operation=operation))
        return found

    def _as_of(self, node: AsofJoin) -> list[Piece]:
        pairs = [(ops.Field(node.left, a), ops.Field(node.right, b)) for a, b in node.by]
        same = all(a.dtype.copy(nullable=True) == b.dtype.copy(nullable=True) for a, b in pairs)
        good = bool(pairs) and same and is_hashable([a for a, _ in pairs])

        def make(left: ops.Relation, right: ops.Relation) -> ops.Relation:
            return node.copy(left=left, right=right)

        if self._is_small(node.right) or not good or not (can_exchange(node.left) and can_exchange(node.right)):
            return self._beside(node, node.left, node.right, make, "as-of join with all of a table")
        first, second = self._pair(node.left, node.right, [Pair(a, b) for a, b in pairs])
        words = f"as-of join by {_words([a for a, _ in pairs])}"
        return [Piece(make(first.expr, second.expr), {**first.feeds, **second.feeds}, first.by, True, words)]

    def _limited(self, node: ops.Limit) -> Piece:
        order = node.parent
        below = order.parent if isinstance(order, ops.Sort) else order
        n, offset = node.n, node.offset
        pieces = self._of(below)
        if isinstance(n, int) and isinstance(offset, int) and n + offset <= _MOST_KEPT and isinstance(order, ops.Sort):
            tops = [
                replace(
                    piece,
                    expr=node.copy(parent=repointed(order, {below: piece.expr}), n=n + offset, offset=0),
                    by=(),
                    operation="first rows of each piece",
                )
                for piece in pieces
            ]
            whole = self._exchange(node, tops, ()) if can_exchange(below) else self._whole(below)
        else:
            whole = self._whole(below)
        made = repointed(order, {below: whole.expr}) if order is not below else whole.expr
        why = "an order over all rows decides which are taken"
        return replace(whole, expr=node.copy(parent=made), by=(), heavy=True, operation="limit", why=why)


def _lies(piece: Piece, keys: Sequence[ops.Value]) -> bool:
    """Whether rows of equal keys lie in one piece of work already."""
    names = {name for key in keys if (name := plain_name(key)) is not None}
    return bool(piece.by) and all(place & names for place in piece.by)


def _as_type(value: ops.Value, dtype: object) -> ops.Value:
    return value if value.dtype.copy(nullable=True) == dtype.copy(nullable=True) else ops.Cast(value, dtype)  # type: ignore[attr-defined]


def _words(keys: Sequence[ops.Value]) -> str:
    return ", ".join(plain_name(key) or key.name for key in keys)


def _not_hashable(keys: Sequence[ops.Value]) -> str:
    return f"rows cannot be parted by {_words(keys)}"
