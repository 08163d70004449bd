"""The pass that gives every operation of an expression our meaning, before any SQL is written.

Children come first. Single values go through ``scalars.py``, aggregates through ``sums.py``, whatever
depends on an order through ``orders.py``; ``refusals.py`` says what has no place in a definition. Aggregates
that turn into several simpler ones are computed in a relation of their own, and the arithmetic on them in a
projection above.
"""

from __future__ import annotations

from functools import lru_cache

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.operations as ops

from gristmill.algebra.hashing import hash_node
from gristmill.algebra.inputs import literals, needed_columns
from gristmill.algebra.nodes import Formula, RowRandom
from gristmill.algebra.orders import ordered_reduction, total_limit, total_window
from gristmill.algebra.refusals import ORDER, refuse_all
from gristmill.algebra.scalars import scalar, sql_type
from gristmill.algebra.sums import DECOMPOSED, Grids, decompose
from gristmill.algebra.types import declared
from gristmill.errors import DefinitionError

_SETTLED = ("canonical_float", "date_result")
_ROW_ID = "_row_id"


def normalise(expr: ibis.Table, *, grids: Grids | None = None) -> ibis.Table:
    """Return the same table, computed under our semantics; doing it twice changes nothing.

    Args:
        expr: over unbound tables.
        grids: ranges and resolutions by (table, column), for sums that count steps.

    Raises:
        DefinitionError: an operation could give another answer on another run; the hint names what to use.

    >>> t = ibis.table({"a": "int64", "b": "int64"}, name="raw.t")
    >>> once = normalise(t.mutate(c=t.a // t.b))
    >>> normalise(once).equals(once)
    True
    """
    if not grids:
        return _normal(expr.op(), literals(expr.op())).to_expr()
    return _normalised(expr.op(), grids).to_expr()


@lru_cache(maxsize=512)
def _normal(op: ops.Node, exactly: tuple[str, ...]) -> ops.Node:
    return _normalised(op, {})


def _normalised(op: ops.Node, grids: Grids) -> ops.Node:
    refuse_all(op)
    needed = needed_columns(op)

    def rewrite(node: ops.Node, changed: dict[str, object] | None) -> ops.Node:
        new = node.__recreate__(changed) if changed else node
        match node:
            case ops.Limit():
                return total_limit(new, needed[node.parent])
            case ops.WindowFunction():
                return total_window(new, set().union(*(needed[rel] for rel in node.relations)))
        return _rewrite(new, grids)

    return declared(op.replace(rewrite))


def _rewrite(node: ops.Node, grids: Grids) -> ops.Node:
    """Give one node, whose children are done, its normal form."""
    match node:
        case ops.Aggregate():
            return _aggregate(node, grids)
        case ops.Project():
            return _project(node, grids)
        case ops.Filter() | ops.Sort():
            return _inline(node, grids)
        case ops.Distinct():
            return node.copy(parent=_canonical_relation(node.parent))
        case ops.Set() if node.distinct or not isinstance(node, ops.Union):
            return node.copy(left=_canonical_relation(node.left), right=_canonical_relation(node.right))
        case ops.First() | ops.Last() | ops.ArrayCollect() | ops.GroupConcat() | ops.ArgMin() | ops.ArgMax():
            return ordered_reduction(node)
        case ops.Min() | ops.Max() | ops.Median() | ops.Quantile() | ops.MultiQuantile():
            return node.copy(arg=canonical(node.arg))
        case Formula() if node.rule in _SETTLED and isinstance(node.args_[0], Formula):
            return node.args_[0] if node.args_[0].rule == node.rule else node
        case ops.Value():
            return scalar(node)
    return node


def canonical(value: ops.Value) -> ops.Value:
    """Return a float with one zero and one NaN; anything else as it is."""
    if not value.dtype.is_floating() or (isinstance(value, Formula) and value.rule == "canonical_float"):
        return value
    return Formula(rule="canonical_float", args_=(value,), texts=(sql_type(value.dtype),), type_=value.dtype)


def _canonical_relation(node: ops.Relation) -> ops.Relation:
    if not any(dtype.is_floating() for dtype in node.schema.types):
        return node
    if isinstance(node, ops.Project):
        values = {name: canonical(value) for name, value in node.values.items()}
        return node if values == dict(node.values) else node.copy(values=values)
    return ops.Project(node, {name: canonical(ops.Field(node, name)) for name in node.schema.names})


def _aggregate(node: ops.Aggregate, grids: Grids) -> ops.Relation:
    groups = {name: canonical(value) for name, value in node.groups.items()}
    parts = _Parts(grids)
    metrics = {name: parts.split(value) for name, value in node.metrics.items()}
    if not parts.used:
        return node if groups == dict(node.groups) else node.copy(groups=groups)
    inner = ops.Aggregate(node.parent, groups, parts.named(node.schema.names))
    above = {name: ops.Field(inner, name) for name in groups}
    above |= {name: parts.rejoin(value, inner) for name, value in metrics.items()}
    return ops.Project(inner, above)


def _project(node: ops.Project, grids: Grids) -> ops.Relation:
    values = dict(node.values)
    if any(value.find(RowRandom, filter=ops.Value) for value in values.values()):
        values = {name: _row_random(value, node.parent) for name, value in values.items()}
    parts = _Parts(grids)
    split = {name: parts.split(value) for name, value in values.items()}
    if not parts.used:
        return node if values == dict(node.values) else node.copy(values=values)
    fields = {
        field.name: field
        for value in split.values()
        for field in value.find(ops.Field, filter=ops.Value)
        if field.rel == node.parent
    }
    inner = ops.Project(node.parent, fields | parts.named([*fields, *node.schema.names]))
    return ops.Project(inner, {name: parts.rejoin(value, inner) for name, value in split.items()})


def _inline(node: ops.Filter | ops.Sort, grids: Grids) -> ops.Node:
    """Decompose aggregates over windows inside a predicate or a sort key, in place."""
    name = "predicates" if isinstance(node, ops.Filter) else "keys"
    parts = _Parts(grids)
    values = tuple(_row_random(parts.expand(value), node.parent) for value in getattr(node, name))
    return node if values == getattr(node, name) else node.copy(**{name: values})


class _Parts:
    """The reductions that the values of one relation are made of, each under a name of its own."""

    def __init__(self, grids: Grids) -> None:
        self.grids = grids
        self.used = False
        self._names: dict[ops.Value, int] = {}

    def expand(self, value: ops.Value) -> ops.Value:
        """Replace decomposable reductions, bare or over a window, by arithmetic over simple ones."""

        def replacer(node: ops.Node, changed: dict[str, object] | None) -> ops.Node:
            node = node.__recreate__(changed) if changed else node
            if isinstance(node, ops.WindowFunction) and isinstance(node.func, DECOMPOSED):
                return self._over_window(node)
            return node

        value = value.replace(replacer, filter=ops.Value)
        return self._outside_windows(value)

    def _over_window(self, node: ops.WindowFunction) -> ops.Value:
        whole = decompose(node.func, self.grids)
        self.used = True
        simple = whole.find(ops.Reduction, filter=ops.Value)
        return whole.replace({part: node.copy(func=part) for part in simple}, filter=ops.Value)

    def _outside_windows(self, value: ops.Value) -> ops.Value:
        inside = {window.func for window in value.find(ops.WindowFunction, filter=ops.Value)}
        found = [part for part in value.find(DECOMPOSED, filter=ops.Value) if part not in inside]
        if not found:
            return value
        self.used = True
        return value.replace({part: decompose(part, self.grids) for part in found}, filter=ops.Value)

    def split(self, value: ops.Value) -> ops.Value:
        """Expand a value and remember its reductions."""
        value = self.expand(value)
        for part in self._parts_of(value):
            self._names.setdefault(part, len(self._names))
        return value

    @staticmethod
    def _parts_of(value: ops.Value) -> list[ops.Value]:
        topmost = value.find_topmost((ops.WindowFunction, ops.Relation))
        windows = [node for node in topmost if isinstance(node, ops.WindowFunction)]
        if windows:
            return windows
        return list(value.find(ops.Reduction, filter=ops.Value))

    def named(self, taken: object) -> dict[str, ops.Value]:
        """Return every remembered reduction by a name that is not taken."""
        self._taken = set(taken)  # type: ignore[call-overload]
        return {self._name(index): part for part, index in self._names.items()}

    def _name(self, index: int) -> str:
        name = f"_part_{index}"
        while name in self._taken:
            name += "_"
        return name

    def rejoin(self, value: ops.Value, inner: ops.Relation) -> ops.Value:
        """Return the value with every reduction read from the relation that computes it."""
        subs: dict[ops.Node, ops.Node] = {part: ops.Field(inner, self._name(i)) for part, i in self._names.items()}
        if isinstance(inner, ops.Project):
            subs |= {
                field: ops.Field(inner, field.name)
                for field in inner.parent.fields.values()
                if field.name in inner.schema
            }
        return value.replace(subs, filter=ops.Value)


def _row_random(value: ops.Value, parent: ops.Relation) -> ops.Value:
    """Resolve ``row_random`` against the relation that it is used on."""
    found = value.find(RowRandom, filter=ops.Value)
    if not found:
        return value
    return value.replace({node: _row_random_formula(node, parent) for node in found}, filter=ops.Value)


def _row_random_formula(node: RowRandom, parent: ops.Relation) -> Formula:
    keys = node.keys
    if not keys:
        if _ROW_ID not in parent.schema:
            raise DefinitionError(
                "gm.row_random(seed) needs to know which row it is on, and here rows have no id",
                code=ORDER,
                hint="use it on an input with its row ids, or pass the key: gm.row_random(seed, t.id)",
            )
        keys = (ops.Field(parent, _ROW_ID),)
    mixed = hash_node([ops.Literal(node.seed, dt.int64), *keys])
    encoded = mixed.replace(lambda n, changed: scalar(n.__recreate__(changed) if changed else n), filter=ops.Value)
    return Formula(rule="unit_interval", args_=(encoded,), type_=dt.float64)
