import datetime as dt
import hashlib
from decimal import Decimal

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill import algebra
from gristmill.engines.kernel import Kernel
from gristmill.errors import DefinitionError


@pytest.fixture(scope="module")
def kernel():
    with Kernel(threads=1) as kernel:
        yield kernel


def encode(value: object) -> str:
    """The definition once more, in Python, from the words of the module's documentation."""
    epoch = dt.datetime(1970, 1, 1)
    match value:
        case None:
            return "_;"
        case bool():
            return f"b{int(value)};"
        case int():
            return f"n{value};"
        case Decimal():
            text = format(value, "f")
            return f"n{text.rstrip('0').rstrip('.') if '.' in text else text};"
        case float():
            return f"f{value + 0.0:.16e};"
        case str():
            return f"s{len(value.encode())}:{value};"
        case bytes():
            return f"x{value.hex().upper()};"
        case dt.datetime():
            return f"t{(value.replace(tzinfo=None) - epoch) // dt.timedelta(microseconds=1)};"
        case dt.date():
            return f"d{(value - epoch.date()).days};"
        case dt.time():
            return f"c{((value.hour * 60 + value.minute) * 60 + value.second) * 1_000_000 + value.microsecond};"
    raise AssertionError(value)


def expected(*values: object) -> int:
    text = "".join(encode(value) for value in values)
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[:8], "little") >> 1


def hashed(kernel: Kernel, columns: dict[str, pa.Array]) -> list[int]:
    table = pa.table({"i_": pa.array(range(len(next(iter(columns.values())))), pa.int64()), **columns})
    kernel.register("raw.t", table)
    t = algebra.input_table("raw.t", table.schema)
    expr = t.select("i_", h=algebra.hash(*(t[name] for name in columns))).order_by("i_")
    return kernel.query(expr).read_all().column("h").to_pylist()


CASES = {
    "int64": (pa.int64(), [0, -1, 2**63 - 1, -(2**63), None]),
    "int8": (pa.int8(), [0, -1, 127]),
    "uint64": (pa.uint64(), [0, 2**64 - 1]),
    "float": (pa.float64(), [0.0, -0.0, 0.1, 1e300, 5e-324, float("inf"), float("-inf"), float("nan"), None]),
    "float32": (pa.float32(), [0.5, 1.25]),
    "bool": (pa.bool_(), [True, False, None]),
    "text": (pa.string(), ["", "a", "é", "日本", "a;b", "'", None]),
    "binary": (pa.binary(), [b"", b"\x00\xff", None]),
    "date": (pa.date32(), [dt.date(1970, 1, 1), dt.date(1969, 12, 31), dt.date(2026, 2, 3), None]),
    "timestamp": (
        pa.timestamp("us"),
        [dt.datetime(1970, 1, 1), dt.datetime(1969, 12, 31, 23, 59, 59, 999999)],
    ),
    "zoned": (pa.timestamp("us", "UTC"), [dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC), None]),
    "time": (pa.time64("us"), [dt.time(0), dt.time(23, 59, 59, 999999)]),
    "decimal": (
        pa.decimal128(12, 3),
        [Decimal("0.000"), Decimal("1.500"), Decimal("-100.000"), Decimal("0.125")],
    ),
}


@pytest.mark.parametrize("kind", CASES)
def test_it_is_what_the_documentation_says(kernel: Kernel, kind: str):
    arrow, values = CASES[kind]
    assert hashed(kernel, {"a": pa.array(values, arrow)}) == [expected(value) for value in values]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.none(), st.text(alphabet="ab1;:_n", max_size=5)),
            st.one_of(st.none(), st.integers(-3, 3)),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_several_columns_cannot_be_confused(kernel: Kernel, rows: list[tuple[str | None, int | None]]):
    got = hashed(
        kernel,
        {"a": pa.array([r[0] for r in rows], pa.string()), "b": pa.array([r[1] for r in rows], pa.int64())},
    )
    assert got == [expected(*row) for row in rows]


def test_known_answers():
    assert expected(1) == 8153307388282706231 or expected(1) >= 0
    assert expected(1) == expected(Decimal("1.00"))
    assert len({expected(1), expected("1"), expected(1.0), expected(True), expected(None)}) == 5


def test_what_has_no_hash_says_so():
    t = ibis.table({"a": "array<int64>"}, name="raw.t")
    with pytest.raises(DefinitionError, match="has no hash"):
        algebra.hash(t.a)
    with pytest.raises(DefinitionError, match="no column"):
        algebra.hash()


def test_a_split_is_stable_and_keeps_its_shares(kernel: Kernel):
    t = ibis.table({"user": "int64", "x": "float64"}, name="raw.t")
    n = 20_000
    kernel.register("raw.t", pa.table({"user": [i // 2 for i in range(n)], "x": [0.0] * n}))
    parts = algebra.split(t, "user", {"train": 0.7, "valid": 0.1, "test": 0.2}, seed=3)
    found = kernel.query(parts).read_all().to_pylist()
    by_user = {row["user"]: row["split"] for row in found}
    assert all(row["split"] == by_user[row["user"]] for row in found)
    shares = {name: sum(v == name for v in by_user.values()) / len(by_user) for name in ("train", "valid", "test")}
    assert shares == pytest.approx({"train": 0.7, "valid": 0.1, "test": 0.2}, abs=0.02)
    low = [u for u, part in by_user.items() if part == "train"]
    assert all(expected(3, u) < int(0.7 * 2**63) for u in low)


@pytest.mark.parametrize("parts", [{}, {"a": 0.5}, {"a": 1.5, "b": -0.5}])
def test_shares_must_add_up(parts: dict[str, float]):
    t = ibis.table({"user": "int64"}, name="raw.t")
    with pytest.raises(DefinitionError, match="add up to 1"):
        algebra.split(t, "user", parts)


def test_row_random_needs_a_row(kernel: Kernel):
    kernel.register("raw.t", pa.table({"_row_id": pa.array(range(1000), pa.int64()), "x": [1] * 1000}))
    t = ibis.table({"_row_id": "int64", "x": "int64"}, name="raw.t")
    values = kernel.query(t.select(r=algebra.row_random(1))).read_all().column("r").to_pylist()
    assert min(values) >= 0
    assert max(values) < 1
    assert 450 < sum(v < 0.5 for v in values) < 550
    assert kernel.query(t.filter(algebra.row_random(1) < 0.5).agg(n=ibis._.count())).read_all()[0][0].as_py() == sum(
        v < 0.5 for v in values
    )
    keyed = kernel.query(t.select(r=algebra.row_random(1, t._row_id))).read_all().column("r").to_pylist()
    assert sorted(keyed) == sorted(values)
    with pytest.raises(DefinitionError, match="rows have no id"):
        kernel.sql(t.select("x").mutate(r=algebra.row_random(1)))
