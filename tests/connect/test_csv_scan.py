"""The scanner against a character-by-character reading of the same rules."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.connect import csv_scan
from gristmill.connect.csv_scan import Grammar, count_cells, scan, split_record
from gristmill.connect.values import Dialect

DIALECT = Dialect()


def test_newlines_inside_quotes_do_not_end_a_record_but_count_as_lines() -> None:
    text = b'a,"x\ny"\r\nb,2\n"c\r\n",3'
    found = scan(text, Grammar(DIALECT), final=True)
    records = [text[s:e] for s, e in zip(found.starts, found.ends, strict=True)]
    assert records == [b'a,"x\ny"\r\n', b"b,2\n", b'"c\r\n",3']
    assert found.lines_before.tolist() == [0, 2, 3]
    assert not found.bad


def test_a_lost_quote_costs_its_own_line_only() -> None:
    text = b'1,"a\n2,"b"\n3,"c"\n4,d\n'
    found = scan(text, Grammar(DIALECT), final=True)
    assert found.bad == {0: "text stands behind a closing quote"}
    assert [text[s:e] for s, e in zip(found.starts, found.ends, strict=True)] == text.splitlines(keepends=True)


def test_a_quote_that_never_closes_costs_its_own_line_only() -> None:
    text = b'1,a\n2,"b\n3,c\n4,d\n'
    found = scan(text, Grammar(DIALECT), final=True)
    assert list(found.bad) == [1]
    assert len(found.starts) == 4


def test_quotes_inside_plain_cells_are_text() -> None:
    text = b'1,5" pipe\n2,say "hi"\n3,"x"\n'
    found = scan(text, Grammar(DIALECT), final=True)
    assert not found.bad
    assert count_cells(text, found, Grammar(DIALECT)).tolist() == [2, 2, 2]


def test_an_incomplete_record_is_left_for_the_next_block() -> None:
    for text, end in ((b'1,a\n2,"b\n', 4), (b"1,a\n2,b", 4), (b"1,a\r", 0), (b'1,"a"', 0)):
        found = scan(text, Grammar(DIALECT), final=False)
        assert found.end == end, text


def test_escapes_hide_quotes_and_line_ends() -> None:
    grammar = Grammar(Dialect(escape="\\"))
    text = b'1,"a\\"b"\n2,c\\\nd\n3,"e\\\\"\n'
    found = scan(text, grammar, final=True)
    records = [split_record(text[s:e], grammar) for s, e in zip(found.starts, found.ends, strict=True)]
    assert records == [[b"1", b'a"b'], [b"2", b"c\nd"], [b"3", b"e\\"]]


cells = st.text(alphabet='ab,"\n\r é', max_size=6)


@given(st.lists(st.lists(cells, min_size=2, max_size=4), max_size=12), st.integers(1, 60))
@settings(deadline=None)
def test_what_a_correct_writer_writes_is_found_record_by_record(rows: list[list[str]], cut: int) -> None:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows(rows)
    text = out.getvalue().encode()
    grammar = Grammar(DIALECT)
    got: list[list[str]] = []
    lines = []
    carry, line = b"", 0
    for at in range(0, len(text) + 1, cut):
        block = carry + text[at : at + cut]
        found = scan(block, grammar, final=at + cut > len(text))
        assert not found.bad
        counts = count_cells(block, found, grammar)
        for i, (start, end) in enumerate(zip(found.starts, found.ends, strict=True)):
            record = split_record(block[start:end], grammar)
            assert len(record) == counts[i]
            got.append([cell.decode() for cell in record])
            lines.append(line + int(found.lines_before[i]))
        line += found.lines
        carry = block[found.end :]
    assert got == rows
    want, here = [], 0
    for row in rows:
        want.append(here)
        written = ",".join(row)
        here += 1 + written.count("\n") + written.count("\r") - written.count("\r\n")
    assert lines == want


@given(st.text(alphabet='ab,"\n\r', max_size=60), st.integers(1, 30))
def test_any_text_is_cut_without_loss_and_the_same_in_blocks(text: str, cut: int) -> None:
    raw, grammar = text.encode(), Grammar(DIALECT)
    whole = scan(raw, grammar, final=True)
    assert b"".join(raw[s:e] for s, e in zip(whole.starts, whole.ends, strict=True)) == raw
    records, carry = [], b""
    for at in range(0, len(raw) + 1, cut):
        block = carry + raw[at : at + cut]
        found = scan(block, grammar, final=at + cut > len(raw))
        records += [(block[s:e], i in found.bad) for i, (s, e) in enumerate(zip(found.starts, found.ends, strict=True))]
        carry = block[found.end :]
    assert records == [
        (raw[s:e], i in whole.bad) for i, (s, e) in enumerate(zip(whole.starts, whole.ends, strict=True))
    ]


@given(st.text(alphabet='ab,"\n\r', max_size=200), st.integers(1, 40), st.integers(1, 40))
def test_windows_and_walks_of_any_size_find_the_same(text: str, walk: int, window: int) -> None:
    raw, grammar = text.encode(), Grammar(DIALECT)
    whole = scan(raw, grammar, final=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_scan, "_WALK_BYTES", walk)
        patch.setattr(csv_scan, "_WINDOW_BYTES", window)
        again = scan(raw, grammar, final=True)
    assert again.ends.tolist() == whole.ends.tolist()
    assert again.bad == whole.bad
    assert count_cells(raw, again, grammar).tolist() == count_cells(raw, whole, grammar).tolist()
