"""How rows of one input pass through each relational operation: the rules behind ``witnesses.py``.

A *path* is the relation rewritten so that it also carries the input's row id, one row per row behind it. It is
*exact* where it still has each row of the relation once: then windows may be computed on it as they stand. Where it
is not, the relation is computed as it was and joined back to the path by what identifies its rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.moving import (
    computed_first,
    conjuncts,
    fields_of_relation,
    moved_by,
    moved_value,
    plain_columns,
    windows_in,
)
from gristmill.algebra.nodes import AsofJoin

ROW = "_gm_row"
ROWS_SUFFIX = "#rows"
_ROW_ID = "_row_id"
_COPIED = ("inner", "left", "right", "outer", "cross")


@dataclass(frozen=True, slots=True)
class Path:
    """Rows of the input on their way: a relation with the node's columns and ``ROW``."""

    relation: ops.Relation
    kind: Literal["direct", "frame"] = "direct"
    exact: bool = False
    needed: bool = True
    why: str = "its values come from these rows"


@dataclass(frozen=True, slots=True)
class Note:
    """Influence that is no list of rows."""

    kind: Literal["global", "whole"]
    why: str
    needed: bool = True


Found = tuple[list[Path], list[Note]]


def paths_of(root: ops.Relation, table: str) -> Found:
    """Return how rows of an input table reach the rows of ``root``, which must be in normal form."""
    return _Tracer(table).of(root)


class _Tracer:
    """The rules for one input, with what was found for each relation."""

    def __init__(self, table: str) -> None:
        self.table = table
        self._known: dict[ops.Relation, Found] = {}

    def of(self, node: ops.Relation) -> Found:
        if node not in self._known:
            reads = any(leaf.name == self.table for leaf in node.find(ops.UnboundTable))
            self._known[node] = self._found(node) if reads else ([], [])
        return self._known[node]

    def _found(self, node: ops.Relation) -> Found:
        match node:
            case ops.UnboundTable():
                return [Path(_leaf(node), exact=True)], []
            case ops.Sort() | ops.SelfReference() | ops.Distinct():
                return self._below(node)
            case ops.Project():
                return self._project(node)
            case ops.Filter():
                return self._filter(node)
            case ops.DropColumns() | ops.DropNull() | ops.FillNull():
                return self.of(plain_columns(node))
            case ops.TableUnnest():
                return self._unnest(node)
            case ops.Aggregate():
                return self._aggregate(node)
            case ops.JoinChain():
                return self._join(node)
            case AsofJoin():
                return self._asof(node)
            case ops.Set():
                return self._set(node)
            case ops.Limit():
                return self._limit(node)
        return [], [Note("whole", f"{type(node).__name__} does not say which rows it takes")]

    def _below(self, node: ops.Sort | ops.SelfReference | ops.Distinct) -> Found:
        paths, notes = self.of(node.parent)
        if isinstance(node, ops.Distinct):
            paths = [replace(path, exact=False) for path in paths]
        return list(paths), list(notes)

    # -- one relation below -------------------------------------------------------------------------

    def _project(self, node: ops.Project) -> Found:
        windows = windows_in(node.values.values())
        paths, notes = self.of(node.parent)
        made: list[Path] = []
        for path in paths:
            if path.exact or not (windows or _correlated(node.values.values())):
                values = {name: moved_value(value, node.parent, path.relation) for name, value in node.values.items()}
                made.append(replace(path, relation=ops.Project(path.relation, values | _row(path.relation))))
            else:
                made.append(replace(path, relation=_rejoined(node, path.relation), exact=False))
        frames, more = self._frames(node, windows, paths)
        return made + frames, [*notes, *more, *self._subqueries(node.values.values())]

    def _frames(self, node: ops.Project, windows: list[ops.WindowFunction], paths: list[Path]) -> Found:
        """Return the rows that share a window with a row of the result, by the windows' partitions."""
        if not paths or not windows:
            return [], []
        notes = []
        if any(not window.group_by for window in windows):
            notes.append(Note("global", "a window is over all rows"))
        frames = []
        for keys in dict.fromkeys(window.group_by for window in windows if window.group_by):
            extra = {f"_gm_key_{i}": key for i, key in enumerate(keys)}
            whole = ops.Project(node.parent, dict(node.values) | extra)
            for path in paths:
                moved = {name: moved_value(key, node.parent, path.relation) for name, key in extra.items()}
                mates = ops.Project(path.relation, moved | _row(path.relation))
                found = _matched(whole, mates, node.schema.names, [(name, name) for name in extra])
                frames.append(Path(found, "frame", needed=path.needed, why="they share a window with it"))
        return frames, notes

    def _subqueries(self, values: Iterable[ops.Value]) -> list[Note]:
        """Say that the input decides through a subquery, for those values whose rows are not followed."""
        for value in values:
            for part in value.find(ops.Subquery, filter=ops.Value):
                if any(leaf.name == self.table for leaf in part.rel.find(ops.UnboundTable)):
                    return [Note("global", "a condition or statistic over all of it decides")]
        return []

    def _filter(self, node: ops.Filter) -> Found:
        if windows_in(node.predicates):
            return self.of(computed_first(node))
        paths, notes = self.of(node.parent)
        made = []
        for path in paths:
            if _correlated(node.predicates):
                made.append(replace(path, relation=_rejoined(node, path.relation), exact=False))
            else:
                predicates = [moved_value(value, node.parent, path.relation) for value in node.predicates]
                made.append(replace(path, relation=ops.Filter(path.relation, predicates)))
        tests = list(conjuncts(node.predicates))
        members = [value for value in tests if isinstance(value, ops.InSubquery)]
        for member in members:
            inner, more = self.of(member.rel)
            notes = [*notes, *more]
            made += [self._member(node, member, path) for path in inner]
        others = [value for value in tests if value not in members]
        return made, [*notes, *self._subqueries([*others, *(member.needle for member in members)])]

    def _member(self, node: ops.Filter, member: ops.InSubquery, path: Path) -> Path:
        """Return the rows of a subquery that let a row pass ``IN``."""
        needle = moved_value(member.needle, node.parent, node)
        whole = ops.Project(node, dict(fields_of_relation(node)) | {"_gm_key_0": needle})
        relation = _matched(whole, path.relation, node.schema.names, [("_gm_key_0", member.rel.schema.names[0])])
        return replace(path, relation=relation, exact=False, why="they let it pass a condition")

    def _unnest(self, node: ops.TableUnnest) -> Found:
        paths, notes = self.of(node.parent)
        made = []
        for path in paths:
            column = moved_value(node.column, node.parent, path.relation)
            made.append(replace(path, relation=node.copy(parent=path.relation, column=column)))
        return made, [*notes, *self._subqueries([node.column])]

    def _aggregate(self, node: ops.Aggregate) -> Found:
        paths, notes = self.of(node.parent)
        extra = self._subqueries(node.values.values())
        if not node.groups:
            return [], [*notes, *extra, Note("global", "it is computed from all rows")]
        made = []
        for path in paths:
            groups = {name: moved_value(value, node.parent, path.relation) for name, value in node.groups.items()}
            members = ops.Project(path.relation, groups | _row(path.relation))
            found = _matched(node, members, node.schema.names, [(name, name) for name in groups])
            made.append(replace(path, relation=found, exact=False))
        return made, [*notes, *extra]

    def _limit(self, node: ops.Limit) -> Found:
        paths, notes = self.of(node.parent)
        made = [replace(path, relation=_rejoined(node, path.relation), exact=False) for path in paths]
        return made, [*notes, Note("global", "the order of all rows decides which are taken", needed=False)]

    # -- several relations below --------------------------------------------------------------------

    def _join(self, node: ops.JoinChain) -> Found:
        made: list[Path] = []
        notes: list[Note] = []
        for index, side in enumerate(node.tables):
            how = "inner" if index == 0 else node.rest[index - 1].how
            paths, more = self.of(side.parent)
            notes += more
            if how == "anti":
                if paths or more:
                    notes.append(Note("global", "none of its rows may match", needed=False))
            elif how == "semi":
                made += [_joined(node, index, path, how="inner") for path in paths]
            elif how in _COPIED:
                made += [_joined(node, index, path, how=how) for path in paths]
            elif paths:
                notes.append(Note("whole", f"a join of the kind `{how}` does not say which row it takes"))
        predicates = [predicate for link in node.rest for predicate in link.predicates]
        return made, [*notes, *self._subqueries([*node.values.values(), *predicates])]

    def _asof(self, node: AsofJoin) -> Found:
        made: list[Path] = []
        left, notes = self.of(node.left)
        made += [replace(path, relation=node.copy(left=path.relation)) for path in left]
        right, more = self.of(node.right)
        for path in right:
            made.append(_last_known(node, path))
            if node.by:
                found = _competitors(node, path)
                made.append(Path(found, "frame", needed=False, why="they compete for the moment"))
        if right and not node.by:
            more = [*more, Note("global", "the nearest of all its rows counts", needed=False)]
        return made, [*notes, *more]

    def _set(self, node: ops.Set) -> Found:
        left, notes = self.of(node.left)
        right, more = self.of(node.right)
        if isinstance(node, ops.Union):
            both = [*left, *(replace(path, relation=_as(path.relation, node.schema)) for path in right)]
            return [replace(path, exact=False) for path in both], [*notes, *more]
        if isinstance(node, ops.Intersection):
            kept = [replace(path, relation=_rejoined(node, path.relation), exact=False) for path in [*left, *right]]
            return kept, [*notes, *more]
        kept = [replace(path, relation=_rejoined(node, path.relation), exact=False) for path in left]
        if right or more:
            more = [*more, Note("global", "none of its rows may be equal", needed=False)]
        return kept, [*notes, *more]


def _leaf(node: ops.UnboundTable) -> ops.Relation:
    fields = {name: dtype for name, dtype in node.schema.items() if name != _ROW_ID}
    rows = ops.UnboundTable(name=node.name + ROWS_SUFFIX, schema={**fields, _ROW_ID: dt.int64})
    values = {name: ops.Field(rows, name) for name in node.schema.names}
    return ops.Project(rows, values | {ROW: ops.Field(rows, _ROW_ID)})


def _row(relation: ops.Relation) -> dict[str, ops.Value]:
    return {ROW: ops.Field(relation, ROW)}


def _correlated(values: Iterable[ops.Value]) -> bool:
    """Whether a subquery may look at the row it stands in."""
    return any(value.find(ops.ExistsSubquery, filter=ops.Value) for value in values)


def _matched(
    whole: ops.Relation, rows: ops.Relation, columns: Iterable[str], pairs: Iterable[tuple[str, str]]
) -> ops.Relation:
    """Return columns of ``whole`` with the ``ROW`` of the rows that agree with it on pairs of columns, nulls too."""
    left, right = ops.JoinReference(whole, identifier=0), ops.JoinReference(rows, identifier=1)
    equal = [ops.IdenticalTo(ops.Field(left, a), ops.Field(right, b)) for a, b in pairs]
    values = {name: ops.Field(left, name) for name in columns}
    return ops.JoinChain(left, [ops.JoinLink("inner", right, equal)], values | _row(right))


def _rejoined(node: ops.Relation, rows: ops.Relation) -> ops.Relation:
    """Return a relation with the ``ROW`` of the rows below it, matched by all columns of what is below it."""
    if not isinstance(node, ops.Project):
        names = node.schema.names
        return _matched(node, rows, names, [(name, name) for name in names])
    below = {f"_gm_{i}": ops.Field(node.parent, name) for i, name in enumerate(node.parent.schema.names)}
    whole = ops.Project(node.parent, dict(node.values) | below)
    return _matched(whole, rows, node.schema.names, list(zip(below, node.parent.schema.names, strict=True)))


def _joined(node: ops.JoinChain, index: int, path: Path, *, how: str) -> Path:
    """Return a join with one of its sides replaced by a path."""
    old = node.tables[index]
    new = ops.JoinReference(path.relation, identifier=old.identifier)
    first = new if index == 0 else node.first
    links = []
    for number, link in enumerate(node.rest, 1):
        predicates = [moved_value(predicate, old, new) for predicate in link.predicates]
        table, kind = (new, how) if number == index else (link.table, link.how)
        links.append(ops.JoinLink(kind, table, predicates))
    values = {name: moved_value(value, old, new) for name, value in node.values.items()}
    exact = path.exact and (index == 0 or node.rest[index - 1].how in _COPIED)
    return replace(path, relation=ops.JoinChain(first, links, values | _row(new)), exact=exact)


def _last_known(node: AsofJoin, path: Path) -> Path:
    """Return an as-of join with the ``ROW`` of the right row that each left row was given."""
    if path.exact:
        relation = node.copy(right=path.relation, picks=(*node.picks, (ROW, ROW)), ties=(*node.ties, ROW))
        return replace(path, relation=relation)
    extra = {f"_gm_right_{i}": name for i, name in enumerate(node.right.schema.names)}
    whole = node.copy(picks=(*node.picks, *extra.items()))
    there = ops.Filter(path.relation, [ops.NotNull(ops.Field(path.relation, node.on[1]))])
    return replace(path, relation=_matched(whole, there, node.schema.names, list(extra.items())))


def _competitors(node: AsofJoin, path: Path) -> ops.Relation:
    """Return an as-of join with the right rows that could have been taken at each moment."""
    left, right = ops.JoinReference(node, identifier=0), ops.JoinReference(path.relation, identifier=1)
    tests: list[ops.Value] = [ops.Equals(ops.Field(left, a), ops.Field(right, b)) for a, b in node.by]
    now, then = ops.Field(left, node.on[0]), ops.Field(right, node.on[1])
    if node.direction == "backward":
        tests.append(ops.LessEqual(then, now))
    if node.direction == "forward":
        tests.append(ops.GreaterEqual(then, now))
    if node.within is not None:
        if node.direction != "forward":
            tests.append(ops.GreaterEqual(then, moved_by(now, -node.within)))
        if node.direction != "backward":
            tests.append(ops.LessEqual(then, moved_by(now, node.within)))
    values = {name: ops.Field(left, name) for name in node.schema.names}
    return ops.JoinChain(left, [ops.JoinLink("inner", right, tests)], values | _row(right))


def _as(relation: ops.Relation, schema: ibis.Schema) -> ops.Relation:
    """Return a side of a union with the types of the whole."""
    if all(relation.schema[name] == dtype for name, dtype in schema.items()):
        return relation
    values = {
        name: ops.Field(relation, name)
        if relation.schema[name].copy(nullable=True) == dtype.copy(nullable=True)
        else ops.Cast(ops.Field(relation, name), dtype)
        for name, dtype in schema.items()
    }
    return ops.Project(relation, values | _row(relation))
