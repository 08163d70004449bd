"""Models and predictions: what is kept, what is compared, and that the same inputs give the same model."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

import gristmill as gm
from gristmill.errors import DataError, DefinitionError, UsageError
from gristmill.run.models import compare, load_model


def make(root: Path, *, shift: int = 0, returns: object = None) -> gm.Project:
    root.mkdir(exist_ok=True)
    (root / "landing").mkdir(exist_ok=True)
    rows = "".join(f"{(i * 7919) % 1009},{i % 13}\n" for i in range(1009))
    (root / "landing" / "a.csv").write_text("id,x\n" + rows)
    project = gm.Project(root)
    raw = project.source("raw.a", gm.files("landing/*.csv"), key="id")

    @project.table("train.a", reads=[raw], key="id")
    def train(a):  # type: ignore[no-untyped-def]
        return a.filter(a.id % 5 != 0).mutate(x=a.x + shift)

    @project.table("held.a", reads=[raw], key="id")
    def held(a):  # type: ignore[no-untyped-def]
        return a.filter(a.id % 5 == 0)

    @project.model("models.a", reads=[train], held=held)
    def model(train: pa.Table, held: pa.Table, out: Path, *, depth: int = 3) -> dict[str, float]:
        order = 0.0
        for value in train["x"].to_pylist():
            order = (order * 0.5 + value) % 1.7
        (out / "model.json").write_text(json.dumps({"order": order, "depth": depth}))
        return returns if returns is not None else {"auc": order / 2, "rows": held.num_rows}  # type: ignore[return-value]

    @project.predictions("predictions.a", reads=[held], model=model, key="id")
    def predict(rows: pa.Table, folder: Path) -> pa.Table:
        depth = json.loads((folder / "model.json").read_text())["depth"]
        return pa.table({"id": rows["id"], "guess": [depth] * rows.num_rows})

    return project


def test_the_same_inputs_give_the_same_model_whatever_the_order_of_rows(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        project = make(tmp_path / name)
        assert project.run().ok
        record = load_model(project.store.snapshot("main"), "models.a")
        assert record is not None
        found.append((record.metrics, record.files))
    assert found[0] == found[1]


def test_a_model_is_kept_with_what_it_was_trained_and_judged_on(tmp_path: Path) -> None:
    project = make(tmp_path)
    result = project.run(params={"depth": 5})
    assert result.metrics["models.a"]["rows"] == 202
    snapshot = project.store.snapshot("main")
    record = load_model(snapshot, "models.a")
    assert record is not None
    assert record.trained_on["train.a"] == (807, snapshot.digest("train.a"))
    assert (record.held, record.held_rows, record.parameters) == ("held.a", 202, {"depth": "5"})
    guesses = snapshot.to_arrow("predictions.a", hidden=True)
    assert set(guesses["guess"].to_pylist()) == {5}
    assert set(guesses["_origin_model"].to_pylist()) == {record.files}
    ids = dict(
        zip(*(snapshot.to_arrow("held.a", row_ids=True)[name].to_pylist() for name in ("id", "_row_id")), strict=True)
    )
    assert all(ids[row["id"]] == row["_origin_row"] for row in guesses.to_pylist())


def test_a_changed_parameter_trains_again_and_only_that(tmp_path: Path) -> None:
    make(tmp_path).run()
    project = make(tmp_path)
    steps = {step.name: (step.mode, step.reason) for step in project.plan(params={"depth": 4}).steps}
    assert steps["models.a"] == ("train", "parameter depth changed")
    assert steps["train.a"][0] == "reuse"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"dept": 4}, "did you mean `depth`"),
        ({"depth": "deep"}, "is int, and 'deep' is str"),
        ({"depth": True}, "bool"),
    ],
)
def test_parameters_are_typed(tmp_path: Path, params: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make(tmp_path).plan(params=params)


def test_metrics_compare_only_on_the_same_held_rows(tmp_path: Path) -> None:
    make(tmp_path).run()
    project = make(tmp_path, shift=1)
    project.run(on="shifted")
    compared = compare(project.store.snapshot("main"), project.store.snapshot("shifted"), "models.a")
    assert set(compared.metrics) == {"auc", "rows"}
    low, high = compared.interval("auc")
    assert low < compared.metrics["auc"][1] < high
    (tmp_path / "landing" / "b.csv").write_text("id,x\n5000,1\n")
    (tmp_path / "landing" / "b.csv").touch()
    project.run(on="more")
    compared = compare(project.store.snapshot("main"), project.store.snapshot("more"), "models.a")
    assert "held.a differs" in compared.refused


def test_what_is_no_metric_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="not its metrics") as caught:
        make(tmp_path, returns=[1, 2]).run()
    assert "test_models.py:" in (caught.value.where or "")


def test_predictions_must_keep_the_key(tmp_path: Path) -> None:
    project = make(tmp_path)

    @project.predictions("predictions.lost", reads=["held.a"], model="models.a", key="id")
    def lost(rows: pa.Table, folder: Path) -> pa.Table:
        return pa.table({"guess": [1] * rows.num_rows})

    with pytest.raises(DataError, match="no column id"):
        project.run()
