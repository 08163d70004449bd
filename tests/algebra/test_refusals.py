import ibis
import pytest

from gristmill import algebra
from gristmill.errors import DefinitionError

T = ibis.table({"a": "int64", "t": "timestamp", "s": "string"}, name="raw.t")
U = ibis.table({"a": "int64", "t": "timestamp"}, name="raw.u")


@ibis.udf.scalar.python
def plus(x: int) -> int:
    return x + 1


@pytest.mark.parametrize(
    ("make", "instead"),
    [
        (lambda: T.mutate(n=ibis.now()), "gm.run_time()"),
        (lambda: T.mutate(n=ibis.today()), "gm.run_time()"),
        (lambda: T.mutate(n=ibis.random()), "gm.row_random(seed)"),
        (lambda: T.mutate(n=ibis.uuid()), "gm.hash"),
        (lambda: T.sample(0.1), "gm.row_random(seed)"),
        (lambda: T.mutate(n=T.a.hash()), "gm.hash"),
        (lambda: T.limit(3), "order_by"),
        (lambda: T.agg(n=T.a.first()), "order_by"),
        (lambda: T.agg(n=T.a.collect()), "order_by"),
        (lambda: T.agg(n=T.s.group_concat()), "order_by"),
        (lambda: T.agg(n=T.a.arbitrary()), "min()"),
        (lambda: T.agg(n=T.a.approx_nunique()), "nunique()"),
        (lambda: T.agg(n=T.a.approx_median()), "median()"),
        (lambda: T.asof_join(U, "t"), "gm.asof_join"),
        (lambda: T.asof_join(U, "t", predicates="a", tolerance=ibis.interval(hours=1)), "gm.asof_join"),
        (lambda: T.mutate(n=ibis.row_number()), "order_by"),
        (lambda: T.mutate(n=T.a.lag()), "order_by"),
        (lambda: T.mutate(n=plus(T.a)), "@project.step"),
        (lambda: T.mutate(n=T.s.re_search(r"(?<=a)b")), "look-around"),
        (lambda: T.mutate(n=T.s.re_replace(r"(a)\1", "")), "back-references"),
        (lambda: T.mutate(n=T.a.typeof()), "schema"),
    ],
)
def test_a_refusal_names_what_to_use(make, instead):
    with pytest.raises(DefinitionError) as caught:
        algebra.normalise(make())
    assert instead in (caught.value.hint or "")


def test_a_limit_over_an_order_is_made_total():
    expr = algebra.normalise(T.order_by("a").limit(3))
    (sort,) = expr.op().find(ibis.expr.operations.Sort)
    assert [key.name for key in sort.keys] == ["a", "t", "s"]


def test_ties_are_settled_by_what_the_result_needs_and_by_nothing_else():
    expr = T.mutate(n=ibis.row_number().over(order_by="a")).select("n", "s")
    (window,) = algebra.normalise(expr).op().find(ibis.expr.operations.WindowFunction)
    assert [key.name for key in window.order_by] == ["a", "s"]
    assert algebra.reads(expr) == algebra.reads(algebra.normalise(expr)) == {"raw.t": ("a", "s")}


def test_re2_patterns_pass():
    algebra.normalise(T.mutate(n=T.s.re_search(r"(?i)^a+\\1[^b]{2}$")))
