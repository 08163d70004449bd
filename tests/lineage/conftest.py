"""A project with every kind of definition, small enough to know each row's lineage by heart."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

import gristmill as gm

PIPELINE = """
import json
from pathlib import Path

import ibis
import pandas as pd
import pyarrow as pa
import gristmill as gm

project = gm.Project()
raw_orders = project.source("raw.orders", gm.files("landing/orders/*.csv"), key="id")
raw_rates = project.source("raw.rates", gm.files("landing/rates.csv"))

@project.table("clean.orders", reads=[raw_orders, raw_rates], key="id")
def clean(orders: ibis.Table, rates: ibis.Table) -> ibis.Table:
    known = gm.asof_join(orders.filter(orders.amount > 0), rates, on="day", by="currency")
    return known.select("id", "customer", "day", value=known.amount * known.rate)

@project.table("marts.customers", reads=[clean], key="customer")
def customers(orders: ibis.Table) -> ibis.Table:
    return orders.group_by("customer").agg(total=orders.value.sum(), n=orders.count())

@project.table("marts.shares", reads=[clean], key="id")
def shares(orders: ibis.Table) -> ibis.Table:
    return orders.select("id", "customer", share=orders.value / orders.value.sum().over(group_by="customer"))

@project.step("marts.labels", reads=[clean], key="id", per="row", schema={"id": "int64", "label": "string"})
def labels(orders: pa.Table) -> pa.Table:
    return pa.table({"id": orders["id"], "label": [str(c).upper() for c in orders["customer"].to_pylist()]})

@project.step("marts.shifted", reads=[clean], key="id", per="row", schema={"id": "int64"})
def shifted(orders: pa.Table) -> pa.Table:
    return pa.table({"id": pa.array([i + 1 for i in orders["id"].to_pylist()], pa.int64())})

@project.step("marts.ranked", reads=[clean], key="id", schema={"id": "int64", "rank": "int64"})
def ranked(orders: pa.Table) -> pa.Table:
    ids = sorted(orders["id"].to_pylist())
    return pa.table({"id": ids, "rank": list(range(len(ids)))})

project.sql("marts.days", "select day, max(value) as most from clean.orders group by day", reads=[clean], key="day")
project.sql("marts.top", "with a as (select * from clean.orders) select max(value) as m from a", reads=[clean])
project.sql(
    "marts.either",
    "with a as (select id from clean.orders) select id from a union select id + 10 as id from clean.orders",
    reads=[clean],
    key="id",
)
project.sql("marts.who", "select distinct customer from clean.orders", reads=[clean], key="customer")
project.sql(
    "marts.nth",
    "select id, row_number() over (partition by customer order by id) as n from clean.orders",
    reads=[clean],
    key="id",
)
project.sql(
    "marts.later",
    "select id from clean.orders as o where exists (select 1 from clean.orders as p where p.day > o.day)",
    reads=[clean],
    key="id",
)

@project.model("models.mean", reads=[clean])
def mean(train: pd.DataFrame, out: Path) -> dict[str, float]:
    (out / "mean.json").write_text(json.dumps(float(train.value.mean())))
    return {"rows": len(train)}

@project.predictions("predictions.order", reads=[clean], model=mean, key="id")
def predict(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    typical = json.loads((folder / "mean.json").read_text())
    return pd.DataFrame({"id": rows.id, "high": rows.value > typical})
"""

ORDERS = """id,customer,currency,day,amount
1,ana,EUR,2026-01-02,10
2,bo,EUR,2026-01-05,20
3,ana,USD,2026-01-05,5
4,bo,EUR,2026-01-06,-1
"""
RATES = "currency,day,rate\nEUR,2026-01-01,1.0\nUSD,2026-01-01,0.5\nUSD,2026-01-04,0.25\n"


class Shop:
    """The project's folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def start(self) -> None:
        (self.root / "landing" / "orders").mkdir(parents=True)
        (self.root / "gristmill.toml").write_text('[project]\nname = "shop"\n')
        self.define(PIPELINE)
        self.land("orders/day1.csv", ORDERS)
        self.land("rates.csv", RATES)
        assert self.load().run().ok

    def define(self, text: str) -> None:
        (self.root / "pipeline.py").write_text(text)
        sys.modules.pop("pipeline", None)

    def land(self, name: str, text: str) -> None:
        (self.root / "landing" / name).write_text(text)

    def load(self) -> gm.Project:
        return gm.Project.load(self.root)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project after its first run, to be copied."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    shop.start()
    shop.load().store.close()
    return shop.root


@pytest.fixture
def made(template: Path, tmp_path: Path) -> Shop:
    """The project after its first run, in a folder of its own."""
    root = tmp_path / "shop"
    shutil.copytree(template, root)
    return Shop(root)
