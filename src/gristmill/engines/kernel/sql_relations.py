"""A SQL definition as an Ibis expression, so that it follows changes as one written in Ibis does.

SELECT with WHERE, joins, GROUP BY, HAVING, QUALIFY, DISTINCT and a LIMIT over an order, WITH, subqueries in FROM, set
operations, and subqueries that are one value or stand in IN. The result is the text's, row for row; where that cannot
be held, `InFull` says why, and the definition is computed in full. Read `sql_values.py` first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import ibis.expr.datatypes as dt
import ibis.expr.operations as ops
import sqlglot.expressions as sge
from ibis.common.annotations import SignatureValidationError
from ibis.common.exceptions import IbisError

from gristmill.algebra.delta.subqueries import is_one_row
from gristmill.algebra.moving import fields_of_relation
from gristmill.algebra.nodes import SqlValue
from gristmill.engines.kernel.sql_aggregates import filtered, reduction, sort_key, window
from gristmill.engines.kernel.sql_values import InFull, Scope, Types, conditions, value

_PARTS = {"with_", "from_", "expressions", "joins", "where", "group", "having", "qualify", "windows", "distinct"} | {
    "order",
    "limit",
    "offset",
    "operation_modifiers",
}
_SET_PARTS = {"with_", "this", "expression", "distinct", "order", "operation_modifiers"}
_SETS = {sge.Union: ops.Union, sge.Intersect: ops.Intersection, sge.Except: ops.Difference}

Tables = Mapping[str, ops.Relation]


@dataclass(frozen=True, slots=True)
class _From:
    """What a SELECT reads: one relation, and where the columns of its tables are."""

    relation: ops.Relation
    columns: dict[tuple[str, str], ops.Value]


def as_relation(
    tree: sge.Query, tables: Tables, *, types: Types, rewritten: Callable[[sge.Expression], sge.Expression]
) -> ops.Relation:
    """Return a query, qualified and with types, as a relation.

    Args:
        tree: the query.
        tables: its inputs, by the names that stand in it.
        types: gives the type of a text.
        rewritten: brings an expression under our semantics.

    Raises InFull with the reason where it cannot follow changes.
    """
    try:
        return _Reader(types, rewritten).query(tree, tables)
    except (IbisError, SignatureValidationError) as error:
        raise InFull(str(error).splitlines()[0]) from error


@dataclass(frozen=True, slots=True)
class _Reader:
    types: Types
    rewritten: Callable[[sge.Expression], sge.Expression]

    def query(self, tree: sge.Expression, tables: Tables) -> ops.Relation:
        tree = tree.unnest()
        found = dict(tables)
        with_ = tree.args.get("with_")
        if with_ is not None:
            if with_.args.get("recursive"):
                raise InFull("WITH RECURSIVE looks at its own rows")
            for cte in with_.expressions:
                found[cte.alias] = _renamed(self.query(cte.this, found), cte)
        if isinstance(tree, sge.Select):
            return self._select(tree, found)
        if type(tree) in _SETS:
            return self._set(tree, found)
        raise InFull(f"{type(tree).__name__.upper()} is no SELECT over tables")

    # -- set operations ------------------------------------------------------------------------------

    def _set(self, tree: sge.Expression, tables: Tables) -> ops.Relation:
        _only(tree, _SET_PARTS)
        left, right = self.query(tree.this, tables), self.query(tree.expression, tables)
        names, others = left.schema.names, right.schema.names
        if len(names) != len(others):
            raise InFull("the sides of a set operation differ")
        sides: list[dict[str, ops.Value]] = [{}, {}]
        for name, other in zip(names, others, strict=True):
            values = (ops.Field(left, name), ops.Field(right, other))
            one, two = (v.dtype.copy(nullable=True) for v in values)
            alike = values[0].dtype == values[1].dtype  # to require a value is a part of the type
            for side, made in zip(sides, values, strict=True):
                side[name] = made if alike else self._common(made, one, two)
        distinct = bool(tree.args.get("distinct"))
        return _SETS[type(tree)](ops.Project(left, sides[0]), ops.Project(right, sides[1]), distinct=distinct)

    def _common(self, made: ops.Value, one: dt.DataType, two: dt.DataType) -> ops.Value:
        from gristmill.algebra.scalars import sql_type

        kind = one if one == two else self.types("CASE WHEN true THEN gm_arg_0_ ELSE gm_arg_1_ END", [one, two])
        if one != two and (one.is_string() != two.is_string() or one.is_nested() or two.is_nested()):
            raise InFull("the sides of a set operation have columns of other kinds")
        return SqlValue(parts=("CAST(", f" AS {sql_type(kind)})"), args_=(made,), type_=kind)

    # -- one SELECT ----------------------------------------------------------------------------------

    def _select(self, tree: sge.Select, tables: Tables) -> ops.Relation:
        _only(tree, _PARTS)
        there = self._from(tree, tables)
        windows = {named.name: named for named in tree.args.get("windows") or ()}
        relation = there.relation

        def special(scope: Scope, node: sge.Expression) -> ops.Value | None:
            return self._special(scope, node, tables)

        scope = Scope(relation, there.columns, special, self.types, self.rewritten, {}, windows)
        where = tree.args.get("where")
        if where is not None:
            relation, scope = _over(ops.Filter(relation, conditions(scope, where.this)), relation, scope)
        calls = _calls(tree)
        if tree.args.get("group") is not None or calls or tree.args.get("having") is not None:
            relation, scope = self._grouped(tree, relation, scope, calls)
        if (having := tree.args.get("having")) is not None:
            relation, scope = _over(ops.Filter(relation, conditions(scope, having.this)), relation, scope)
        if (qualify := tree.args.get("qualify")) is not None:
            relation, scope = _with_windows(tree, relation, scope)
            relation, scope = _over(ops.Filter(relation, conditions(scope, qualify.this)), relation, scope)
        return self._out(tree, relation, scope)

    def _out(self, tree: sge.Select, relation: ops.Relation, scope: Scope) -> ops.Relation:
        names = [part.alias_or_name for part in tree.selects]
        if len(set(names)) != len(names) or "" in names:
            raise InFull("two columns of the result have one name")
        values = {name: value(scope, part.unalias()) for name, part in zip(names, tree.selects, strict=True)}
        distinct, order = tree.args.get("distinct"), tree.args.get("order")
        if distinct is not None:
            if distinct.args.get("on") is not None:
                raise InFull("DISTINCT ON depends on the order of rows; keep row_number() = 1 of a window")
            made: ops.Relation = ops.Distinct(ops.Project(relation, values))
            scope = replace(scope, columns={})
        else:
            made = ops.Project(relation, values)
        if tree.args.get("limit") is None and tree.args.get("offset") is None:
            return made
        count, skip = _number(tree, "limit"), _number(tree, "offset") or 0
        keys: list[tuple[str, sge.Ordered]] = []
        for part in order.expressions:
            named = self._named(part.this, names)
            if named is None:
                named = f"_gm_order_{len(keys)}"
                if distinct is not None:
                    raise InFull("the order of distinct rows is by something else than their columns")
                values[named] = value(scope, part.this)
            keys.append((named, part))
        below = made if len(values) == len(names) else ops.Project(relation, values)
        ordered = ops.Sort(below, [sort_key(ops.Field(below, name), part) for name, part in keys])
        cut = ops.Limit(ordered, count, skip)
        return ops.Project(cut, {name: ops.Field(cut, name) for name in names})

    @staticmethod
    def _named(node: sge.Expression, names: list[str]) -> str | None:
        """Return the column of the result that a key of an order names."""
        if isinstance(node, sge.Literal) and not node.is_string:
            return names[int(node.this) - 1]
        return node.name if isinstance(node, sge.Column) and not node.table and node.name in names else None

    # -- FROM ----------------------------------------------------------------------------------------

    def _from(self, tree: sge.Select, tables: Tables) -> _From:
        source = tree.args.get("from_")
        if source is None:
            raise InFull("it reads no table")
        alias, relation = self._source(source.this, tables)
        there = _From(relation, {(alias, name): ops.Field(relation, name) for name in relation.schema.names})
        joins = [*(source.this.args.get("joins") or ()), *(tree.args.get("joins") or ())]
        _refuse_nested(joins)
        for join in joins:
            there = self._join(there, join, tables)
        return there

    def _source(self, node: sge.Expression, tables: Tables) -> tuple[str, ops.Relation]:
        if isinstance(node, sge.Subquery):
            _only(node, {"this", "alias", "joins"})
            return node.alias, _renamed(self.query(node.this, tables), node)
        if not isinstance(node, sge.Table) or node.name not in tables:
            raise InFull(f"it takes rows from `{node.sql(dialect='duckdb')}`")
        _only(node, {"this", "alias", "joins"})
        return node.alias_or_name, _renamed(tables[node.name], node)

    def _join(self, there: _From, join: sge.Join, tables: Tables) -> _From:
        how = _how(join)
        alias, relation = self._source(join.this, tables)
        left, right = ops.JoinReference(there.relation, identifier=0), ops.JoinReference(relation, identifier=1)
        columns: dict[tuple[str, str], ops.Value] = {}
        for place, field in there.columns.items():
            assert isinstance(field, ops.Field)
            columns[place] = ops.Field(left, field.name)
        kept = dict(columns)
        columns |= {(alias, name): ops.Field(right, name) for name in relation.schema.names}
        scope = Scope(None, columns, lambda scope, node: None, self.types, self.rewritten)
        on = join.args.get("on")
        tests = conditions(scope, on)
        if how != "cross" and not tests:
            raise InFull("a join has no condition")
        shown = kept if how in ("semi", "anti") else columns
        names = {place: f"_{number}" for number, place in enumerate(shown)}
        values = {names[place]: field for place, field in shown.items()}
        made = ops.JoinChain(left, [ops.JoinLink(how, right, tests)], values)
        return _From(made, {place: ops.Field(made, name) for place, name in names.items()})

    # -- groups --------------------------------------------------------------------------------------

    def _grouped(
        self, tree: sge.Select, relation: ops.Relation, scope: Scope, calls: list[sge.Expression]
    ) -> tuple[ops.Relation, Scope]:
        keys = _group_keys(tree)
        groups = {f"_g{number}": value(scope, key) for number, key in enumerate(keys)}
        metrics = {f"_a{number}": reduction(scope, *filtered(scope, node)) for number, node in enumerate(calls)}
        made = ops.Aggregate(relation, groups, metrics)
        known = {key.unnest(): ops.Field(made, name) for key, name in zip(keys, groups, strict=True)}
        known |= {node: ops.Field(made, name) for node, name in zip(calls, metrics, strict=True)}
        return made, replace(scope, relation=made, columns={}, known=known)

    # -- values that are more than text --------------------------------------------------------------

    def _special(self, scope: Scope, node: sge.Expression, tables: Tables) -> ops.Value | None:
        if isinstance(node, sge.Window):
            return window(scope, node)
        if isinstance(node, sge.Subquery | sge.Select):
            rows = self.query(node, tables)
            if len(rows.schema) != 1 or not is_one_row(rows):
                raise InFull("a subquery in a value may give several rows")
            return ops.ScalarSubquery(rows)
        if isinstance(node, sge.In) and node.args.get("query") is not None:
            rows = self.query(node.args["query"], tables)
            needle = value(scope, node.this)
            if rows.schema.types[0].copy(nullable=True) != needle.dtype.copy(nullable=True):
                raise InFull("IN compares values of two types")
            return ops.InSubquery(rows, needle)
        if isinstance(node, sge.Exists):
            raise InFull("EXISTS looks at another table's rows; a SEMI JOIN, or IN, follows changes")
        if isinstance(node, sge.AggFunc | sge.Filter | sge.WithinGroup | sge.IgnoreNulls):
            raise InFull(f"`{node.sql(dialect='duckdb')}` stands where rows are not grouped")
        return None


def _only(tree: sge.Expression, parts: set[str]) -> None:
    for name, part in tree.args.items():
        if part and name not in parts:
            raise InFull(f"{name.strip('_').upper()} follows no changes")


def _renamed(relation: ops.Relation, node: sge.Expression) -> ops.Relation:
    """Return a relation with the names of columns that an alias gives."""
    alias = node.args.get("alias")
    names = [part.name for part in (alias.args.get("columns") or ())] if isinstance(alias, sge.TableAlias) else []
    if not names or names == list(relation.schema.names):
        return relation
    old = list(relation.schema.names)
    names += old[len(names) :]
    return ops.Project(relation, {new: ops.Field(relation, name) for new, name in zip(names, old, strict=True)})


def _how(join: sge.Join) -> str:
    kind, side = str(join.args.get("kind") or "").upper(), str(join.args.get("side") or "").upper()
    if join.args.get("method") or join.args.get("using") or join.args.get("match_condition"):
        raise InFull(f"`{join.sql(dialect='duckdb')}` is another kind of join")
    if kind in ("SEMI", "ANTI"):
        return kind.lower()
    if side in ("LEFT", "RIGHT", "FULL"):
        return {"FULL": "outer"}.get(side, side.lower())
    if kind in ("", "INNER") and join.args.get("on") is not None:
        return "inner"
    if kind in ("CROSS", ""):
        return "cross"
    raise InFull(f"`{join.sql(dialect='duckdb')}` is another kind of join")


def _refuse_nested(joins: Sequence[sge.Join]) -> None:
    """Raise InFull where joins do not follow from left to right, one after the other."""
    comma = False
    for join in joins:
        if join.this.args.get("joins"):
            raise InFull(f"`{join.sql(dialect='duckdb')}` joins what is joined already")
        comma = comma or not any(join.args.get(part) for part in ("kind", "side", "method", "on", "using"))
        if comma and str(join.args.get("side") or "").upper() in ("RIGHT", "FULL"):
            raise InFull(f"`{join.sql(dialect='duckdb')}` keeps rows apart from a table before a comma")


def _over(new: ops.Relation, old: ops.Relation, scope: Scope) -> tuple[ops.Relation, Scope]:
    """Return a relation and the scope with every column read from it, which has the columns of the old one."""
    fields = fields_of_relation(new)

    def moved(found: ops.Value) -> ops.Value:
        assert isinstance(found, ops.Field)
        return fields[found.name]

    return new, replace(
        scope,
        relation=new,
        columns={place: moved(found) for place, found in scope.columns.items()},
        known={node: moved(found) for node, found in scope.known.items()},
    )


def _with_windows(tree: sge.Select, relation: ops.Relation, scope: Scope) -> tuple[ops.Relation, Scope]:
    """Return a relation with every window of a SELECT as a column, because QUALIFY drops rows after all of them."""
    parts = [*tree.selects, tree.args["qualify"], *((tree.args["order"],) if tree.args.get("order") else ())]
    found = dict.fromkeys(node for part in parts for node in part.find_all(sge.Window))
    made = {f"_gm_over_{number}": value(scope, node) for number, node in enumerate(found)}
    wide, scope = _over(ops.Project(relation, fields_of_relation(relation) | made), relation, scope)
    known = {node: ops.Field(wide, name) for node, name in zip(found, made, strict=True)}
    return wide, replace(scope, known={**scope.known, **known})


def _number(tree: sge.Select, name: str) -> int | None:
    part = tree.args.get(name)
    if part is None:
        return None
    literal = part.expression
    plain = isinstance(literal, sge.Literal) and not literal.is_string and str(literal.this).isdigit()
    if part.args.get("limit_options") or not plain:
        raise InFull(f"`{part.sql(dialect='duckdb')}` is no number of rows")
    return int(literal.this)


def _calls(tree: sge.Select) -> list[sge.Expression]:
    """Return the aggregates of a SELECT, with their filters, each once; not those in windows or subqueries."""
    found: dict[sge.Expression, None] = {}

    def look(node: sge.Expression) -> None:
        if isinstance(node, sge.Query):
            return
        if isinstance(node, sge.Window):
            for part in (*(node.args.get("partition_by") or ()), node.args.get("order")):
                if part is not None:
                    look(part)
            inner = node.this.this if isinstance(node.this, sge.Filter) else node.this
            for part in inner.iter_expressions():
                look(part)
            return
        if isinstance(node, sge.Filter | sge.WithinGroup | sge.AggFunc):
            found.setdefault(node)
            return
        for child in node.iter_expressions():
            look(child)

    parts = [*tree.selects, *(tree.args.get("windows") or ())]
    parts += [part for name in ("having", "qualify", "order") if (part := tree.args.get(name)) is not None]
    for part in parts:
        look(part)
    return list(found)


def _group_keys(tree: sge.Select) -> list[sge.Expression]:
    group = tree.args.get("group")
    if group is None:
        return []
    if any(group.args.get(part) for part in ("grouping_sets", "cube", "rollup", "totals")):
        raise InFull("it groups in several ways at once")
    if group.args.get("all"):
        return [part.unalias() for part in tree.selects if not part.find(sge.AggFunc)]
    keys = []
    for key in group.expressions:
        if isinstance(key, sge.Literal) and not key.is_string:
            key = tree.selects[int(key.this) - 1].unalias()
        if isinstance(key, sge.Rollup | sge.Cube | sge.GroupingSets):
            raise InFull("it groups in several ways at once")
        keys.append(key)
    return keys
