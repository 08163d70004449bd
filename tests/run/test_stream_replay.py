"""A replay builds the same tables again on a branch, and swaps them in; cut off, it goes on."""

from pathlib import Path

import ibis
import pytest

import gristmill as gm
from gristmill.errors import UsageError
from gristmill.run.streaming import replaying
from tests.run.streams import TABLES, append, digests, event, lines, project

DERIVED = ("clean.ev", "marts.minute", "marts.previous")


def streamed(root: Path, count: int = 60) -> gm.Project:
    made = project(root)
    append(root / "in/a.ndjson", lines(event(i, at_s=i * 7 % 300) for i in range(count)))
    made.stream(until_end=True, max_rows=17)
    return made


@pytest.mark.parametrize("sources", [False, True])
def test_a_replay_gives_the_same_tables_bit_for_bit(tmp_path: Path, sources: bool) -> None:
    made = streamed(tmp_path)
    before, head = digests(made), made.store.resolve("main")
    found = made.replay_stream(sources=sources)
    assert found.equal
    assert not found.swapped
    assert set(found.tables) == (set(TABLES) if sources else set(DERIVED))
    assert made.store.resolve("main") == head
    snapshot = made.store.snapshot(found.branch)
    assert {name: snapshot.digest(name) for name in TABLES} == before
    swapped = made.replay_stream(sources=sources, swap=True)
    assert swapped.swapped
    assert digests(made) == before
    assert found.branch not in made.store.branches()
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(60, 80)))
    assert made.stream(until_end=True) == 20
    report = made.parity()
    report.raise_if_failed()
    assert len(made.store.snapshot("main").to_arrow("raw.ev")) == 80


def test_what_was_wrong_is_shown_and_mended(tmp_path: Path) -> None:
    made = streamed(tmp_path)
    right = digests(made)
    with made.store.begin("main", message="damage") as tx:
        rows = tx.to_arrow("marts.minute").slice(0, 2)
        tx.delete("marts.minute", keys=rows.select(["minute", "k"]))
    found = made.replay_stream()
    assert not found.equal
    assert found.tables["marts.minute"].missing == 2
    assert made.replay_stream(swap=True).swapped
    assert digests(made) == right


def test_a_changed_definition_is_compared_before_it_is_swapped_in(tmp_path: Path) -> None:
    streamed(tmp_path)
    changed = gm.Project(tmp_path)
    types = {"n": "int64", "k": "string", "x": "int64", "at": "timestamp"}
    raw = changed.source(
        "raw.ev", gm.tail("in/*.ndjson", types=types), event_time=gm.event_time("at", bound="30s", ahead="36500d")
    )

    @changed.table("clean.ev", reads=[raw])
    def clean(ev: ibis.Table) -> ibis.Table:
        return ev.filter(ev.x > 50).mutate(at=ev.at.cast("timestamp"))

    found = changed.replay_stream()
    assert found.tables["clean.ev"].extra > 0
    assert changed.replay_stream(swap=True).swapped
    assert changed.store.snapshot("main").to_arrow("clean.ev")["x"].to_pylist() > [50]


@pytest.mark.parametrize("sources", [False, True])
def test_killed_half_way_it_goes_on(tmp_path: Path, sources: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    made = streamed(tmp_path)
    before = digests(made)
    real, calls = replaying.bring_up, []

    def killed(ctx: object, tx: object, node: object, *rest: object, **more: object) -> object:
        calls.append((node.name, more["anew"]))  # type: ignore[attr-defined]
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(ctx, tx, node, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(replaying, "bring_up", killed)
    with pytest.raises(KeyboardInterrupt):
        made.replay_stream(sources=sources, swap=True)
    assert digests(made) == before
    found = made.replay_stream(sources=sources, swap=True)
    assert found.swapped
    assert found.equal
    assert digests(made) == before
    if not sources:
        assert calls[2] == ("clean.ev", False)
        assert calls[3] == ("marts.minute", True)


@pytest.mark.parametrize("sources", [False, True])
def test_what_the_stream_commits_meanwhile_is_taken_over(
    tmp_path: Path, sources: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = streamed(tmp_path)
    real, times = replaying._Work.differences, []

    def meanwhile(self: object, base: str) -> object:
        found = real(self, base)  # type: ignore[arg-type]
        if len(times) < 2:
            times.append(base)
            append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(100 * len(times), 100 * len(times) + 10)))
            assert project(tmp_path).stream(until_end=True) == 10
        return found

    monkeypatch.setattr(replaying._Work, "differences", meanwhile)
    found = made.replay_stream(sources=sources, swap=True)
    assert found.swapped
    assert len(times) == 2
    assert made.store.snapshot("main").table("raw.ev").row_count == 80
    report = made.parity()
    report.raise_if_failed()


def test_sinks_get_nothing_of_a_replay_and_nothing_new_of_an_equal_one(tmp_path: Path) -> None:
    def shop() -> gm.Project:
        made = project(tmp_path)
        made.sink("out", reads="marts.minute", to=gm.files("outbox/*.ndjson"))
        return made

    made = shop()
    append(tmp_path / "in/a.ndjson", lines(event(i) for i in range(60)))
    made.stream(until_end=True)
    sent = sorted(path.read_text() for path in (tmp_path / "outbox").iterdir())
    made.replay_stream(swap=True)
    shop().stream(until_end=True)
    assert sorted(path.read_text() for path in (tmp_path / "outbox").iterdir()) == sent


def test_rows_that_a_source_no_longer_holds_are_told(tmp_path: Path) -> None:
    made = streamed(tmp_path)
    (tmp_path / "in/a.ndjson").write_text(lines(event(i, at_s=i * 7 % 300) for i in range(30, 60)))
    found = made.replay_stream(sources=True)
    assert found.tables["raw.ev"].extra == 30
    assert found.tables["raw.ev"].missing == 0


def test_a_project_without_streams_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "gristmill.toml").write_text("")
    with pytest.raises(UsageError, match="nothing here is a stream"):
        gm.Project(tmp_path).replay_stream()
