"""Eight processes that do everything at once on one store, and what must hold whenever somebody looks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa

from gristmill.errors import Conflict, Stale
from gristmill.store import Store, Transaction, open_store

from . import faults

ACCOUNTS = pa.schema([pa.field("id", pa.int64(), False), ("has", pa.int64())])
LOG = pa.schema([("who", pa.string()), ("n", pa.int64())])
ROUNDS = 5


def opened(path: str) -> Store:
    return open_store(path, durability="none")


def transfer(path: str, number: int) -> None:
    """Move one from an account to another, and note it, in one commit."""
    with opened(path) as store:
        for step in range(ROUNDS):

            def move(tx: Transaction, step: int = step) -> None:
                rows = {row["id"]: row["has"] for row in tx.to_arrow("accounts").to_pylist()}
                one, two = (number + step) % 40, (number * 7 + step * 3 + 1) % 40
                if one != two:
                    new = {one: rows[one] - 1, two: rows[two] + 1}
                    tx.upsert("accounts", pa.table({"id": list(new), "has": list(new.values())}, ACCOUNTS))
                tx.append("log", pa.table({"who": [f"t{number}"], "n": [step]}, LOG))

            store.retry("main", move)
            faults.acknowledge(path, f"t{number} {step}")


def branch_and_merge(path: str) -> None:
    """Append many rows on a branch, merge it, and delete it."""
    with opened(path) as store:
        for step in range(ROUNDS):
            name = f"b{step}"
            store.create_branch(name)
            with store.begin(name) as tx:
                tx.append("log", pa.table({"who": ["b"] * 300, "n": [step] * 300}, LOG))
            while True:
                try:
                    store.merge(name, into="main")
                    break
                except Stale:
                    continue
            faults.acknowledge(path, f"b {step}")
            store.delete_branch(name)


def do_and_undo(path: str) -> None:
    """Append rows and take the commit back, while others go on."""
    with opened(path) as store:
        for step in range(ROUNDS):

            def add(tx: Transaction, step: int = step) -> None:
                tx.append("log", pa.table({"who": ["undone"] * 3, "n": [step] * 3}, LOG))

            done = store.retry("main", add)
            while True:
                try:
                    store.revert(done, on="main")
                    break
                except (Stale, Conflict):
                    continue
        faults.acknowledge(path, "undone")


def tidy(path: str) -> None:
    with opened(path) as store:
        for step in range(ROUNDS):
            store.maintain(grace_s=0)
            store.create_tag(f"v{step}")
            store.create_hold(f"h{step}", "main", "looked at")


def look(path: Path) -> None:
    with open_store(path) as store:
        known = set(faults.acknowledged(path))
        view = store.snapshot("main")
        accounts = view.to_arrow("accounts")
        assert accounts.num_rows == 40
        assert sum(accounts.column("has").to_pylist()) == 4000
        rows = view.to_arrow("log").to_pylist()
        there = {(row["who"], row["n"]) for row in rows}
        assert {tuple(word.split()) for word in known if word != "undone"} <= {(who, str(n)) for who, n in there}
        for row in there:
            count = sum((other["who"], other["n"]) == row for other in rows)
            assert count == {"b": 300, "undone": 3}.get(row[0], 1), row
        if "undone" in known:
            assert not any(who == "undone" for who, _ in there)


def test_everything_at_once(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, create=True, durability="none") as store, store.begin("main") as tx:
        tx.create_table("accounts", ACCOUNTS, key="id")
        tx.create_table("log", LOG)
        tx.append("accounts", pa.table({"id": range(40), "has": [100] * 40}, ACCOUNTS))
    writers = [partial(transfer, number=number) for number in range(5)]
    faults.race(path, [*writers, branch_and_merge, do_and_undo, tidy], check=look)
    with open_store(path) as store:
        assert store.snapshot("main").table("log").row_count == 5 * ROUNDS + 300 * ROUNDS
        assert sorted(store.branches()) == ["main"]
        store.maintain(grace_s=0)
        assert [damage for damage in store.doctor().damages if damage.kind != "loose"] == []
        for name in (*store.tags(), *store.holds()):
            assert sum(store.snapshot(name).to_arrow("accounts").column("has").to_pylist()) == 4000
