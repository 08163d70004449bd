"""Row lineage against brute force: the listed rows make the row again, and no row that matters is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from gristmill import algebra
from gristmill.algebra.witness_paths import paths_of
from gristmill.algebra.witnesses import Witness, rows_name, witness
from gristmill.engines.kernel import Kernel
from gristmill.engines.kernel.compiler import compile_sql

SCHEMA = pa.schema([("id", pa.int64()), ("g", pa.string()), ("x", pa.int64()), ("at", pa.timestamp("us"))])
T = ibis.table({"id": "int64", "g": "string", "x": "int64", "at": "timestamp(6)"}, name="raw.t")
U = ibis.table({"id": "int64", "g": "string", "x": "int64", "at": "timestamp(6)"}, name="raw.u")
Rows = list[dict[str, object]]
Tables = dict[str, Rows]


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    with Kernel(threads=1) as made:
        yield made


def load(kernel: Kernel, tables: Tables) -> None:
    """Register each table under both of its names; the row id is the position plus 100."""
    for name, rows in tables.items():
        numbered = [{**row, "_row_id": row.get("_row_id", 100 + i)} for i, row in enumerate(rows)]
        whole = pa.Table.from_pylist(numbered, SCHEMA.append(pa.field("_row_id", pa.int64())))
        kernel.register(rows_name(name), whole)
        kernel.register(name, whole.select(SCHEMA.names))


def answer(kernel: Kernel, expr: ibis.Table, tables: Tables) -> Rows:
    load(kernel, tables)
    found: Rows = kernel.query(expr).read_all().to_pylist()
    return found


def pairs(kernel: Kernel, found: Witness) -> Rows:
    """Return all that a witness lists: identities and row ids."""
    assert found.expr is not None
    listed: Rows = kernel.query(compile_sql(found.expr)).read_all().to_pylist()
    return listed


def of_row(listed: Rows, row: dict[str, object], key: list[str]) -> set[int]:
    """Return the row ids that are listed for one row of the result."""
    return {int(str(line["_row_id"])) for line in listed if all(line[name] == row[name] for name in key)}


def check(kernel: Kernel, expr: ibis.Table, tables: Tables, key: list[str] | None = None) -> None:
    """Hold every row of the result against recomputing from what is listed, and against deleting each input row."""
    numbered = {name: [{**row, "_row_id": 100 + i} for i, row in enumerate(rows)] for name, rows in tables.items()}
    result = answer(kernel, expr, numbered)
    names = key or list(expr.columns)
    ways = witness(expr, key=key or [])
    listed = {
        name: [pairs(kernel, way) if way.expr is not None else [] for way in found] for name, found in ways.items()
    }
    lists = [{name: [of_row(one, row, names) for one in listed[name]] for name in ways} for row in result]
    for row, per_table in zip(result, lists, strict=True):
        kept = dict(numbered)
        for name, found in ways.items():
            if not any(way.expr is None and way.needed for way in found):
                ids = {i for way, there in zip(found, per_table[name], strict=True) if way.needed for i in there}
                kept[name] = [line for line in numbered[name] if line["_row_id"] in ids]
        assert row in answer(kernel, expr, kept), (row, kept)
    for name, found in ways.items():
        if any(way.expr is None for way in found):
            continue
        for line in numbered[name]:
            rest = [other for other in numbered[name] if other is not line]
            left = answer(kernel, expr, {**numbered, name: rest})
            for row, per_table in zip(result, lists, strict=True):
                if result.count(row) > left.count(row):
                    assert any(line["_row_id"] in there for there in per_table[name]), (row, name, line)


def ids(kernel: Kernel, expr: ibis.Table, table: str, kind: str, key: list[str], **row: object) -> set[int]:
    """Return what is listed for one row, of one kind of influence."""
    ways = [way for way in witness(expr, key=key)[table] if way.kind == kind and way.expr is not None]
    return set().union(*(of_row(pairs(kernel, way), row, key) for way in ways))


def kinds(expr: ibis.Table, table: str) -> set[str]:
    return {way.kind for way in witness(expr)[table]}


def minute(number: int) -> object:
    import datetime

    return datetime.datetime(2026, 1, 1) + datetime.timedelta(minutes=number)


TABLES: Tables = {
    "raw.t": [
        {"id": 1, "g": "a", "x": 5, "at": minute(10)},
        {"id": 2, "g": "a", "x": 7, "at": minute(20)},
        {"id": 3, "g": "b", "x": 5, "at": minute(30)},
        {"id": 4, "g": None, "x": None, "at": minute(40)},
    ],
    "raw.u": [
        {"id": 1, "g": "a", "x": 1, "at": minute(5)},
        {"id": 2, "g": "a", "x": 2, "at": minute(15)},
        {"id": 3, "g": "b", "x": 3, "at": minute(50)},
        {"id": 9, "g": "a", "x": 9, "at": minute(60)},
    ],
}


def test_a_filtered_and_computed_row_comes_from_its_row(kernel: Kernel) -> None:
    expr = T.filter(T.x > 5).select("id", y=T.x + 1)
    load(kernel, TABLES)
    assert ids(kernel, expr, "raw.t", "direct", ["id"], id=2) == {101}


def test_a_group_comes_from_its_members_and_null_is_a_group(kernel: Kernel) -> None:
    expr = T.group_by("g").agg(n=T.count())
    load(kernel, TABLES)
    assert ids(kernel, expr, "raw.t", "direct", ["g"], g="a") == {100, 101}
    assert ids(kernel, expr, "raw.t", "direct", ["g"], g=None) == {103}


def test_an_as_of_join_lists_the_last_known_row_and_its_competitors_apart(kernel: Kernel) -> None:
    expr = algebra.asof_join(T, U, on="at", by="g", within="20min")
    load(kernel, TABLES)
    assert ids(kernel, expr, "raw.u", "direct", ["id"], id=2) == {101}
    assert ids(kernel, expr, "raw.u", "frame", ["id"], id=2) == {100, 101}
    assert ids(kernel, expr, "raw.u", "frame", ["id"], id=1) == {100}
    assert ids(kernel, expr, "raw.u", "direct", ["id"], id=3) == set()


def test_rows_of_one_window_share_a_frame(kernel: Kernel) -> None:
    expr = T.mutate(total=T.x.sum().over(group_by="g"))
    load(kernel, TABLES)
    assert ids(kernel, expr, "raw.t", "direct", ["id"], id=1) == {100}
    assert ids(kernel, expr, "raw.t", "frame", ["id"], id=1) == {100, 101}


def test_a_statistic_over_all_rows_is_no_list() -> None:
    assert kinds(T.mutate(d=T.x - T.x.mean()), "raw.t") == {"direct", "global"}
    assert kinds(T.agg(n=T.count()), "raw.t") == {"global"}
    assert kinds(T.filter(U.x.max() > 1), "raw.u") == {"global"}


def test_semi_joins_list_the_rows_that_let_a_row_pass_and_anti_joins_are_no_list(kernel: Kernel) -> None:
    load(kernel, TABLES)
    assert ids(kernel, T.semi_join(U, "g"), "raw.u", "direct", ["id"], id=1) == {100, 101, 103}
    assert ids(kernel, T.filter(T.g.isin(U.g)), "raw.u", "direct", ["id"], id=3) == {102}
    assert kinds(T.filter((T.x > 0) & T.g.isin(U.g)), "raw.u") == {"direct"}
    assert kinds(T.anti_join(U, "g"), "raw.u") == {"global"}
    assert kinds(T.filter(~T.g.isin(U.g)), "raw.u") == {"global"}


def test_an_operation_without_a_rule_says_whole_table() -> None:
    paths, notes = paths_of(T.sample(0.5).op(), "raw.t")
    assert not paths
    assert [note.kind for note in notes] == ["whole"]


Step = Callable[[ibis.Table, ibis.Table], ibis.Table]


def _columns(expr: ibis.Table) -> ibis.Table:
    return expr.select("id", "g", "x", "at")


STEPS: dict[str, Step] = {
    "filter": lambda a, b: a.filter(a.x > 1),
    "mutate": lambda a, b: a.mutate(x=a.x + 1),
    "rename": lambda a, b: a.mutate(g=a.g.upper()),
    "inner": lambda a, b: _columns(a.inner_join(b, "g", rname="{name}_r").mutate(x=ibis._.x + ibis._.x_r)),
    "left": lambda a, b: _columns(a.left_join(b, "id", rname="{name}_r").mutate(x=ibis._.x_r.fill_null(ibis._.x))),
    "outer": lambda a, b: _columns(a.outer_join(b, "id", rname="{name}_r").mutate(g=ibis._.g.fill_null(ibis._.g_r))),
    "semi": lambda a, b: a.semi_join(b, "g"),
    "isin": lambda a, b: a.filter(a.g.isin(b.g)),
    "isin and": lambda a, b: a.filter((a.x >= 0) & a.g.isin(b.g)),
    "not in": lambda a, b: a.filter(~a.g.isin(b.g)),
    "nested array": lambda a, b: a.mutate(x=ibis.array([a.x, a.id])).unnest("x"),
    "per group": lambda a, b: _columns(a.inner_join(b.group_by("g").agg(n=b.count()), "g").mutate(x=ibis._.n)),
    "anti": lambda a, b: a.anti_join(b, "id"),
    "asof": lambda a, b: _columns(algebra.asof_join(a, b, on="at", by="g", within="15min").mutate(x=ibis._.x_right)),
    "next": lambda a, b: _columns(
        algebra.asof_join(a, b, on="at", by="g", direction="forward").mutate(x=ibis._.x_right)
    ),
    "near": lambda a, b: _columns(algebra.asof_join(a, b, on="at", direction="nearest").mutate(x=ibis._.x_right)),
    "group": lambda a, b: _columns(a.group_by("g").agg(id=a.id.max(), x=a.x.sum(), at=a.at.min())),
    "having": lambda a, b: _columns(
        a.group_by("g").agg(id=a.id.max(), x=a.x.sum(), at=a.at.min(), n=a.count()).filter(ibis._.n > 1)
    ),
    "window": lambda a, b: a.mutate(x=a.x.sum().over(group_by="g")),
    "rank": lambda a, b: a.mutate(x=ibis.row_number().over(group_by=a.g, order_by=a.at)),
    "latest": lambda a, b: a.filter(ibis.row_number().over(group_by=a.g, order_by=a.at.desc()) == 0),
    "lag": lambda a, b: a.mutate(x=a.x.lag().over(group_by=a.g, order_by=a.at)),
    "mean": lambda a, b: a.filter(a.x >= a.x.mean()),
    "distinct": lambda a, b: a.distinct(),
    "union": lambda a, b: a.union(b),
    "union distinct": lambda a, b: a.union(b, distinct=True),
    "intersect": lambda a, b: a.intersect(b),
    "difference": lambda a, b: a.difference(b),
    "top": lambda a, b: a.order_by("x", "id").limit(2),
    "drop": lambda a, b: a.drop_null(["x"]),
    "fill": lambda a, b: a.fill_null({"x": 0}),
    "self": lambda a, b: _columns(a.inner_join(a.view(), "g", rname="{name}_r").mutate(id=ibis._.id_r)),
    "unnest": lambda a, b: a.mutate(x=ibis.array([a.x, a.id]).unnest()),
}

_rows = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(1, 3),
            "g": st.sampled_from(["a", "b", None]),
            "x": st.sampled_from([0, 1, 2, None]),
            "at": st.integers(0, 3).map(lambda n: minute(10 * n)),
        }
    ),
    max_size=4,
)


def program(steps: list[tuple[str, bool]]) -> ibis.Table:
    """Return what a list of steps makes of the first table; a step's other side is the second table or the first."""
    expr: ibis.Table = T
    for name, own in steps:
        expr = STEPS[name](expr, T.view() if own else U)
    return expr


@example(steps=[("lag", False), ("window", False)], left=[], right=[])
@given(
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.booleans()), min_size=1, max_size=3),
    left=_rows,
    right=_rows,
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_traces_agree_with_brute_force(kernel: Kernel, steps: list[tuple[str, bool]], left: Rows, right: Rows) -> None:
    check(kernel, program(steps), {"raw.t": left, "raw.u": right})


@pytest.mark.parametrize("step", sorted(STEPS))
def test_each_operation_alone_agrees_with_brute_force(kernel: Kernel, step: str) -> None:
    check(kernel, program([(step, False)]), TABLES)
