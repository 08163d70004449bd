"""Will a flight leaving New York arrive late? From monthly files to a checked, versioned, traceable model."""

import pickle
from pathlib import Path

import ibis
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import gristmill as gm

project = gm.Project()

GIVEN = ["hour", "distance", "temp", "humid", "wind_speed", "precip", "visib", "pressure"]
FEATURES = [*GIVEN, "weekday"]

raw_airports = project.source("raw.airports", gm.files("landing/airports.csv"), key="faa")
raw_weather = project.source(
    "raw.weather",
    gm.files("landing/weather/*.csv", nulls=["NA"]),
    rules=[gm.rules.between("wind_speed", low=0, high=200, on_fail="quarantine")],
)
raw_flights = project.source(
    "raw.flights",
    gm.files("landing/flights/*.csv", nulls=["NA"]),
    rules=[gm.rules.references("dest", "raw.airports", "faa", on_fail="warn")],
)


@project.table("clean.flights", reads=[raw_flights], key="flight_id", contract="contracts/clean.flights.yaml")
def clean_flights(flights: ibis.Table) -> ibis.Table:
    """One row per flight that arrived; cancelled and diverted flights are no error, they are left out."""
    arrived = flights.filter(flights.arr_delay.notnull())
    hour = arrived.time_hour.strftime("%Y%m%dT%H")
    return arrived.select(
        "carrier", "origin", "dest", "distance", "hour", "time_hour", "arr_delay",
        flight_id=arrived.carrier + "-" + arrived.flight.cast("string") + "-" + hour,
        late=arrived.arr_delay > 15,
    )  # fmt: skip


@project.table("features.flight", reads=[clean_flights, raw_weather], key="flight_id")
def flight_features(flights: ibis.Table, weather: ibis.Table) -> ibis.Table:
    """Each flight with the last weather at its airport, at most two hours old."""
    seen = gm.asof_join(flights, weather, on="time_hour", by="origin", within="2h")
    weekday = seen.time_hour.day_of_week.index().cast("int64")
    return seen.select("flight_id", "carrier", "origin", "time_hour", "late", *GIVEN, weekday=weekday)


@project.table("train.flights", reads=[flight_features], key="flight_id")
def train_flights(features: ibis.Table) -> ibis.Table:
    """Four fifths of all flights, chosen by a hash of the key."""
    return gm.split(features, by="flight_id", parts={"train": 0.8, "held": 0.2}).filter(lambda t: t.split == "train")


@project.table("held.flights", reads=[flight_features], key="flight_id")
def held_flights(features: ibis.Table) -> ibis.Table:
    """The other fifth of the first quarter: fixed, and out of reach of whatever arrives later."""
    held = gm.split(features, by="flight_id", parts={"train": 0.8, "held": 0.2}).filter(lambda t: t.split == "held")
    return held.filter(held.time_hour < ibis.timestamp("2013-04-01", timezone="UTC"))


@project.model("models.delay", reads=[train_flights], held=held_flights)
def delay_model(train: pd.DataFrame, held: pd.DataFrame, out: Path, *, depth: int = 6) -> dict[str, float]:
    """Gradient boosted trees; returns the area under the ROC curve on the held flights."""
    model = HistGradientBoostingClassifier(max_depth=depth, random_state=0)
    model.fit(train[FEATURES], train.late)
    (out / "model.pickle").write_bytes(pickle.dumps(model))
    return {"auc": roc_auc_score(held.late, model.predict_proba(held[FEATURES])[:, 1])}


@project.predictions("predictions.delay", reads=[flight_features], model=delay_model, key="flight_id")
def predict(rows: pd.DataFrame, model_dir: Path) -> pd.DataFrame:
    """The chance that each flight is late."""
    model = pickle.loads((model_dir / "model.pickle").read_bytes())  # noqa: S301 - this project wrote it
    return pd.DataFrame({"flight_id": rows.flight_id, "chance": model.predict_proba(rows[FEATURES])[:, 1]})
