"""Rules on files: read where they lie, with the line of what does not fit, and no more opened than was named."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gristmill as gm
from gristmill.errors import GristmillError, UsageError

NAN = float("nan")


def parquet(path: Path, **columns: list[object]) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return path


def outcomes(report: object) -> list[tuple[str, str, int]]:
    return [(f.rule.kind, f.outcome, f.failed_rows) for f in report.findings]  # type: ignore[attr-defined]


def test_csv_names_the_line_of_what_breaks_a_rule_and_of_what_does_not_fit(tmp_path: Path) -> None:
    lines = ["id,age", *(f"{i},{20 + i % 60}" for i in range(300)), "300,41,more", '301,"41"', "302,200"]
    (tmp_path / "people.csv").write_text("\n".join(lines) + "\n")
    report = gm.check(tmp_path / "people.csv", [gm.rules.between("age", low=0, high=150), gm.rules.unique("id")])
    assert outcomes(report)[1:] == [("between", "fail", 1), ("unique", "pass", 0)]
    unfit = report.findings[0]
    assert (unfit.failed_rows, unfit.checked_rows) == (1, 303)
    assert unfit.examples[0].origin == "people.csv:302"
    assert report.findings[1].examples[0].origin == "people.csv:304"
    assert not report.ok


@pytest.mark.parametrize("text", ['{"a": 1}\n{"a": 2}\n', '[{"a": 1}, {"a": 2}]'])
def test_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("t.json" if text.startswith("[") else "t.ndjson")
    path.write_text(text)
    assert outcomes(gm.check(str(path), [gm.rules.between("a", low=2)])) == [("between", "fail", 1)]


def test_footers_prove_what_holds_and_convict_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = parquet(tmp_path / "t.parquet", a=[1, 2, None, 4], x=[0.5, NAN, 1.5, 2.0], s=["a", "b", "c", "d"])
    rules = [
        gm.rules.between("a", low=1, high=4),
        gm.rules.not_null("s"),
        gm.rules.between("x", low=0, high=2),
        gm.rules.not_null("x"),
        gm.rules.not_null("a"),
        gm.rules.between("a", low=2),
    ]
    seen: list[str] = []
    from gristmill.contracts import scan

    monkeypatch.setattr(
        scan, "scan_masks", lambda *a, real=scan.scan_masks, **k: (seen.extend(r.code for r in a[2]), real(*a, **k))[1]
    )
    report = gm.check(path, rules)
    assert [f.failed_rows for f in report.findings] == [0, 0, 0, 1, 1, 1]
    assert seen == ["not_null:x", "not_null:a", "between:a"]
    assert outcomes(gm.check(pq.read_table(path), rules)) == outcomes(report)


def test_a_pattern_is_one_frame(tmp_path: Path) -> None:
    parquet(tmp_path / "1.parquet", a=[1, 2])
    parquet(tmp_path / "2.parquet", a=[2, 9])
    report = gm.check(str(tmp_path / "*.parquet"), [gm.rules.unique("a"), gm.rules.between("a", high=5)])
    assert outcomes(report) == [("unique", "fail", 2), ("between", "fail", 1)]


def test_only_the_named_file_can_be_opened(tmp_path: Path) -> None:
    secret = parquet(tmp_path / "secret.parquet", a=[1])
    path = parquet(tmp_path / "it's.parquet", a=[1])
    spy = gm.rules.condition(f"a = (SELECT max(a) FROM read_parquet('{secret}'))")
    assert [f.outcome for f in gm.check(path, [spy]).findings] in (["error"], ["not_checked"])
    assert gm.check(path, [gm.rules.condition("a = 1")]).ok


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "no.parquet").write_text("no parquet at all")
    with pytest.raises(GristmillError, match=r"cannot be read") as caught:
        gm.check(tmp_path / "no.parquet", [gm.rules.row_count(low=1)])
    assert caught.value.code == "GM-D014"
    with pytest.raises(UsageError, match=r"there is no file"):
        gm.check(tmp_path / "gone.csv", [gm.rules.row_count(low=1)])
