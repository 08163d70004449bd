"""A small project in a folder of its own."""

from pathlib import Path

import pytest

import gristmill as gm

ORDERS = "id,customer,amount\n1,ana,10\n2,bo,20\n3,ana,5\n"


class Shop:
    """A project of one source and two tables, whose definitions a test can set."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "landing").mkdir()
        (root / "gristmill.toml").write_text('[project]\nname = "shop"\n')
        self.land("day1.csv", ORDERS)

    def land(self, name: str, text: str) -> None:
        (self.root / "landing" / name).write_text(text)

    def project(self, *, floor: int = 0, rules: tuple[object, ...] = (), key: str = "id") -> gm.Project:
        project = gm.Project(self.root)
        raw = project.source("raw.orders", gm.files("landing/*.csv"), key=key, rules=rules)  # type: ignore[arg-type]

        @project.table("clean.orders", reads=[raw], key="id")
        def clean(orders):  # type: ignore[no-untyped-def]
            return orders.filter(orders.amount > floor)

        @project.table("marts.customers", reads=[clean], key="customer")
        def customers(orders):  # type: ignore[no-untyped-def]
            return orders.group_by("customer").agg(total=orders.amount.sum(), n=orders.count())

        return project


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)
