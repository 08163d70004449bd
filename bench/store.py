"""The store against pyiceberg, delta-rs, Lance and DuckDB: the goals of the storage room, answers compared first.

    python bench/store.py [commit edits scan diff bulk writers history ...]

Both sides run without fsync unless the goal says otherwise. GRISTMILL_BENCH_SCALE makes the tables smaller.
"""

from __future__ import annotations

import multiprocessing
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import alternate, measured, report, report_ratio, scale

from gristmill.store import Store, compute, open_store

ROWS = max(10_000, int(1_000_000 * scale()))
EDIT = max(10, ROWS // 1000)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), False),
        ("at", pa.timestamp("us", tz="UTC")),
        ("who", pa.int32()),
        ("name", pa.string()),
        ("a", pa.float64()),
        ("b", pa.float64()),
        ("flag", pa.bool_()),
        ("note", pa.string()),
        ("c", pa.float64()),
        ("d", pa.float32()),
        ("text", pa.string()),
        ("code", pa.binary()),
    ]
)


def rows(ids: Sequence[int] | np.ndarray, seed: int = 0) -> pa.Table:
    """Mixed columns for these ids."""
    rng = np.random.default_rng(seed)
    ids = np.asarray(ids)
    count = len(ids)
    return pa.table(
        {
            "id": ids,
            "at": pa.array(1_700_000_000_000_000 + ids * 1000, pa.timestamp("us", tz="UTC")),
            "who": rng.zipf(1.5, count).clip(max=2**31 - 1).astype(np.int32),
            "name": pa.array(np.char.add("n", rng.integers(0, 50_000, count).astype(str))),
            "a": rng.random(count),
            "b": np.round(rng.normal(size=count), 3),
            "flag": rng.random(count) < 0.5,
            "note": pa.array(rng.integers(0, 20, count).astype(str), mask=rng.random(count) < 0.3),
            "c": rng.random(count),
            "d": rng.random(count).astype(np.float32),
            "text": pa.array(np.char.add("some text ", rng.integers(0, 1000, count).astype(str))),
            "code": pa.array([bytes(part) for part in rng.integers(0, 256, (count, 16), dtype=np.uint8)], pa.binary()),
        },
        SCHEMA,
    )


# -- the sides: open, append, upsert, count and sum, size ---------------------------------------------


class Ours:
    """The store."""

    name = "gristmill"

    def __init__(self, folder: Path, *, durability: str = "none", compact: str = "auto", key: bool = True) -> None:
        self.folder = folder
        self.store: Store = open_store(folder, True, durability=durability, compact=compact)  # type: ignore[arg-type]
        if "t" not in self.store.snapshot("main"):
            with self.store.begin("main") as tx:
                tx.create_table("t", SCHEMA, key="id" if key else ())

    def append(self, table: pa.Table) -> None:
        """Append rows in one commit."""
        with self.store.begin("main") as tx:
            tx.append("t", table)

    def upsert(self, table: pa.Table) -> None:
        """Set rows by key in one commit."""
        with self.store.begin("main") as tx:
            tx.upsert("t", table)

    def answer(self) -> tuple[int, float]:
        """Return the number of rows and a sum."""
        return _answer(self.store.snapshot("main").to_arrow("t", columns=["a"]))


class Iceberg:
    """pyiceberg with its SQL catalog."""

    name = "pyiceberg"

    def __init__(self, folder: Path) -> None:
        from pyiceberg.catalog.sql import SqlCatalog

        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/c.db", warehouse=f"file://{folder}")
        catalog.create_namespace_if_not_exists("n")
        plain = pa.schema([field.with_nullable(True) for field in SCHEMA])
        self.table = catalog.create_table_if_not_exists("n.t", plain)
        self._plain = plain

    def append(self, table: pa.Table) -> None:
        """Append rows in one commit."""
        self.table.append(table.cast(self._plain))

    def upsert(self, table: pa.Table) -> None:
        """Set rows by key in one commit."""
        self.table.upsert(table.cast(self._plain), join_cols=["id"])

    def answer(self) -> tuple[int, float]:
        """Return the number of rows and a sum."""
        return _answer(self.table.scan(selected_fields=("a",)).to_arrow())


class Delta:
    """delta-rs."""

    name = "deltalake"

    def __init__(self, folder: Path) -> None:
        import deltalake

        self.folder = folder
        self.table = deltalake.DeltaTable.create(str(folder), SCHEMA, mode="ignore")

    def append(self, table: pa.Table) -> None:
        """Append rows in one commit."""
        import deltalake

        deltalake.write_deltalake(self.table, table, mode="append")

    def upsert(self, table: pa.Table) -> None:
        """Set rows by key in one commit."""
        merge = self.table.merge(table, "t.id = s.id", source_alias="s", target_alias="t")
        merge.when_matched_update_all().when_not_matched_insert_all().execute()

    def answer(self) -> tuple[int, float]:
        """Return the number of rows and a sum."""
        import deltalake

        found = deltalake.QueryBuilder().register("t", self.table).execute("select a from t").read_all()
        return _answer(pa.table(found))


class Lance:
    """Lance."""

    name = "lance"

    def __init__(self, folder: Path) -> None:
        import lance

        self.folder = folder
        self.data = lance.write_dataset(SCHEMA.empty_table(), str(folder), mode="create")

    def append(self, table: pa.Table) -> None:
        """Append rows in one commit."""
        self.data.insert(table)

    def upsert(self, table: pa.Table) -> None:
        """Set rows by key in one commit."""
        self.data.merge_insert("id").when_matched_update_all().when_not_matched_insert_all().execute(table)

    def answer(self) -> tuple[int, float]:
        """Return the number of rows and a sum."""
        return _answer(self.data.to_table(columns=["a"]))


def _answer(table: pa.Table) -> tuple[int, float]:
    return table.num_rows, round(float(np.asarray(table.column("a")).sum()), 6)


PEERS: list[type] = [Iceberg, Delta, Lance]


def peers(folder: Path) -> list[object]:
    """Return the peers that can run here; says why another cannot."""
    found = []
    for kind in PEERS:
        try:
            found.append(kind(folder / kind.name))  # type: ignore[attr-defined]
        except Exception as error:
            print(f"{kind.name} cannot run: {type(error).__name__}: {error}")  # type: ignore[attr-defined]
    return found


def same(one: object, other: object) -> None:
    """Stop unless both sides hold the same."""
    left, right = one.answer(), other.answer()  # type: ignore[attr-defined]
    if left[0] != right[0] or abs(left[1] - right[1]) > 1e-4:
        raise SystemExit(f"{one.name} has {left} and {other.name} {right}")  # type: ignore[attr-defined]


def size_of(folder: Path) -> int:
    """Return the bytes below a folder, once the catalog's log is in the catalog."""
    if (folder / "catalog.db").exists():
        with open_store(folder) as store:
            store.catalog.connection().execute("pragma wal_checkpoint(truncate)")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def walls(work: Callable[[], object], count: int) -> list[float]:
    """Return how long each of some calls took, in seconds."""
    found = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return sorted(found)


# -- goals --------------------------------------------------------------------------------------------


def commit(folder: Path) -> None:
    """1-row commits: against the peers without fsync, and with fsync against two fsyncs."""
    ours = Ours(folder / "ours", key=False)
    limits = {"pyiceberg": 1 / 15, "deltalake": 1 / 8, "lance": 1 / 3}
    ready = iter([rows([number]) for number in range(1000)])
    for peer in peers(folder):
        for side in (ours, peer):
            for i in range(3):
                side.append(rows([i]))  # type: ignore[attr-defined]
        ratio = alternate(
            lambda: ours.append(next(ready)),
            lambda peer=peer: peer.append(next(ready)),  # type: ignore[misc]
            rounds=15,
        )
        report_ratio(f"1-row commit, no fsync, against {peer.name}", ratio, limits[peer.name])  # type: ignore[attr-defined]
    full = Ours(folder / "full", key=False, durability="full")
    with_sync = statistics.median(walls(lambda: full.append(next(ready)), 60))
    without = statistics.median(walls(lambda: ours.append(next(ready)), 60))
    sync = statistics.median(walls(lambda: _sync(folder / "probe"), 30))
    limit = without + 2 * sync
    note = f"[{with_sync * 1e3:.2f} ms with; {without * 1e3:.2f} ms without, an fsync takes {sync * 1e3:.2f} ms]"
    report("1-row commit with fsync, against the same and two fsyncs", with_sync / limit, 1.0, note=note)


def _sync(path: Path) -> None:
    import os

    with path.open("ab") as file:
        file.write(b"x" * 4096)
        file.flush()
        os.fsync(file.fileno())


def growth(folder: Path) -> None:
    """Commit #10,000 against commit #10."""
    ours = Ours(folder / "ours", key=False)
    count = max(1000, int(10_000 * min(1.0, scale())))
    ready = [rows([number]) for number in range(200)]
    number = iter(range(10**9))

    def one() -> None:
        ours.append(ready[next(number) % 200])

    walls(one, 10)
    first = walls(one, 400)
    walls(one, count - 810)
    last = walls(one, 400)
    for word, place in (("median", 200), ("p99", 396)):
        note = f"[{first[place] * 1e3:.2f} ms -> {last[place] * 1e3:.2f} ms]"
        report(f"commit #{count:,} against #10, {word}", last[place] / first[place], 1.3, note=note)
    if ours.answer()[0] != count:
        raise SystemExit("rows are missing")


def upsert(folder: Path) -> None:
    """Upsert of 0.1 % of random rows."""
    base = rows(np.arange(ROWS))
    ours = Ours(folder / "ours")
    ours.append(base)
    limits = {"pyiceberg": (50.0, True), "deltalake": (30.0, True), "lance": (1.2, False)}
    for peer in peers(folder):
        peer.append(base)  # type: ignore[attr-defined]
        fresh = Ours(folder / f"ours-{peer.name}")  # type: ignore[attr-defined]
        fresh.append(base)
        same(fresh, peer)
        seeds = iter(range(10**6))

        def change(side: object, seeds: object = seeds) -> None:
            seed = next(seeds) // 2  # type: ignore[call-overload]
            ids = np.random.default_rng(seed).choice(ROWS, EDIT, replace=False)
            side.upsert(rows(ids, seed))  # type: ignore[attr-defined]

        slow = peer.name == "pyiceberg"  # type: ignore[attr-defined]
        ratio = alternate(
            lambda fresh=fresh: change(fresh),  # type: ignore[misc]
            lambda peer=peer: change(peer),  # type: ignore[misc]
            rounds=2 if slow else 5,
        )
        same(fresh, peer)
        limit, at_least = limits[peer.name]  # type: ignore[attr-defined]
        goal = f"upsert of 0.1 % of {ROWS:,} rows against {peer.name}"  # type: ignore[attr-defined]
        if at_least:
            report(goal, 1 / ratio.median, limit, unit="x faster", at_least=True)
        else:
            report_ratio(goal, ratio, limit)


def changes(folder: Path) -> None:
    """Apply 10,000 weighted changes to a table of 10M rows, with a key and without, cold and warm."""
    from gristmill.store import SqlSource

    count, few = ROWS * 10, max(10, ROWS // 100)
    con = compute.connection()
    for key in ("id", ()):
        store = open_store(folder / f"ours-{bool(key)}", True, durability="none")
        made = f"SELECT i AS id, (i * 7919) % 1000003 AS a, 'n' || (i % 50000) AS name FROM range({count}) r(i)"
        with store.begin("main") as tx:
            schema = pa.schema([pa.field("id", pa.int64(), False), ("a", pa.int64()), ("name", pa.string())])
            tx.create_table("t", schema, key=key)
            tx.append("t", SqlSource(con, f"SELECT * FROM ({made}) ORDER BY hash(id)"))
        took = []
        for turn in range(4):
            ids = pa.table({"id": np.random.default_rng(7).choice(count, few * 4, replace=False)[turn::4]})
            con.register("ids", ids)
            old = con.sql(f"SELECT m.* FROM ({made}) m JOIN ids USING (id)").to_arrow_table()
            new = old.set_column(1, "a", pa.array(np.asarray(old["a"]) + 1))
            weighed = [table.append_column("_w", pa.array(np.full(few, w))) for table, w in ((old, -1), (new, 1))]
            took.append(walls(lambda: _apply(store, pa.concat_tables(weighed)), 1)[0])  # noqa: B023
        if store.snapshot("main").table("t").row_count != count:
            raise SystemExit("rows are missing")
        word = "a key" if key else "no key"
        warm = statistics.median(took[1:])
        print(f"        {few:,} updates of {count:,} rows, {word}: first {took[0]:.2f} s, then {warm * 1e3:.0f} ms")


def _apply(store: Store, changes: pa.Table) -> None:
    with store.begin("main") as tx:
        tx.apply("t", changes)


def edits(folder: Path) -> None:
    """Fifty edits of 0.1 %: growth of storage, and the scan after them."""
    base = rows(np.arange(ROWS))
    for compact in ("off", "auto"):
        ours = Ours(folder / compact, compact=compact)
        ours.append(base)
        start = size_of(ours.folder)
        final = base
        for seed in range(50):
            ids = np.random.default_rng(seed).choice(ROWS, EDIT, replace=False)
            ours.upsert(rows(ids, seed))
        grown = (size_of(ours.folder) - start) / start
        if compact == "off":
            report(f"fifty 0.1 % edits grow storage (compact={compact})", grown, 0.1, unit=" of the base")
        else:
            print(f"        fifty 0.1 % edits grow storage (compact={compact}): {grown:.3g} of the base", flush=True)
        final = ours.store.snapshot("main").to_arrow("t")
        plain = folder / f"{compact}.parquet"
        pq.write_table(final, plain, compression="zstd", row_group_size=122_880)
        _scan_ratio(ours, plain, f"scan after fifty random 0.1 % edits (compact={compact})", 2.2)


def _scan_ratio(ours: Ours, plain: Path, goal: str, limit: float) -> None:
    con = compute.connection()
    con.execute("SET threads = 1")
    snapshot = ours.store.snapshot("main")
    # Every value is needed: an engine answers a maximum of a fresh file from its footer, which is no scan.
    query = "SELECT count(*), sum(a), sum(who), sum(length(name)) FROM ({})"

    def fresh() -> list[tuple[object, ...]]:
        return con.sql(query.format(f"SELECT * FROM read_parquet('{plain}')")).fetchall()  # type: ignore[no-any-return]

    def own() -> list[tuple[object, ...]]:
        sql = compute.bind(con, compute.scan_sql(snapshot.scan("t", columns=["a", "who", "name"])))
        return con.sql(query.format(sql)).fetchall()  # type: ignore[no-any-return]

    if own()[0][0] != fresh()[0][0] or abs(float(str(own()[0][1])) - float(str(fresh()[0][1]))) > 1e-4:
        raise SystemExit("answers differ")
    report_ratio(goal, alternate(own, fresh, rounds=9), limit)


def appends(folder: Path) -> None:
    """Scan after 1,000 small appends, beside a base table."""
    ours = Ours(folder / "ours", key=False)
    ours.append(rows(np.arange(ROWS)))
    for number in range(1000):
        ours.append(rows([ROWS + number]))
    plain = folder / "plain.parquet"
    pq.write_table(ours.store.snapshot("main").to_arrow("t"), plain, compression="zstd", row_group_size=122_880)
    _scan_ratio(ours, plain, f"scan after 1,000 1-row appends to {ROWS:,} rows", 1.1)
    other = Ours(folder / "hundreds", key=False)
    for number in range(1000):
        other.append(rows(np.arange(number * 200, number * 200 + 200)))
    pq.write_table(other.store.snapshot("main").to_arrow("t"), plain, compression="zstd", row_group_size=122_880)
    _scan_ratio(other, plain, "scan after 1,000 200-row appends", 1.1)


def bulk(folder: Path) -> None:
    """Bulk append against DuckDB's COPY on one core."""
    from gristmill.store import SqlSource

    con = compute.connection()
    con.execute("SET threads = 1")
    con.register("base", rows(np.arange(ROWS)))
    con.execute("CREATE TEMP TABLE local AS SELECT * FROM base")
    ours = Ours(folder / "ours", key=False, durability="full")
    target = folder / "copy.parquet"

    def own() -> None:
        ours.append(SqlSource(con, "SELECT * FROM local"))  # type: ignore[arg-type]

    def copy() -> None:
        con.execute(f"COPY (SELECT * FROM local) TO '{target}' (FORMAT parquet, COMPRESSION zstd)")

    report_ratio(f"bulk append of {ROWS:,} rows, hashed, with statistics", alternate(own, copy, rounds=5), 1.15)


def diff(folder: Path) -> None:
    """Identity diff of 0.1 % against a keyed hash diff and EXCEPT ALL."""
    ours = Ours(folder / "ours")
    ours.append(rows(np.arange(ROWS)))
    ours.upsert(rows(np.random.default_rng(1).choice(ROWS, EDIT, replace=False), 1))
    con = compute.connection()
    con.execute("SET threads = 1")
    for name, ref in (("before", "main~1"), ("after", "main")):
        compute.register(con, name, ours.store.snapshot(ref).scan("t"))
    columns = ", ".join(f'"{name}"' for name in SCHEMA.names)

    def identity() -> int:
        with open_store(ours.folder) as store:
            return len(store.diff("main~1", "main").tables["t"].updated)

    def keyed() -> int:
        sql = f"SELECT id, hash({columns}) AS h FROM"
        query = (
            f"SELECT count(*) FROM ({sql} before) b FULL JOIN ({sql} after) a USING (id) WHERE a.h IS DISTINCT FROM b.h"
        )
        return int(con.sql(query).fetchall()[0][0])

    def everything() -> int:
        query = "SELECT count(*) FROM (SELECT * FROM after EXCEPT ALL SELECT * FROM before)"
        other = "SELECT count(*) FROM (SELECT * FROM before EXCEPT ALL SELECT * FROM after)"
        found = [int(con.sql(text).fetchall()[0][0]) for text in (query, other)]
        return found[0]

    if not identity() == keyed() == everything() == EDIT:
        raise SystemExit("the diffs differ")
    own = statistics.median(measured(identity) for _ in range(7))
    for goal, work, limit in (("a keyed hash diff", keyed, 20.0), ("EXCEPT ALL", everything, 500.0)):
        other = statistics.median(measured(work) for _ in range(2))
        note = f"[{own * 1e3:.1f} ms against {other * 1e3:.0f} ms CPU]"
        report(f"identity diff against {goal}", other / own, limit, unit="x faster", at_least=True, note=note)


def _append_many(kind: type, folder: str, count: int, number: int, ready: Barrier) -> None:
    side = kind(Path(folder), key=False) if kind is Ours else kind.__new__(kind)
    if kind is Iceberg or kind is Delta:
        side.__init__(Path(folder))
    given = [rows([number * 1000 + i]) for i in range(count)]
    ready.wait()
    done = 0
    while done < count:
        try:
            side.append(given[done])
            done += 1
        except Exception:
            if kind is Ours:
                raise
            if kind is Iceberg:
                side.table.refresh()


def writers(folder: Path) -> None:
    """Eight writers that append a row at a time to one table."""
    context = multiprocessing.get_context("spawn")
    speeds = {}
    for kind, count in ((Ours, 100), (Delta, 10), (Iceberg, 3)):
        place = folder / kind.name
        side = kind(place, key=False) if kind is Ours else kind(place)
        ready = context.Barrier(9)
        processes = [context.Process(target=_append_many, args=(kind, str(place), count, n, ready)) for n in range(8)]
        for process in processes:
            process.start()
        ready.wait()
        start = time.perf_counter()
        for process in processes:
            process.join()
        wall = time.perf_counter() - start
        fresh = kind(place, key=False) if kind is Ours else kind(place)
        got = fresh.answer()[0]
        speeds[kind.name] = got / wall
        print(f"        {kind.name}: {got} of {8 * count} appends in {wall:.1f} s")
        if kind is Ours and got != 8 * count:
            raise SystemExit("appends are lost")
        del side
    for name in ("pyiceberg", "deltalake"):
        if name in speeds:
            ratio = speeds["gristmill"] / speeds[name]
            report(f"8 writers, throughput against {name}", ratio, 10.0, at_least=True)


def tables(folder: Path) -> None:
    """Publish 1,000 tables in one commit against one."""
    store = open_store(folder / "ours", True, durability="none")
    small = rows([1, 2, 3])

    def publish(names: list[str]) -> None:
        with store.begin("main") as tx:
            for name in names:
                tx.append(name, small)

    with store.begin("main") as tx:
        for number in range(1000):
            tx.create_table(f"t{number}", SCHEMA)

    def run(names: list[str], branch: str) -> float:
        base = store.resolve("main")
        store.create_branch(branch)
        with store.begin(branch) as tx:
            for name in names:
                tx.append(name, small)
        return measured(lambda: store.publish(branch, into="main", base=base, message="p"))

    one = statistics.median(run(["t0"], f"one{n}") for n in range(9))
    many = statistics.median(run([f"t{n}" for n in range(1000)], f"many{n}") for n in range(3))
    report(
        "publish of 1,000 tables against one", many / one, 30.0, note=f"[{many * 1e3:.1f} against {one * 1e3:.2f} ms]"
    )


def history(folder: Path) -> None:
    """A long history and a table of very many files against a small store."""
    commits = max(1000, int(100_000 * min(1.0, scale() / 5)))
    big, small = Ours(folder / "big", key=False), Ours(folder / "small", key=False)
    for side in (big, small):
        for number in range(20):
            side.append(rows([number]))
    for number in range(commits):
        with big.store.begin("main") as tx:
            tx.put_document(f"d{number % 50}", str(number).encode())
    _many_files(big, max(1000, int(1_000_000 * min(1.0, scale() / 10))))

    def look(side: Ours) -> Callable[[], object]:
        def work() -> object:
            with open_store(side.folder, durability="none") as store:
                list(store.log("main", limit=20))
                snapshot = store.snapshot("main")
                from gristmill.model.predicates import Compare

                found = snapshot.to_arrow("t", where=Compare("id", "=", 7), columns=["a"])
                with store.begin("main") as tx:
                    tx.append("t", rows([8]))
                return found

        return work

    files = big.store.snapshot("main").table("t").file_count
    ratio = alternate(look(big), look(small), rounds=15)
    report_ratio(f"open, log, read a row, commit: {commits:,} commits and {files:,} files against 20", ratio, 1.5)


def _many_files(side: Ours, count: int) -> None:
    """Give the table many entries of one file's bytes, with ranges of ids far from what is asked for."""
    import msgspec

    from gristmill.store.objects import ColumnStats
    from gristmill.store.tables import Edit, apply_edit

    side.append(rows(np.arange(10_000_000, 10_070_000)))
    store = side.store
    from gristmill.store.tables import live_files

    snapshot = store.snapshot("main")
    state = snapshot.state("t")
    model = next(file for file in live_files(store.catalog.get, state) if file.kind == "parquet")
    field = snapshot.schema_of("t").field("id").id
    first = store.counters.reserve(state.uuid, "row", count * 70_000)
    for start in range(0, count, 25_600):
        added = []
        for number in range(start, min(start + 25_600, count)):
            low = 10_000_000 + 70_000 * number
            stats = {**model.stats, field: ColumnStats(0, low, low + 69_999, 0, 1)}
            added.append(msgspec.structs.replace(model, first_row_id=first + number * 70_000, stats=stats))
        tx = store.begin("main")
        tx.set_table("t", apply_edit(tx.pending.get, tx.pending.put, tx.state("t"), Edit(added=added)))
        tx.commit()


GOALS = [commit, growth, upsert, changes, edits, appends, bulk, diff, tables, history, writers]


def main() -> None:
    """Measure the goals named on the command line, or all."""
    wanted = sys.argv[1:]
    for goal in GOALS:
        if wanted and goal.__name__ not in wanted:
            continue
        folder = Path(tempfile.mkdtemp(prefix="gristmill-bench-"))
        try:
            goal(folder)
        except Exception as error:
            print(f"{goal.__name__} cannot be measured: {type(error).__name__}: {error}", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
