"""Messages decoded together give the rows that they give one by one, and odd ones are told apart."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.connect.stream_decode import Decoder, json_record
from gristmill.connect.stream_values import Fetched, Message
from gristmill.connect.values import Column, Shape

KINDS = {"n": "int64", "x": "double", "s": "string", "b": "boolean", "at": "timestamp", "d": "date", "i": "int32"}
SHAPE = Shape(columns=tuple(Column(name, kind) for name, kind in KINDS.items()))


def both(texts: list[bytes]) -> tuple[object, object]:
    messages = [Message(number, text, line=number, offset=number) for number, text in enumerate(texts)]
    fetched = Fetched("p", messages, {"next": "1"}, 0, 1)
    quick, slow = Decoder(SHAPE, json_record), Decoder(SHAPE, json_record)
    slow._bulk = False
    return quick.polled(fetched), slow.polled(fetched)


values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["2026-01-01", "2026-01-01T10:00:00Z", "2026-02-30", "x"]),
)
fitting = st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-(2**63), 2**63 - 1),
        "x": st.one_of(st.floats(allow_nan=False), st.integers(-(2**60), 2**60)),
        "s": st.text(max_size=8),
        "b": st.booleans(),
        "at": st.sampled_from(["2026-01-01T10:00:00Z", "2026-01-01 10:00:00.123456", None]),
        "d": st.sampled_from(["2026-01-01", None]),
    },
)
loose = st.dictionaries(st.sampled_from([*KINDS, "more"]), values, max_size=5)


@settings(deadline=None)
@given(st.lists(fitting, max_size=6), st.lists(loose, max_size=2), st.booleans())
def test_together_is_one_by_one(rows: list[dict[str, object]], odd: list[dict[str, object]], ascii_only: bool) -> None:
    texts = [json.dumps(row, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") for row in (*rows, *odd)]
    quick, slow = both(texts)
    assert repr(quick) == repr(slow)


@pytest.mark.parametrize(
    "text",
    [
        b'{"n": 1, "n": 2}',
        b'{"s": "a", "s": "b"}',
        b'{"n": 1.0}',
        b'{"x": 9007199254740993}',
        b'{"n": 9223372036854775808}',
        b'{"x": 1e999}',
        b'{"x": NaN}',
        b'{"s": "a\\"b"}',
        b'{"s": "\\ud800"}',
        b'{"s": "\xff"}',
        b"[1]",
        b"7",
        b"",
        b'{"n": 1} x',
        b'{"n": "1"}',
        b'{"b": 1}',
        b'{"i": 3000000000}',
        b'{"d": "2026-02-30"}',
        b'{"\\u006e": 1}',
    ],
)
def test_what_is_odd_is_told_as_before(text: bytes) -> None:
    quick, slow = both([b'{"n": 1, "x": 1.5, "s": "a", "b": true}', text])
    assert repr(quick) == repr(slow)
