import ibis

from gristmill import algebra

T = ibis.table({"a": "int64", "b": "int64", "c": "string", "x": "float64"}, name="raw.t")
U = ibis.table({"b": "int64", "d": "string", "e": "float64"}, name="raw.u")


def origins(expr, column):
    found = algebra.column_lineage(expr)[column]
    name = lambda pairs: {f"{t.removeprefix('raw.')}.{c}" for t, c in pairs}  # noqa: E731
    return name(found.value), name(found.influence)


def test_a_projection_copies_and_computes():
    assert origins(T.select(y=T.a + T.b), "y") == ({"t.a", "t.b"}, set())


def test_a_condition_decides_and_is_not_a_value():
    assert origins(T.select(y=(T.a > 1).ifelse(T.b, 0)), "y") == ({"t.b"}, {"t.a"})
    assert origins(T.select(y=ibis.cases((T.c == "k", T.a), else_=T.b)), "y") == ({"t.a", "t.b"}, {"t.c"})


def test_joins_and_groups_decide():
    joined = T.join(U, "b").group_by("d").agg(s=ibis._.x.sum(), n=ibis._.count())
    assert origins(joined, "s") == ({"t.x"}, {"t.b", "u.b", "u.d"})
    assert origins(joined, "n") == (set(), {"t.b", "u.b", "u.d"})
    assert origins(joined, "d") == ({"u.d"}, {"t.b", "u.b", "u.d"})


def test_windows_and_filters_inside_aggregates_decide():
    w = T.mutate(y=T.x.sum().over(group_by="c", order_by="a"))
    assert origins(w, "y") == ({"t.x"}, {"t.c", "t.a"})
    assert origins(T.agg(y=T.x.sum(where=T.a > 0)), "y") == ({"t.x"}, {"t.a"})


def test_subqueries_and_sets():
    assert origins(T.filter(T.b.isin(U.b)).select("a"), "a") == ({"t.a"}, {"t.b", "u.b"})
    both = T.select("b").union(U.select("b"))
    assert origins(both, "b") == ({"t.b", "u.b"}, set())
    gone = T.select("b").difference(U.select("b"))
    assert origins(gone, "b") == ({"t.b"}, {"t.b", "u.b"})


def test_an_asof_join_is_decided_by_its_keys():
    joined = algebra.asof_join(T, U, on=("x", "e"), by="b")
    assert origins(joined, "a") == ({"t.a"}, set())
    assert origins(joined, "d") == ({"u.d"}, {"t.x", "t.b", "u.e", "u.b", "u.d"})


def test_limit_is_decided_by_its_order():
    assert origins(T.order_by("x").limit(3).select("a"), "a") == ({"t.a"}, {"t.x"})


def test_reads_prunes_what_has_no_effect():
    wide = T.mutate(y=T.x * 2, z=T.c.upper())
    assert algebra.reads(wide.select("y")) == {"raw.t": ("x",)}
    assert algebra.reads(T.agg(n=T.count())) == {"raw.t": ()}
    assert algebra.reads(T.distinct().select("a")) == {"raw.t": ("a", "b", "c", "x")}
    assert algebra.reads(T.filter(T.b.isin(U.b)).select("a")) == {"raw.t": ("a", "b"), "raw.u": ("b",)}
    joined = algebra.asof_join(T, U, on=("x", "e"), by="b").select("a", "d")
    assert algebra.reads(joined) == {"raw.t": ("a", "b", "x"), "raw.u": ("b", "d", "e")}
    self_join = T.join(T.view(), "a").select("a", "c_right")
    assert algebra.reads(self_join) == {"raw.t": ("a", "c")}
