import os
import subprocess
import sys

import ibis

from gristmill import algebra

PROGRAM = """
import ibis
from gristmill import algebra
t = ibis.table({"a": "int64", "b": "float64", "c": "string"}, name="raw.t")
u = ibis.table({"a": "int64", "d": "string"}, name="raw.u")
for _ in range(int(__import__("sys").argv[1])):
    t.view(), u.join(t, "a")
e = t.join(u, "a").join(t.view(), "a").group_by("d").agg(s=ibis._.b.sum(), n=ibis._.c.nunique())
e = algebra.split(e, "d", {"train": 0.8, "test": 0.2}).drop("n")
print(algebra.fingerprint(algebra.asof_join(e, u, on=("s", "a"))))
"""

T = ibis.table({"a": "int64", "b": "float64", "c": "string"}, name="raw.t")


def test_it_is_the_same_in_every_process():
    seen = set()
    for seed, before in (("0", "0"), ("1", "5"), ("2", "17")):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        command = [sys.executable, "-c", PROGRAM, before]
        seen.add(subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip())
    assert len(seen) == 1
    assert len(seen.pop()) == 64


def test_what_does_not_matter_does_not_change_it():
    wider = ibis.table({"a": "int64", "new": "int8", "b": "float64", "c": "string"}, name="raw.t")
    one, other = T.filter(T.a > 1)[["b"]], wider.filter(wider.a > 1)[["b"]]
    assert algebra.fingerprint(one) == algebra.fingerprint(other)
    assert algebra.fingerprint(T.select(x=(T.a + 1).name("y"))) == algebra.fingerprint(T.select(x=T.a + 1))
    assert algebra.fingerprint(algebra.normalise(one)) == algebra.fingerprint(one)


def test_what_matters_changes_it():
    variants = [
        T,
        T.select("a", "b"),
        T.select("b", "a"),
        T.filter(T.a > 1),
        T.filter(T.a > 2),
        T.filter(T.a >= 1),
        T.select(x=T.a),
        T.mutate(d=T.a.cast("float64")),
        T.mutate(d=T.b),
        T.mutate(d=ibis.literal(1)),
        T.mutate(d=ibis.literal("1")),
        T.mutate(d=ibis.literal(1.0)),
        T.mutate(d=algebra.hash(T.a)),
        T.mutate(d=algebra.hash(T.b)),
        T.group_by("c").agg(d=T.b.sum()),
        T.group_by("c").agg(d=T.b.mean()),
        ibis.table(T.schema(), name="raw.other"),
        ibis.table({"a": "int32", "b": "float64", "c": "string"}, name="raw.t"),
        T.union(T),
        T.union(T, distinct=True),
    ]
    assert len({algebra.fingerprint(v) for v in variants}) == len(variants)


def test_self_joins_of_other_shapes_differ():
    v = T.view()
    left, right = T.join(v, T.a == v.a), T.join(v, T.b == v.b)
    assert algebra.fingerprint(left[["a"]]) != algebra.fingerprint(right[["a"]])


def test_run_time_is_told():
    assert algebra.uses_run_time(T.mutate(n=algebra.run_time()))
    assert not algebra.uses_run_time(T)
