"""A metric falls after a delivery: yesterday's model is still there, with its rows; the delivery is undone."""

import tempfile

import pyarrow as pa

import gristmill as gm


def train(store: gm.Store, name: str = "models.mean") -> float:
    """Train on the branch as it is now: the model is the mean, its metric the error on held values."""
    rows = store["main"]["raw.clicks"]
    values = rows.to_arrow()["clicks"].to_pylist()
    mean = sum(values) / len(values)
    with gm.track(name, reads={"train": rows}, store=store) as training:
        training.metrics(error=abs(mean - 10.0))
        training.parameters(kind="mean")
    return abs(mean - 10.0)


def main() -> None:
    store = gm.open(tempfile.mkdtemp() + "/store", create=True)
    clicks = store["main"].create_table("raw.clicks", pa.schema({"user": pa.string(), "clicks": pa.int64()}))
    clicks.append([{"user": f"u{i}", "clicks": 8 + i % 5} for i in range(50)], message="monday")
    good = train(store)
    store.tag("good")

    store["main"]["raw.clicks"].append([{"user": "bot", "clicks": 900}] * 5, message="new source")
    bad = train(store)
    assert bad > good
    print(f"error {good:.2f} -> {bad:.2f}")

    changes = store.diff("good", "main").tables["raw.clicks"]
    print(f"since the good model: {len(changes.inserted)} rows more in raw.clicks")
    culprit = next(commit for commit in store.log("main", table="raw.clicks"))
    store.revert(culprit.id)
    assert train(store) == good
    assert store.at("good").model("models.mean").metrics["error"] == good
    print(f'undone: "{culprit.message}"; the error is {good:.2f} again')


if __name__ == "__main__":
    main()
