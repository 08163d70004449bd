"""What people write in Ibis, compiled and run: types as declared, normal forms that stay as they are."""

import datetime as dt

import ibis
import pyarrow as pa
import pytest
from ibis import _

from gristmill import algebra
from gristmill.engines.kernel import Kernel

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("k", pa.string()),
        ("x", pa.float64()),
        ("n", pa.int32()),
        ("f", pa.float32()),
        ("d", pa.date32()),
        ("ts", pa.timestamp("us")),
        ("tz", pa.timestamp("us", "UTC")),
        ("dec", pa.decimal128(10, 2)),
        ("b", pa.bool_()),
        ("arr", pa.list_(pa.int64())),
        ("st", pa.struct([("p", pa.int32()), ("q", pa.string())])),
        ("tm", pa.time64("us")),
        ("bin", pa.binary()),
        ("u8", pa.uint8()),
    ]
)
N = dt.datetime(2026, 1, 31, 10, 30, 15, 500000)

NOON = dt.datetime(2026, 1, 31, 10, 30, 15, 500000)
ROWS = [
    {
        "id": i,
        "k": "ab"[i % 2],
        "x": [1.5, -2.5, None, float("nan")][i % 4],
        "n": i - 2,
        "f": 0.5 * i,
        "d": NOON.date(),
        "ts": NOON,
        "tz": NOON.replace(tzinfo=dt.UTC),
        "dec": i,
        "b": i % 2 == 0,
        "arr": [1, 2, i],
        "st": {"p": i, "q": "z"},
        "tm": NOON.time(),
        "bin": b"x",
        "u8": i,
    }
    for i in range(6)
]
t = algebra.input_table("raw.t", SCHEMA)
t2 = ibis.table(t.schema(), name="raw.t2")

IDIOMS = {
    "mutate all": lambda: t.select(
        a=t.x + 1,
        b2=t.n * t.n,
        c=t.f * 2,
        e=t.dec + 1,
        f2=t.dec * t.dec,
        g=t.dec / 2,
        h=t.n / 2,
        i=t.n // 2,
        j=t.n % 2,
        l=t.dec // 2,
        m=t.dec % 2,
        n2=-t.n,
        o=t.n.abs(),
        p=t.x.round(1),
        r=t.dec.round(1),
        s=t.x.abs(),
        u=t.n.sign(),
        v=t.x.sqrt(),
        w=t.x.exp(),
        y=t.f.ceil(),
        z=t.f.floor(),
        u9=t.u8 + t.u8,
        pw=t.n**2,
        l2=t.f.log2(),
        cl=t.n.clip(0, 2),
        ff=t.f // 2,
        fm=t.f % 2,
    ),
    "strings": lambda: t.select(
        a=t.k.upper(),
        b=t.k.length(),
        c=t.k + "z",
        d=t.k.replace("a", "b"),
        e=t.k.strip(),
        f=t.k[0:1],
        g=t.k.contains("a"),
        h=t.k.startswith("a"),
        i=t.k.like("a%"),
        j=t.k.re_search("a"),
        k2=t.k.re_extract("(a)", 1),
        l=t.k.re_replace("a", "b"),
        m=t.k.find("a"),
        n=t.k.capitalize(),
        o=t.k.lpad(5, "x"),
        p=t.k.reverse(),
        q=t.k.split(","),
        r=t.k.repeat(2),
        s=t.k.right(1),
        u=t.k.ascii_str(),
        v=t.k.concat("x", t.k),
        w=t.k.substr(0, 1),
        x=t.k.isin(["a"]),
        y=t.k.hexdigest("md5"),
        z=t.k.levenshtein("b"),
        tr=t.k.translate("a", "b"),
    ),
    "time": lambda: t.select(
        a=t.ts.year(),
        b=t.ts.month(),
        c=t.ts.hour(),
        d2=t.ts.truncate("D"),
        e=t.d.truncate("M"),
        f=t.ts + ibis.interval(days=1),
        g=t.d + ibis.interval(months=1),
        h=t.ts.epoch_seconds(),
        i=t.d.epoch_seconds(),
        j=t.ts.date(),
        k2=t.ts.time(),
        l=t.ts.strftime("%Y"),
        m=t.ts.day_of_week.index(),
        n=t.ts.day_of_week.full_name(),
        o=t.ts.delta(t.ts, unit="day"),
        p=t.tz.hour(),
        q=t.tz.truncate("h"),
        r=t.d.day(),
        s=t.ts.millisecond(),
        u=t.ts.microsecond(),
        v=t.ts.quarter(),
        w=t.ts.week_of_year(),
        x=t.ts.bucket(ibis.interval(hours=2)),
        y=t.ts.cast("string"),
        z=t.tz.cast("timestamp"),
        z1=t.ts.cast("timestamp('UTC')"),
        z2=t.d.cast("timestamp"),
        tt=t.tm.hour(),
        iso=t.ts.iso_year(),
        mk=ibis.date(2020, 1, 1),
        ts2=ibis.timestamp("2020-01-01 00:00:00"),
        doy=t.d.day_of_year(),
    ),
    "aggs": lambda: t.group_by("k").agg(
        a=_.x.sum(),
        b=_.x.mean(),
        c=_.x.min(),
        d=_.x.max(),
        e=_.n.sum(),
        f=_.n.mean(),
        g=_.f.sum(),
        h=_.dec.sum(),
        i=_.dec.mean(),
        j=_.x.std(),
        k2=_.n.var(),
        l=_.x.median(),
        m=_.n.median(),
        n=_.x.quantile(0.25),
        o=_.k.nunique(),
        p=_.count(),
        q=_.b.any(),
        r=_.b.all(),
        s=_.id.argmax(_.n),
        t=_.id.argmin(_.x),
        u=_.n.mode(),
        v=_.id.first(order_by=_.n),
        w=_.id.last(order_by=_.n),
        x=_.id.collect(order_by=_.n),
        y=_.k.group_concat(",", order_by=_.id),
        z=(_.x > 1).sum(),
        ss=_.x.sum(where=_.b),
        cc=_.n.cov(_.x),
        cr=_.n.corr(_.f, how="pop"),
        mx=_.d.max(),
        cs=_.b.count(),
        st=_.n.std(how="pop"),
        dm=_.dec.median(),
        bx=_.n.bit_xor(),
        r2=_.x.sum() / _.n.sum(),
    ),
    "windows": lambda: t.select(
        "id",
        a=t.x.sum().over(group_by="k", order_by="id"),
        b=ibis.row_number().over(order_by="n"),
        c=t.n.lag(1).over(group_by="k", order_by="id"),
        d=t.n.cumsum(order_by="id"),
        e=ibis.rank().over(order_by="k"),
        f=t.x.mean().over(ibis.window(preceding=2, following=0, order_by="id")),
        g=t.n.sum().over(ibis.range_window(preceding=ibis.interval(days=1), order_by="ts")),
        h=t.n.first().over(group_by="k", order_by="id"),
        i=t.n.max().over(group_by="k"),
        j=ibis.ntile(2).over(order_by="id"),
        k=t.f.std().over(group_by="k"),
        l=(t.x - t.x.mean()),
        m=ibis.dense_rank().over(order_by="k"),
        n=t.n.lead(1, default=0).over(order_by="id"),
        o=t.n.nth(1).over(order_by="id"),
        p=ibis.percent_rank().over(order_by="n"),
        q=t.n.last().over(group_by="k", order_by="id"),
    ),
    "joins": lambda: t.join(t2, "id").join(t2.view(), "id").select("id", "k", "x_right"),
    "leftjoin": lambda: t.left_join(t2, [t.k == t2.k, t.n < t2.n]).select("id", "id_right"),
    "semi": lambda: t.semi_join(t2, "id").anti_join(t2.filter(t2.n > 2), "id"),
    "outer": lambda: t.outer_join(t2, "id")[["id", "id_right"]],
    "cross": lambda: t.cross_join(t2).agg(n=_.count()),
    "union": lambda: t.union(t2).union(t2, distinct=False)[["id", "x"]],
    "distinct": lambda: t[["k", "x"]].distinct(),
    "intersect": lambda: t[["k", "x"]].intersect(t2[["k", "x"]]),
    "difference": lambda: t[["k", "x"]].difference(t2[["k", "x"]]),
    "filter window": lambda: t.filter(ibis.row_number().over(group_by="k", order_by="id") == 0),
    "filter agg": lambda: t.filter(t.x > t.x.mean()),
    "filter subq": lambda: t.filter(t.n > t2.n.mean().as_scalar()),
    "isin": lambda: t.filter(t.id.isin(t2.id)),
    "exists": lambda: t.filter((t.id == t2.id).any()),
    "case": lambda: t.select(
        a=ibis.cases((t.n > 1, "x"), (t.n > 0, "y"), else_=None),
        b=(t.n > 1).ifelse(1, 0),
        c=t.k.cases(("a", 1), else_=2),
        d=ibis.coalesce(t.x, 0.0),
        e=t.x.nullif(1.5),
        f=ibis.least(t.n, t.id),
        g=ibis.greatest(t.x, 1.0),
        h=t.x.isnan(),
        i=t.x.isnull(),
        j=t.n.between(0, 2),
        k2=~t.b,
        l=t.b & (t.n > 1),
        m=t.x.isinf(),
    ),
    "casts": lambda: t.select(
        a=t.x.cast("float32"),
        b=t.n.cast("string"),
        c=t.k.try_cast("int64"),
        d2=t.n.cast("float64"),
        e=t.x.fill_null(0).cast("string"),
        f=t.b.cast("int8"),
        g=t.n.cast("boolean"),
        h=t.ts.cast("date"),
        i=t.n.cast("decimal(10,2)"),
        j=t.dec.cast("int64"),
        k=t.dec.cast("float64"),
        l=t.id.cast("int8"),
        m=t.k.try_cast("float64"),
        n=t.k.try_cast("timestamp"),
        o=t.k.try_cast("date"),
        p=t.id.cast("timestamp"),
    ),
    "array": lambda: t.select(
        a=t.arr.length(),
        b=t.arr[0],
        c=t.arr.sort(),
        d=t.arr.contains(2),
        e=t.arr.map(lambda v: v + 1),
        f=t.arr.filter(lambda v: v > 1),
        g=t.arr.unnest(),
        h=t.arr.index(2),
    ),
    "struct": lambda: t.select(a=t.st.p, b=t.st["q"], c=ibis.struct({"a": t.n, "b": t.k})),
    "table ops": lambda: t.drop("x", "arr").rename(kk="k").fill_null({"f": 0}).drop_null("n"),
    "unnest": lambda: t.unnest("arr")[["id", "arr"]],
    "limit": lambda: t.order_by(ibis.desc("n")).limit(2, offset=1),
    "topk": lambda: t.k.topk(1),
    "value_counts": lambda: t.k.value_counts(),
    "pivot longer": lambda: t[["id", "x"]].pivot_longer("x"),
    "pivot wider": lambda: t[["id", "k", "x"]].pivot_wider(
        names_from="k", values_from="x", names=["a", "b"], values_agg="sum"
    ),
    "having": lambda: t.group_by("k").having(_.count() > 1).agg(n=_.x.sum()),
    "agg of agg": lambda: t.group_by("k").agg(s=_.x.sum()).agg(m=_.s.mean()),
    "agg reuse": lambda: (lambda a: a.join(a.view(), "k"))(t.group_by("k").agg(s=_.x.sum())),
    "scalar agg": lambda: t.mutate(z=t.x - t.x.sum() / t.n.count())[["id", "z"]],
    "count_distinct": lambda: t.agg(n=t.nunique()),
    "float keys": lambda: t.group_by("x").agg(n=_.count()),
    "bits": lambda: t.select(a=t.n & 1, b=t.n | 1, c=t.id << 2, d=t.n ^ 1, e=~t.n),
    "asof": lambda: (
        algebra.asof_join(t, t2[["id", "ts", "x"]], on="ts", by="id", direction="nearest", within="1d")
        .group_by("k")
        .agg(s=_.x_right.sum())
    ),
    "split": lambda: algebra.split(t, ["id", "k"], {"a": 0.5, "b": 0.5}),
}


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        table = pa.Table.from_pylist(ROWS, schema=SCHEMA)
        kernel.register("raw.t", table)
        kernel.register("raw.t2", table)
        yield kernel


@pytest.mark.parametrize("idiom", IDIOMS)
def test_idiom(kernel: Kernel, idiom: str):
    expr = IDIOMS[idiom]()
    plain = algebra.normalise(expr)
    assert algebra.normalise(plain).equals(plain)
    assert algebra.fingerprint(plain) == algebra.fingerprint(expr)
    assert algebra.reads(plain) == algebra.reads(expr)
    assert set(algebra.column_lineage(expr)) == set(expr.columns)
    declared = algebra.arrow_schema(plain.schema())
    assert kernel.query(expr).read_all().schema.types == declared.types


@pytest.mark.parametrize("idiom", ["aggs", "windows", "limit", "pivot wider", "asof", "distinct"])
def test_the_order_of_rows_changes_nothing(kernel: Kernel, idiom: str):
    def run(rows: list[dict[str, object]]) -> list[str]:
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        with Kernel(threads=2) as other:
            other.register("raw.t", table)
            other.register("raw.t2", table)
            return sorted(map(repr, other.query(IDIOMS[idiom]()).read_all().to_pylist()))

    assert run(ROWS) == run(ROWS[::-1]) == run(ROWS[3:] + ROWS[:3])
