"""Writing together: read sets, rebase, retry, idempotency, guards, processes, and writers that are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.errors import CheckFailed, Conflict, DataError, EngineError, Stale, UsageError
from gristmill.model.predicates import Compare
from gristmill.store import Store, Transaction, open_store
from gristmill.store.committing import PATIENCE

from .conftest import content

Rows = Callable[..., pa.Table]


def test_disjoint_tables_appends_and_edits_of_other_rows_rebase(store: Store, people: Rows) -> None:
    with store.begin("main") as tx:
        tx.create_table("log", pa.schema([("a", pa.int64())]))
    one, two = store.begin("main"), store.begin("main")
    one.upsert("people", people(1, 6, name="one"))
    two.upsert("people", people(2, 7, name="two"))
    two.append("log", pa.table({"a": [2]}))
    one.append("log", pa.table({"a": [1]}))
    one.commit()
    two.commit()
    assert content(store) == {1: "one1", 2: "two2", 3: "n3", 4: "n4", 5: "n5", 6: "one6", 7: "two7"}
    assert sorted(store.snapshot("main").to_arrow("log").column("a").to_pylist()) == [1, 2]
    assert store.snapshot("main").table("people").row_count == 7


@pytest.mark.parametrize("case", ["same row", "same new key", "read", "predicate", "replace", "units", "document"])
def test_what_touches_the_same_is_stale(store: Store, people: Rows, case: str) -> None:
    tx, other = store.begin("main"), store.begin("main")
    other.upsert("people", people(1, 9, name="same"))
    other.put_units("people", {})
    other.put_document("d", b"same")
    if case == "same row":
        tx.upsert("people", people(1, name="same"))
    elif case == "same new key":
        tx.upsert("people", people(9, name="same"))
    elif case == "read":
        tx.to_arrow("people")
        tx.put_document("x", b"")
    elif case == "predicate":
        tx.delete("people", Compare("id", ">", 3))
    elif case == "replace":
        tx.replace("people", people(1))
    elif case == "units":
        from .test_history import unit

        other.put_units("people", {"u": unit("u")})
        tx.units("people")
        tx.put_document("x", b"")
    elif case == "document":
        tx.document("d")
        tx.put_document("x", b"")
    other.commit()
    with pytest.raises(Stale) as error:
        tx.commit()
    assert error.value.retryable
    assert error.value.examples


def test_an_append_whose_key_came_meanwhile(store: Store, people: Rows) -> None:
    def add(tx: Transaction) -> None:
        if len(seen) == 0:
            with store.begin("main") as other:
                other.append("people", people(6))
        seen.append(1)
        tx.append("people", people(6))

    seen: list[int] = []
    tx = store.begin("main")
    add(tx)
    with pytest.raises(Stale):
        tx.commit()
    with pytest.raises(DataError):
        store.retry("main", add)


def test_an_append_survives_a_schema_change(store: Store, people: Rows) -> None:
    from gristmill.model.changes import AddColumn, RenameColumn

    tx = store.begin("main")
    tx.append("people", people(6))
    with store.begin("main") as other:
        other.alter("people", RenameColumn("name", "called"), AddColumn("extra", pa.string()))
    tx.commit()
    rows = store.snapshot("main").to_arrow("people").to_pylist()
    assert rows[-1] == {"id": 6, "called": "n6", "score": 0.5, "extra": None}


def test_idempotency(store: Store, people: Rows) -> None:
    def send(*rows: int, name: str = "n") -> str:
        with store.begin("main", idempotency_key="k1") as tx:
            tx.upsert("people", people(*rows, name=name))
        assert tx.result
        return tx.result

    first = send(6, 1, name="k")
    with store.begin("main") as tx:
        tx.upsert("people", people(6, name="later"))
    assert send(1, 6, name="k") == first
    assert content(store)[6] == "later6"
    with pytest.raises(Conflict, match="other content"):
        send(7)
    store.restore("main~1", on="main")
    store.revert(first, on="main")
    with pytest.raises(Conflict, match="reverted"):
        send(1, 6, name="k")


def test_a_guard_sees_the_result_and_can_refuse_or_mend(store: Store, people: Rows) -> None:
    class Guard:
        def __init__(self) -> None:
            self.seen: list[Collection[str]] = []

        def review(self, staged: Transaction, moved: Collection[str]) -> None:
            self.seen.append(moved)
            if staged.table("people").row_count > 7:
                raise CheckFailed("too many")
            staged.put_document("checked", b"yes")

    tx = store.begin("main")
    tx.append("people", people(6))
    with store.begin("main") as other:
        other.append("people", people(7))
    guard = Guard()
    tx.commit(guard=guard)
    assert guard.seen == [{"people"}]
    assert store.snapshot("main").document("checked") == b"yes"
    tx = store.begin("main")
    tx.append("people", people(8))
    head = store.resolve("main")
    with pytest.raises(CheckFailed):
        tx.commit(guard=guard)
    assert store.resolve("main") == head


def test_threads(store: Store, people: Rows) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(4):
                store.retry("main", lambda tx, n=100 * number + step: tx.append("people", people(n)))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(content(store)) == 17


def _count(path: str, table: str, number: int) -> None:
    with open_store(path, durability="none") as store:
        for step in range(6):

            def add(tx: Transaction, step: int = step) -> None:
                row = tx.to_arrow("counter").to_pylist()[0]
                tx.upsert("counter", pa.table({"id": [1], "n": [row["n"] + 1]}))
                tx.append(table, pa.table({"a": [number * 100 + step]}))

            store.retry("main", add)


def test_processes_lose_no_read_modify_write(store: Store) -> None:
    with store.begin("main") as tx:
        tx.create_table("counter", pa.schema([("id", pa.int64()), ("n", pa.int64())]), key="id")
        tx.append("counter", pa.table({"id": [1], "n": [0]}))
        tx.create_table("log", pa.schema([("a", pa.int64())]), key="a")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count, args=(str(store.path), "log", n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    snapshot = store.snapshot("main")
    assert snapshot.to_arrow("counter").to_pylist() == [{"id": 1, "n": 18}]
    assert snapshot.table("log").row_count == 18
    for commit in store.log("main", table="log", limit=18):
        at = store.snapshot(commit.id)
        assert at.to_arrow("counter").to_pylist()[0]["n"] == at.table("log").row_count


def test_a_fork_gets_a_connection_of_its_own(store: Store, people: Rows) -> None:
    store.resolve("main")
    child = os.fork()
    if child == 0:
        try:
            with store.begin("main") as tx:
                tx.put_document("child", b"x")
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    with store.begin("main") as tx:
        tx.put_document("parent", b"x")
    assert store.snapshot("main").documents() == ["child", "parent"]


WRITER = """
    import sys
    import pyarrow as pa
    from gristmill.store import open_store
    with open_store(sys.argv[1]) as store:
        number = store.snapshot("main").table("a").row_count
        while True:
            with store.begin("main") as tx:
                tx.append("a", pa.table({"id": [number]}))
                tx.upsert("b", pa.table({"id": [-1, number]}))
            number += 1
            print(number, flush=True)
"""


def test_a_killed_writer_loses_nothing_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "store"
    with open_store(path, create=True) as store, store.begin("main") as tx:
        for name in ("a", "b"):
            tx.create_table(name, pa.schema([("id", pa.int64())]), key="id")
    for round_ in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(3 + round_ % 3):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.communicate()[0].split("\n")
        acknowledged = int(rest[-2]) if len(rest) > 1 else acknowledged
        with open_store(path) as store:
            snapshot = store.snapshot("main")
            rows = sorted(snapshot.to_arrow("a").column("id").to_pylist())
            assert rows == list(range(len(rows)))
            assert len(rows) in (acknowledged, acknowledged + 1)
            assert sorted(snapshot.to_arrow("b").column("id").to_pylist()) == [-1, *rows]
            assert snapshot.table("b").row_count == len(rows) + 1


def test_a_committed_transaction_takes_no_more_writes(store: Store, people: Rows) -> None:
    tx = store.begin("main")
    tx.append("people", people(6))
    tx.commit()
    with pytest.raises(UsageError):
        tx.append("people", people(7))


def test_a_disk_that_refuses_is_an_error_that_loses_nothing(store: Store, people: Rows) -> None:
    import shutil

    from gristmill.store import SqlSource, compute

    head = store.resolve("main")
    shutil.rmtree(store.path / "tmp")
    for rows in (people(*range(6, 600)), SqlSource(compute.connection(), "SELECT 6::BIGINT AS id")):
        with pytest.raises(EngineError) as error, store.begin("main") as tx:
            tx.append("people", rows)
        assert error.value.retryable
    assert store.resolve("main") == head
    (store.path / "tmp").mkdir()
    with store.begin("main") as tx:
        tx.append("people", people(6))
    assert 6 in content(store)


def test_a_slow_writer_gets_through_however_many_quick_ones_there_are(store: Store, people: Rows) -> None:
    """What reads all and takes long is stale again and again, until it holds the branch while it works."""
    stop, quick = threading.Event(), []

    def hurry() -> None:
        while not stop.is_set():
            store.retry("main", lambda tx: tx.upsert("people", people(9, score=float(len(quick)))))
            quick.append(1)

    tries = []

    def slow(tx: Transaction) -> None:
        tries.append(1)
        total = sum(tx.to_arrow("people").column("score").to_pylist())
        if len(tries) <= PATIENCE:
            before = len(quick)
            while len(quick) == before:
                """Wait until another one has committed."""
        tx.upsert("people", people(10, score=total))

    thread = threading.Thread(target=hurry)
    thread.start()
    try:
        store.retry("main", slow)
    finally:
        stop.set()
        thread.join()
    assert len(tries) == PATIENCE + 1
    assert 10 in content(store)
