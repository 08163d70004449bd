"""A changed definition computes only the columns that changed, and gives what a full computation gives."""

import random
from collections.abc import Callable
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.run import columnwise

Definition = Callable[..., ibis.Table]
EVENTS = "id,k,x,at\n" + "".join(
    f"{i},{'' if i % 11 == 0 else i % 7},{i * 37 % 101 / 4},2026-01-{i % 28 + 1:02}T00:00:{i % 60:02}\n"
    for i in range(400)
)
NAMES = "k,name,rank\n" + "".join(f"{k},name {k},{k * 3 % 5}\n" for k in range(6))


@pytest.fixture(autouse=True)
def every_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnwise, "LARGE_ROWS", 1)


def opened(root: Path, definition: Definition, key: object, **options: object) -> gm.Project:
    """Return a project whose table ``marts.t`` is defined so; its files are written where they are not there."""
    for name, text in (("events", EVENTS), ("names", NAMES)):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        if not list(folder.iterdir()):
            (folder / "1.csv").write_text(text)
    (root / "gristmill.toml").touch()
    project = gm.Project(root)
    events = project.source("raw.events", gm.files("events/*.csv"), key="id")
    names = project.source("raw.names", gm.files("names/*.csv"), key="k")
    project.table("marts.t", reads=[events, names], key=key, **options)(definition)  # type: ignore[arg-type]
    return project


def stage_of(project: gm.Project) -> object:
    """Run, and return the record of the table's stage."""
    result = project.run()
    assert result.ok, result.failures
    return next(stage for stage in result.record.stages if stage.name == "marts.t")


def window(t: ibis.Table) -> object:
    return ibis.window(group_by="k", order_by=["at", "id"])


CHANGES: dict[str, tuple[str | tuple[str, ...], Definition, Definition, set[str]]] = {
    "a computed column": (
        "id",
        lambda t, u: t.select("id", y=t.x * 2),
        lambda t, u: t.select("id", y=t.x * 2, z=t.x + 1),
        {"z"},
    ),
    "a column in the middle, of another type": (
        "id",
        lambda t, u: t.select("id", a=t.k, b=t.x),
        lambda t, u: t.select("id", a=t.k.cast("string"), c=t.at, b=t.x),
        {"a", "c"},
    ),
    "a window beside others": (
        "id",
        lambda t, u: t.select("id", r=ibis.row_number().over(window(t)), s=t.x.sum().over(window(t))),
        lambda t, u: t.select(
            "id", m=t.x.mean().over(window(t)), r=ibis.row_number().over(window(t)), s=t.x.sum().over(window(t))
        ),
        {"m"},
    ),
    "a column of the table that is joined": (
        "id",
        lambda t, u: t.left_join(u, "k").select("id", "name", "x"),
        lambda t, u: t.left_join(u, "k").select("id", "name", "x", "rank"),
        {"rank"},
    ),
    "an aggregate beside others, null groups too": (
        ("g",),
        lambda t, u: t.group_by(g=t.k.fill_null(-1)).agg(s=t.x.sum(), n=t.count()),
        lambda t, u: t.group_by(g=t.k.fill_null(-1)).agg(s=t.x.sum(), n=t.count(), low=t.x.min(), d=t.x.std()),
        {"low", "d"},
    ),
    "a median beside a sum": (
        ("g",),
        lambda t, u: t.group_by(g=t.k.fill_null(-1)).agg(s=t.x.sum()),
        lambda t, u: t.group_by(g=t.k.fill_null(-1)).agg(s=t.x.sum(), q=t.x.quantile(0.9)),
        {"q"},
    ),
    "one that goes": (
        "id",
        lambda t, u: t.select("id", y=t.x * 2, z=t.x + 1),
        lambda t, u: t.select("id", y=t.x * 2),
        set(),
    ),
    "beside the first row of each group": (
        "id",
        lambda t, u: t.filter(ibis.row_number().over(window(t)) == 0).select("id", "x"),
        lambda t, u: t.filter(ibis.row_number().over(window(t)) == 0).select("id", "x", "at"),
        {"at"},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_only_changed_columns_are_computed(name: str, tmp_path: Path) -> None:
    key, first, second, made = CHANGES[name]
    stage_of(opened(tmp_path / "a", first, key))
    project = opened(tmp_path / "a", second, key)
    step = next(step for step in project.plan().steps if step.name == "marts.t")
    stage = stage_of(project)
    fresh = opened(tmp_path / "b", second, key)
    stage_of(fresh)
    assert [p.store.snapshot("main").digest("marts.t") for p in (project,)] == [
        fresh.store.snapshot("main").digest("marts.t")
    ]
    assert project.parity("marts.t").ok
    assert step.mode == stage.mode == "columns", (step, stage)
    for column in made:
        assert column in step.why.split(";")[0]
    (tmp_path / "a" / "events" / "2.csv").write_text("id,k,x,at\n1000,3,9.75,2026-02-01T00:00:00\n1001,,1,2026-02-02\n")
    followed = stage_of(project)
    assert followed.mode in ("delta", "touched"), followed
    assert project.parity("marts.t").ok


def row_columns(t: ibis.Table) -> dict[str, ibis.Value]:
    """Columns of all kinds that a table of events may have."""
    by = window(t)
    moment = ibis.range_window(preceding=ibis.interval(days=2), following=0, group_by="k", order_by="at")
    return {
        "y": t.x * 2,
        "r": ibis.rank().over(by),
        "lag": t.x.lag(2).over(by),
        "running": t.x.sum().over(ibis.cumulative_window(group_by="k", order_by=["at", "id"])),
        "lately": t.x.mean().over(moment),
        "all": t.x.sum(),
        "day": t.at.truncate("D"),
        "text": t.k.cast("string").fill_null("none"),
    }


def group_columns(t: ibis.Table) -> dict[str, ibis.Value]:
    """Aggregates of all kinds."""
    return {
        "n": t.count(),
        "s": t.x.sum(),
        "m": t.x.mean(),
        "v": t.x.var(),
        "low": t.x.min(),
        "q": t.x.quantile(0.25),
        "some": t.x.sum(where=t.k > 2),
        "kinds": t.x.nunique(),
        "last": t.x.last(order_by=["at", "id"]),
    }


def chosen(rng: random.Random, *, grouped: bool) -> Definition:
    """Return a definition with four of the columns, always the same four."""
    numbers = rng.sample(range(8), 4)

    def definition(t: ibis.Table, u: ibis.Table) -> ibis.Table:
        made = list((group_columns if grouped else row_columns)(t).items())
        some = dict(made[number] for number in numbers)
        return t.group_by(g=t.k.fill_null(-1)).agg(**some) if grouped else t.select("id", **some)

    return definition


@pytest.mark.parametrize("seed", range(6))
def test_random_sets_of_columns_one_after_another(seed: int, tmp_path: Path) -> None:
    rng, grouped, modes = random.Random(seed), seed % 2 == 0, set()
    for _ in range(4):
        project = opened(tmp_path, chosen(rng, grouped=grouped), "g" if grouped else "id")
        stage = stage_of(project)
        modes.add(stage.mode)  # type: ignore[attr-defined]
        assert project.parity("marts.t").ok, stage
    assert grouped or modes == {"columns", "full"}, modes


OTHERS: dict[str, tuple[Definition, Definition]] = {
    "other rows": (
        lambda t, u: t.filter(t.x > 5).select("id", y=t.x),
        lambda t, u: t.filter(t.x > 6).select("id", y=t.x, z=t.k),
    ),
    "a join that may drop rows": (
        lambda t, u: t.select("id", y=t.x),
        lambda t, u: t.join(u, "k").select("id", "name", y=t.x),
    ),
    "the key computed otherwise": (
        lambda t, u: t.select("id", y=t.x),
        lambda t, u: t.select(id=t.id + 1, y=t.x, z=t.k),
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_where_rows_may_change_all_is_computed(name: str, tmp_path: Path) -> None:
    first, second = OTHERS[name]
    stage_of(opened(tmp_path / "a", first, "id"))
    project = opened(tmp_path / "a", second, "id")
    assert stage_of(project).mode == "full"
    assert project.parity("marts.t").ok


def test_inputs_that_changed_too_are_computed_in_full(tmp_path: Path) -> None:
    stage_of(opened(tmp_path, lambda t, u: t.select("id", y=t.x), "id"))
    (tmp_path / "events" / "2.csv").write_text("id,k,x,at\n1000,3,9.75,2026-02-01\n")
    project = opened(tmp_path, lambda t, u: t.select("id", y=t.x, z=t.k), "id")
    assert stage_of(project).mode == "full"
    assert project.store.snapshot("main").table("marts.t").row_count == 401


def test_rules_look_at_new_columns_and_block(tmp_path: Path) -> None:
    stage_of(opened(tmp_path, lambda t, u: t.select("id", y=t.x), "id"))
    project = opened(tmp_path, lambda t, u: t.select("id", y=t.x, z=t.k), "id", rules=[gm.rules.not_null("z")])
    result = project.run()
    assert not result.ok
    assert "z" not in project.store.snapshot("main").table("marts.t").schema.to_arrow().names


def test_a_table_that_someone_wrote_to_is_computed_in_full(tmp_path: Path) -> None:
    project = opened(tmp_path, lambda t, u: t.select("id", y=t.x), "id")
    stage_of(project)
    with project.store.begin("main") as tx:
        tx.delete("marts.t", keys=pa.table({"id": [1]}))
    changed = opened(tmp_path, lambda t, u: t.select("id", y=t.x, z=t.k), "id")
    assert stage_of(changed).mode == "full"
    assert changed.store.snapshot("main").table("marts.t").row_count == 400
