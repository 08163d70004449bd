"""Derived tables follow their inputs: the same rows as computed in full, in the mode that was promised."""

import random
from collections.abc import Callable
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

import gristmill as gm

KINDS = "abcdefghijklmnopqrstuvwxyz"


def rows(count: int, *, seed: int = 1, first: int = 0) -> list[dict[str, object]]:
    rng = random.Random(seed)
    return [
        {
            "id": first + i,
            "kind": rng.choice(KINDS),
            "day": rng.randrange(400),
            "x": rng.choice([None, rng.random() * 10, 1e-30, -0.1]),
        }
        for i in range(count)
    ]


SCHEMA = pa.schema([("id", pa.int64()), ("kind", pa.string()), ("day", pa.int64()), ("x", pa.float64())])


def csv_project(root: Path) -> gm.Project:
    (root / "landing").mkdir(exist_ok=True)
    (root / "gristmill.toml").write_text("")
    project = gm.Project(root)
    project.source("raw.t", gm.files("landing/*.csv"), key="id")
    return project


def land(root: Path, name: str, found: list[dict[str, object]]) -> None:
    (root / "landing").mkdir(exist_ok=True)
    lines = ["id,kind,day,x"] + [
        ",".join("" if value is None else str(value) for value in row.values()) for row in found
    ]
    (root / "landing" / name).write_text("\n".join(lines) + "\n")


def modes(project: gm.Project) -> dict[str, str]:
    record = project.run().record
    assert record.status in ("published", "unchanged")
    return {stage.name: stage.mode for stage in record.stages}


def content(project: gm.Project, name: str) -> str:
    return project.store.snapshot("main").digest(name)


def same_as_full(project: gm.Project, names: list[str]) -> None:
    """Compute everything anew on another branch of the definitions and compare digests."""
    snapshot = project.store.snapshot("main")
    made = project.test({"raw.t": snapshot.to_arrow("raw.t")})
    for name in names:
        stored = snapshot.to_arrow(name)
        order = [(column, "ascending") for column in stored.schema.names]
        assert made[name].select(stored.schema.names).cast(stored.schema).sort_by(order).equals(stored.sort_by(order))


def define(project: gm.Project) -> list[str]:
    @project.table("made.filtered", reads=["raw.t"], key="id")
    def filtered(t: ibis.Table) -> ibis.Table:
        return t.filter(t.day > 100).mutate(y=t.x * 2)

    @project.table("made.sums", reads=[filtered], key="kind")
    def sums(t: ibis.Table) -> ibis.Table:
        return t.group_by("kind").agg(n=t.count(), s=t.x.sum(), m=t.y.mean(), v=t.x.var())

    @project.table("made.ranked", reads=[filtered], key="id")
    def ranked(t: ibis.Table) -> ibis.Table:
        window = ibis.window(group_by=["kind", "day"], order_by=["id"])
        return t.mutate(r=ibis.row_number().over(window)).select("id", "r")

    @project.table("made.joined", reads=[filtered, sums], key="id")
    def joined(t: ibis.Table, s: ibis.Table) -> ibis.Table:
        return t.inner_join(s, "kind").select(t.id, s.n)

    @project.table("made.bag", reads=["raw.t"])
    def bag(t: ibis.Table) -> ibis.Table:
        return t.select("kind", "day")

    return ["made.filtered", "made.sums", "made.ranked", "made.joined", "made.bag"]


def test_every_kind_of_definition_follows_files_that_come_change_and_go_wrong(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", rows(30_000))
    project = csv_project(tmp_path)
    names = define(project)
    assert set(modes(project).values()) == {"land", "full"}
    land(tmp_path, "2.csv", rows(100, seed=2, first=30_000))
    second = modes(project)
    assert [second[name] for name in names[:3]] == ["delta", "delta", "touched"]
    assert second["made.bag"] == "delta"
    same_as_full(project, names)
    land(tmp_path, "2.csv", rows(90, seed=3, first=30_005))
    third = modes(project)
    assert [third[name] for name in names[:3]] == ["delta", "delta", "touched"]
    same_as_full(project, names)


def test_rows_that_did_not_change_are_not_written_again(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", rows(20_000))
    project = csv_project(tmp_path)
    define(project)
    assert project.run().ok
    before = project.store.resolve("main")
    land(tmp_path, "2.csv", rows(3, seed=2, first=20_000))
    assert project.run().ok
    delta = project.store.diff(before, "main").tables["made.sums"]
    assert len(delta.updated) + len(delta.inserted) <= 3
    assert not delta.deleted


def test_a_plan_says_delta_before_anything_is_landed(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", rows(2_000))
    project = csv_project(tmp_path)
    define(project)
    assert project.run().ok
    land(tmp_path, "2.csv", rows(10, seed=2, first=2_000))
    planned = {step.name: step for step in project.plan().steps}
    assert planned["made.filtered"].mode == "delta"
    assert planned["made.ranked"].mode == "touched"
    assert planned["made.sums"].rules


def test_a_large_change_is_computed_in_full(tmp_path: Path) -> None:
    land(tmp_path, "1.csv", rows(1_000))
    project = csv_project(tmp_path)
    define(project)
    assert project.run().ok
    land(tmp_path, "2.csv", rows(50_000, seed=2, first=1_000))
    assert modes(project)["made.ranked"] == "full"


def test_a_changed_definition_is_computed_in_full_and_then_followed_again(tmp_path: Path) -> None:
    def make(floor: int) -> gm.Project:
        project = csv_project(tmp_path)

        @project.table("made.sums", reads=["raw.t"], key="kind")
        def sums(t: ibis.Table) -> ibis.Table:
            return t.filter(t.day > floor).group_by("kind").agg(s=t.x.sum(), top=t.x.max())

        return project

    land(tmp_path, "1.csv", rows(30_000))
    assert modes(make(1))["made.sums"] == "full"
    assert modes(make(2))["made.sums"] == "full"
    land(tmp_path, "2.csv", rows(20, seed=4, first=30_000))
    assert modes(make(2))["made.sums"] == "delta"
    same_as_full(make(2), ["made.sums"])


@pytest.mark.parametrize(
    ("rule", "second"),
    [
        (lambda: gm.rules.between("day", low=0, high=1_000, on_fail="quarantine"), "delta"),
        (lambda: gm.rules.between("day", low=0, high=1_000, on_fail="warn"), "delta"),
        (lambda: gm.rules.row_count(low=1), "delta"),
    ],
)
def test_rules_hold_for_followed_tables(tmp_path: Path, rule: Callable[[], object], second: str) -> None:
    def make() -> gm.Project:
        project = csv_project(tmp_path)

        @project.table("made.plain", reads=["raw.t"], key="id", rules=[rule()])  # type: ignore[list-item]
        def plain(t: ibis.Table) -> ibis.Table:
            return t.mutate(z=t.day + 1)

        return project

    land(tmp_path, "1.csv", rows(30_000))
    assert modes(make())["made.plain"] == "full"
    land(tmp_path, "2.csv", rows(20, seed=4, first=30_000))
    assert modes(make())["made.plain"] == second


def test_a_row_that_a_rule_sets_aside_is_not_put_in(tmp_path: Path) -> None:
    def make() -> gm.Project:
        project = csv_project(tmp_path)

        @project.table(
            "made.plain",
            reads=["raw.t"],
            key="id",
            rules=[gm.rules.between("day", low=0, high=1_000, on_fail="quarantine")],
        )
        def plain(t: ibis.Table) -> ibis.Table:
            return t.mutate(z=t.day + 1)

        return project

    land(tmp_path, "1.csv", rows(30_000))
    assert make().run().ok
    land(tmp_path, "2.csv", [{"id": 40_000, "kind": "a", "day": 9_999, "x": None}])
    project = make()
    assert project.run().ok
    stored = project.store.snapshot("main").to_arrow("made.plain")
    assert stored.num_rows == 30_000
    land(tmp_path, "2.csv", [{"id": 40_000, "kind": "a", "day": 3, "x": None}])
    assert project.run().ok
    assert project.store.snapshot("main").to_arrow("made.plain").num_rows == 30_001


def test_a_blocking_rule_refuses_what_a_change_brings(tmp_path: Path) -> None:
    def make() -> gm.Project:
        project = csv_project(tmp_path)

        @project.table("made.plain", reads=["raw.t"], key="id", rules=[gm.rules.between("day", low=0, high=1_000)])
        def plain(t: ibis.Table) -> ibis.Table:
            return t.mutate(z=t.day + 1)

        return project

    land(tmp_path, "1.csv", rows(30_000))
    assert make().run().ok
    before = make().store.resolve("main")
    land(tmp_path, "2.csv", [{"id": 40_000, "kind": "a", "day": 9_999, "x": None}])
    project = make()
    assert not project.run().ok
    assert project.store.resolve("main") == before


def twice(rows: pa.Table) -> pa.Table:
    days = rows["day"].to_pylist()
    return pa.table({"id": rows["id"], "twice": pa.array([day * 2 for day in days], pa.int64())})


def per_kind(rows: pa.Table) -> pa.Table:
    made: dict[str, int] = {}
    for kind, day in zip(rows["kind"].to_pylist(), rows["day"].to_pylist(), strict=True):
        made[kind] = max(made.get(kind, 0), day)
    return pa.table({"kind": pa.array(made, pa.string()), "top": pa.array(made.values(), pa.int64())})


def test_steps_follow_by_row_and_by_group(tmp_path: Path) -> None:
    def make() -> gm.Project:
        project = csv_project(tmp_path)
        project.step("own.rows", reads=["raw.t"], key="id", schema={"id": "int64", "twice": "int64"}, per="row")(twice)
        groups = {"kind": "string", "top": "int64"}
        project.step("own.groups", reads=["raw.t"], key="kind", schema=groups, per="group")(per_kind)
        project.step("own.whole", reads=["raw.t"], key="kind", schema=groups)(per_kind)
        return project

    land(tmp_path, "1.csv", rows(5_000))
    assert set(modes(make()).values()) == {"land", "full"}
    land(tmp_path, "2.csv", rows(20, seed=5, first=5_000))
    planned = {step.name: (step.mode, step.why) for step in make().plan().steps}
    assert planned["own.rows"] == ("delta", "each row gives its own rows")
    second = modes(make())
    assert (second["own.rows"], second["own.groups"], second["own.whole"]) == ("delta", "touched", "full")
    land(tmp_path, "2.csv", rows(10, seed=6, first=5_003))
    assert modes(make())["own.groups"] == "touched"
    same_as_full(make(), ["own.rows", "own.groups", "own.whole"])


def test_a_changed_row_that_breaks_the_definition_is_named_as_in_a_full_computation(tmp_path: Path) -> None:
    from gristmill.errors import DataError

    def make() -> gm.Project:
        project = csv_project(tmp_path)

        @project.table("made.whole", reads=["raw.t"], key="id")
        def whole(t: ibis.Table) -> ibis.Table:
            return t.mutate(whole=t.kind.cast("int64"))

        return project

    found = [{**row, "kind": f"k{row['day']}"[1:]} for row in rows(200)]
    land(tmp_path, "1.csv", [{"id": 0, "kind": "007x", "day": 1, "x": None}])
    with pytest.raises(DataError, match="007x"):
        make().run()
    land(tmp_path, "1.csv", [{**row, "kind": f"'{row['kind']}'"[1:-1].strip("0") or "1"} for row in found])
    project = make()
    before = project.run()
    assert before.ok
    land(tmp_path, "2.csv", [{"id": 900, "kind": "009y", "day": 1, "x": None}])
    with pytest.raises(DataError, match=r"made\.whole|009y"):
        make().run()


def test_sql_follows_like_ibis_and_says_why_where_it_does_not(tmp_path: Path):
    project = csv_project(tmp_path)
    project.sql("made.kinds", "select kind, count(*) as n, sum(x) as total from raw.t group by kind", reads=["raw.t"])
    project.sql("made.spread", "select kind, stddev(x) as s from raw.t group by kind", reads=["raw.t"])
    twice = "select id from raw.t as t where exists (select 1 from raw.t as o where o.day = t.day and o.id <> t.id)"
    project.sql("made.twice", twice, reads=["raw.t"])
    land(tmp_path, "0.csv", rows(4_000))
    assert modes(project)["made.kinds"] == "full"
    land(tmp_path, "1.csv", rows(20, seed=2, first=4_000))
    (step,) = (step for step in project.plan().steps if step.name == "made.twice")
    assert "EXISTS" in step.why
    found = modes(project)
    assert found["made.kinds"] == "delta"
    assert found["made.twice"] == "full"
    assert found["made.spread"] in ("delta", "touched")
    same_as_full(project, ["made.kinds", "made.spread", "made.twice"])
    assert project.parity().ok


def test_a_definition_in_sql_follows_with_the_types_that_its_inputs_have_now(tmp_path: Path):
    def defined(half: bool) -> gm.Project:
        project = csv_project(tmp_path)

        @project.table("clean.a", reads=["raw.t"], key="id")
        def a(t: ibis.Table) -> ibis.Table:
            return t.select("id", n=t.id / 2 if half else t.id.cast("int32"))

        @project.table("clean.b", reads=["raw.t"], key="id")
        def b(t: ibis.Table) -> ibis.Table:
            return t.select("id", n="id")

        text = "select n from clean.a union all select n from clean.b"
        project.sql("made.both", text, reads=["clean.a", "clean.b"])
        return project

    land(tmp_path, "1.csv", rows(100))
    modes(defined(half=False))
    land(tmp_path, "2.csv", rows(3, first=100))
    assert modes(defined(half=False))["made.both"] == "delta"
    assert modes(defined(half=True))["made.both"] == "full"
    land(tmp_path, "3.csv", rows(3, first=103))
    project = defined(half=True)
    assert modes(project)["made.both"] == "delta"
    assert project.parity().ok


@pytest.mark.parametrize("late", [False, True])
def test_changes_that_do_not_fit_into_memory_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    import duckdb

    import gristmill.run.incremental as incremental

    project = csv_project(tmp_path)
    names = define(project)
    land(tmp_path, "1.csv", rows(600))
    assert project.run().ok

    def full(*_: object, **__: object) -> None:
        raise duckdb.OutOfMemoryException("Out of Memory Error: could not allocate block of size 256.0 KiB")

    land(tmp_path, "2.csv", rows(20, seed=2, first=600))
    with monkeypatch.context() as patched:
        patched.setattr(incremental, "profile_followed" if late else "_register", full)
        assert set(modes(project).values()) == {"land", "full"}
    same_as_full(project, names)
    land(tmp_path, "3.csv", rows(20, seed=3, first=620))
    assert set(modes(project).values()) <= {"land", "delta", "touched"}
    same_as_full(project, names)


def test_a_definition_in_sql_takes_the_type_of_a_widened_column_before_any_row_changes(tmp_path: Path) -> None:
    from gristmill.model.changes import WidenColumn

    project = gm.Project(tmp_path)
    (tmp_path / "gristmill.toml").write_text("")
    project.source("raw.t", gm.files("landing/*.csv", types={"day": "int32"}), key="id")
    project.sql("made.followed", "select id, day from raw.t", reads=["raw.t"])
    project.sql(
        "made.whole", "select day, string_agg(kind, ',' order by id) as kinds from raw.t group by 1", reads=["raw.t"]
    )
    land(tmp_path, "1.csv", rows(20))
    assert project.run().ok
    with project.store.begin("main") as tx:
        tx.alter("raw.t", WidenColumn("day", pa.int64()))
    assert {name: mode for name, mode in modes(project).items() if mode != "reuse"} == {
        "made.followed": "full",
        "made.whole": "full",
    }
    snapshot = project.store.snapshot("main")
    for name in ("made.followed", "made.whole"):
        assert str(snapshot.table(name).schema.to_arrow().field("day").type) == "int64"
    assert project.run().record.status == "unchanged"
