"""The pool: what it gives, and what happens where workers die or fail."""

import random

import msgspec
import pytest

from gristmill.engines.kernel import Kernel
from gristmill.engines.local import LocalPool
from gristmill.engines.protocol import Spec
from gristmill.engines.task import versions
from gristmill.errors import DataError, EngineError
from tests import programs
from tests.engines.parting import by_pieces, scan_of

A = programs.inputs()["raw.a"]
SUMS = A.group_by("k").agg(x=A.x.sum(), n=A.count())


def rows() -> programs.Rows:
    rng = random.Random(7)
    return [programs.row_of(rng, "raw.a") for _ in range(40)]


def sums_on(pool: LocalPool, folder) -> object:  # type: ignore[no-untyped-def]
    made = by_pieces(pool, SUMS, {"raw.a": scan_of(programs.arrow("raw.a", rows()))}, folder)
    with Kernel(threads=1) as kernel:
        return programs.bag(kernel.query(made.sql).read_all())


@pytest.mark.parametrize("deaths", [1, 2])
def test_the_work_of_a_killed_worker_is_done_again(tmp_path, deaths: int) -> None:  # type: ignore[no-untyped-def]
    for name in ("marks", "a", "b"):
        (tmp_path / name).mkdir()
    with LocalPool(2, module="tests.engines.local.dying", arguments=[str(tmp_path / "marks"), str(deaths)]) as pool:
        found = sums_on(pool, tmp_path / "a")
    assert len(list((tmp_path / "marks").iterdir())) == deaths
    with LocalPool(1) as pool:
        assert found == sums_on(pool, tmp_path / "b")


def test_work_that_kills_every_worker_ends_with_its_name(tmp_path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "marks").mkdir()
    arguments = [str(tmp_path / "marks"), "9"]
    with (
        LocalPool(1, module="tests.engines.local.dying", arguments=arguments) as pool,
        pytest.raises(EngineError, match="exit code -9 before it answered, 3 times") as caught,
    ):
        sums_on(pool, tmp_path)
    assert caught.value.code == "GM-E030"
    assert str(caught.value.where) == "made.t, stage 1 (group by k, in part), piece 1 of 8"


def spec(**values: object) -> Spec:
    made = Spec(
        plan="p",
        kernel=versions(),
        table="made.t",
        operation="read",
        stage=1,
        piece=0,
        pieces=4,
        sql="SELECT 1 AS a",
        inputs=(),
        columns=(("a", "BIGINT"),),
        folder="",
    )
    return msgspec.structs.replace(made, **values)


def test_an_error_names_table_stage_piece_and_cause(tmp_path) -> None:  # type: ignore[no-untyped-def]
    with LocalPool(1) as pool:
        with pytest.raises(DataError, match="Could not convert string 'x'") as caught:
            list(pool.map([spec(sql="SELECT 'x' AS a", folder=str(tmp_path))]))
        assert caught.value.where == "made.t, stage 2 (read), piece 1 of 4"
        with pytest.raises(EngineError) as caught:
            list(pool.map([spec(kernel="gristmill 0", folder=str(tmp_path))]))
        assert caught.value.code == "GM-E033"
        (manifest,) = pool.map([spec(folder=str(tmp_path))])
    assert manifest.rows_out == 1
    assert [file.hash in file.path for file in manifest.files] == [True]
    assert sorted(str(path) for path in tmp_path.iterdir()) == [file.path for file in manifest.files]


def test_specs_and_manifests_survive_the_wire() -> None:
    scan = scan_of(programs.arrow("raw.a", rows()))
    from gristmill.engines.protocol import Input

    given = spec(inputs=(Input(name="in", fields=scan.fields, files=scan.files),))
    again = msgspec.json.decode(msgspec.json.encode(given), type=Spec)
    assert again == given
    assert again.inputs[0].scan().rows == 40


def test_a_worker_lets_go_of_the_rows_that_it_has_read(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from gristmill.engines.local.worker import answered
    from gristmill.engines.protocol import Input

    held = "SELECT count(*) FROM duckdb_views() WHERE temporary AND NOT internal"
    with Kernel(threads=1) as kernel:
        for _ in range(3):
            scan = scan_of(programs.arrow("raw.a", rows()))
            given = Input(name="in", fields=scan.fields, files=scan.files)
            for sql in ('SELECT count(*) AS a FROM "in"', 'SELECT missing AS a FROM "in"'):
                answered(kernel, msgspec.json.encode(spec(inputs=(given,), sql=sql, folder=str(tmp_path))))
            assert kernel.connection.execute(held).fetchall() == [(0,)]
    assert len(list(tmp_path.iterdir())) == 3
